"""The CNTK's recursion, derived position by position, is what the convolutional kernels compute."""

import dataclasses

import equinox as eqx
import numpy as np
import pytest
import sympy as sp

from flowkit.kernels import Convolutional
from flowkit.symbolic import cntk_recursion
from flowkit.symbolic.convolutional_recursions import check_single_entry
from flowkit.symbolic.convolutional_values import published_claim
from flowkit.symbolic.layer_step import induction_step

ROUNDING = 1e-12  # relative; sums of some hundred terms, and arccos near 1
VARIANTS = {
    "gap": {"readout": "gap"},
    "gap, all trained": {"readout": "gap", "train_ends": True},
    "flatten": {"readout": "flatten"},
    "flatten, ends fixed": {"readout": "flatten", "train_ends": False},
    "one entry": {"readout": "gap", "filter_size": 1},
}


def image(shape, seed):
    """Rational pixels, none of them zero."""
    values = np.random.default_rng(seed).integers(1, 9, shape)
    signs = np.random.default_rng(seed + 1).choice([-1, 1], shape)
    return [[[sp.Rational(int(n), 4) for n in pixel] for pixel in row] for row in values * signs]


def compare(recursion, kernel, shape):
    x, z = image(shape, 0), image(shape, 10)
    numbers = [np.array(one, dtype=float) for one in (x, z)]
    expected = eqx.filter_jit(kernel._pair)(*numbers)  # both kinds from one compilation
    found = [float(sp.N(value, 30)) for value in recursion.evaluate(x, z)]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("depth", "shape"), [(2, (3, 2, 2)), (3, (2, 2, 1)), (4, (1, 2, 2))])
def test_exact_values_are_those_of_the_kernel(depth, shape, variant):
    compare(cntk_recursion(depth, **variant), Convolutional(depth, **variant), shape)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("depth", [2, 3])
def test_every_claim_is_proved(depth, variant):
    recursion = cntk_recursion(depth, **variant)
    verdicts = [claim.check() for claim in recursion.claims]
    published = recursion.train_ends == (recursion.readout == "flatten")
    assert all(verdict.passed for verdict in verdicts)
    assert [v.kind for v in verdicts] == ["proved"] * 2 + ["measured"] * published


@pytest.mark.parametrize("part", ["covariance", "tangent"])
@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_a_changed_step_is_noticed(part, readout):
    step = induction_step()
    changed = dataclasses.replace(step, **{part: 2 * getattr(step, part)})
    recursion = cntk_recursion(3, filter_size=1, readout=readout)
    assert check_single_entry(recursion).passed
    assert not check_single_entry(dataclasses.replace(recursion, step=changed)).passed


CHANGES = {
    "covariance": lambda r: {"step": dataclasses.replace(r.step, covariance=-r.step.covariance)},
    "tangent": lambda r: {"step": dataclasses.replace(r.step, tangent=2 * r.step.tangent)},
    "own part forgotten": lambda r: {
        "step": dataclasses.replace(r.step, tangent=r.step.tangent - r.step.covariance)
    },
    "ends": lambda r: {"train_ends": not r.train_ends},
    "readout": lambda r: {"readout": "gap" if r.readout == "flatten" else "flatten"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_a_changed_recursion_is_not_the_published_one(readout, change):
    right = cntk_recursion(3, readout=readout)
    wrong = dataclasses.replace(right, **change(right))
    values = [
        published_claim(right.name, 3, right.filter_size, readout, one.evaluate).check().passed
        for one in (right, wrong)
    ]
    assert values == [True, False]


def test_trained_ends_are_noticed():
    recursion = cntk_recursion(3, filter_size=1)
    x = image((1, 2, 2), 0)
    trained = dataclasses.replace(recursion, train_ends=True)
    assert sp.N(trained.evaluate(x, x)[0] - recursion.evaluate(x, x)[0]) > 0.1


def test_two_layers_with_fixed_ends_have_nothing_to_train():
    assert cntk_recursion(2).evaluate(image((2, 2, 1), 0), image((2, 2, 1), 1))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"depth": 1}, "`depth` must be an integer of at least 2"),
        ({"depth": 3, "filter_size": 2}, "`filter_size` must be odd"),
        ({"depth": 3, "filter_size": 0}, "`filter_size` must be an integer of at least 1"),
        ({"depth": 3, "readout": "max"}, "`readout` must be `gap` or `flatten`"),
        ({"depth": 3, "activation": "nonsense"}, "`activation` must be one of"),
    ],
)
def test_bad_arguments_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        cntk_recursion(**arguments)
