"""The published numbers of laws hold, and one more, one less or another model breaks them."""

import dataclasses

import pytest

from flowkit.symbolic.law_counts import (
    linear_network_laws,
    published_claim,
    relu_network_laws,
    two_factor_laws,
)

WIDTHS = [(2, 2, 2), (1, 3, 1), (1, 1, 1)]  # more rows than columns, fewer, and one


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_other_numbers_of_two_factor_laws_fail(widths):
    count = linear_network_laws(*widths)
    n, r, m = widths
    stated = two_factor_laws(n + m, r)
    assert published_claim(count, stated).check().passed
    for wrong in (stated - 1, stated + 1, r * (r - 1) // 2, -stated):
        assert not published_claim(count, wrong).check().passed


@pytest.mark.parametrize("hidden", [1, 2])
def test_other_numbers_of_relu_laws_fail(hidden):
    count = relu_network_laws(2, hidden, 1)
    assert published_claim(count, hidden).check().passed
    for wrong in (hidden - 1, hidden + 1):
        assert not published_claim(count, wrong).check().passed
    squared = tuple(output**2 + output for output in count.outputs)
    lost = dataclasses.replace(count, outputs=squared, polynomial_laws=count.polynomial_laws[1:])
    assert not published_claim(lost, hidden).check().passed
