"""Stationary singular vectors diagonalise the gradient, and depth keeps the rank."""

import dataclasses

import pytest
import sympy as sp

from flowkit.symbolic.factorization import singular_value_flow
from flowkit.symbolic.spectral import S_Q, singular_vector_flow
from flowkit.symbolic.stationary import (
    VALUE,
    _logarithmic,
    _solved,
    bounded_claim,
    corollary_claim,
    determinant_claim,
    rank_preservation,
    rest_claim,
    stationary_vectors,
)

N = sp.Symbol("N", integer=True, positive=True)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, N])
def test_stationary_vectors_are_proved_to_diagonalise_the_gradient(depth):
    verdicts = [claim.check() for claim in stationary_vectors(depth).claims]
    assert len(verdicts) == 2
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_the_corollary_fails_where_the_two_turns_are_the_same():
    """With v turning as u does, M_rq s_q = -M_qr s_r is stationary, and not diagonal."""
    flow = singular_vector_flow(3)
    same = dataclasses.replace(flow, rates=(flow.rates[0], flow.rates[0], *flow.rates[2:]))
    assert not corollary_claim(_solved(same, 3)).check().passed
    assert not determinant_claim(_solved(same, 3)).check().passed


def test_the_corollary_fails_at_a_singular_value_of_zero():
    """Vectors whose own singular value is zero never turn out of the basis, whatever G is."""
    flow = singular_vector_flow(3)
    outside = tuple(rate.subs(S_Q, 0) for rate in flow.rates[2:])
    stuck = dataclasses.replace(flow, rates=(*flow.rates[:2], *outside))
    assert not corollary_claim(_solved(stuck, 3)).check().passed


def test_the_determinant_fails_for_another_exponent():
    vectors = stationary_vectors(3)
    wrong = dataclasses.replace(vectors, determinant=vectors.determinant * S_Q)
    assert not determinant_claim(wrong).check().passed


@pytest.mark.parametrize("depth", [2, 3, 4, N])
def test_the_rank_is_proved_to_be_kept(depth):
    verdicts = [claim.check() for claim in rank_preservation(depth).claims]
    assert len(verdicts) == 2
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_one_factor_does_not_keep_the_rank():
    single = _logarithmic(singular_value_flow(1), 1)
    assert not rest_claim(single).check().passed
    assert not bounded_claim(single).check().passed


def test_a_smaller_exponent_fails():
    kept = rank_preservation(3)
    (s,), (rate,) = kept.flow.state, kept.flow.rates
    faster = dataclasses.replace(kept.flow, rates=(rate / s,))
    wrong = _logarithmic(faster, 3)
    assert wrong.log_rate == kept.log_rate / VALUE
    assert not bounded_claim(wrong).check().passed


@pytest.mark.parametrize("make", [stationary_vectors, rank_preservation])
@pytest.mark.parametrize("depth", [0, -1, 2.0, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(make, depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        make(depth)


def test_one_factor_is_refused():
    with pytest.raises(ValueError, match="`depth` must be at least 2, but it is `1`"):
        rank_preservation(1)
