"""An epoch's mean over orders and SGD's moments are those of the flows that stand for them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import MatrixSymbol, Trace

import flowkit as fk
from flowkit import fields
from flowkit.lowering import lower
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.expansions import ETA
from flowkit.symbolic.sampling import (
    _forces,
    epoch_claim,
    mean_epoch,
    moments_claim,
    reshuffled_flow,
    sgd_equation,
)

ROUNDING = 1e-12  # relative; a few dozen operations on numbers of order one
a, b = sp.symbols("a b", real=True)
SCALARS = (a**3 + b, a * b**2, sp.sin(a) * b)
n = sp.Symbol("n", integer=True, positive=True)
U, Y, Z = (MatrixSymbol(name, n, n) for name in "UYZ")
MATRICES = (Trace((U * U - Y).T * (U * U - Y)), Trace(Z.T * U))
"""A loss that is cubic in its gradient, and one whose gradient is constant."""

CASES = {
    "two": (SCALARS[:2], (a, b)),
    "three": (SCALARS, (a, b)),
    "matrices": (MATRICES, (U,)),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow if name == "matrices" else (), id=name)
        for name, case in CASES.items()
    ],
)
def test_the_mean_epoch_follows_the_penalised_loss(case):
    for claim in reshuffled_flow(*case).claims:
        verdict = claim.check()
        assert verdict.passed, verdict.measured
        assert verdict.kind == "proved"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("factor", [-1, 2])
def test_the_proof_fails_for_another_penalty(case, factor):
    flow = reshuffled_flow(*case)
    wrong = dataclasses.replace(flow, rates=tuple(r.subs(ETA, factor * ETA) for r in flow.rates))
    assert not epoch_claim(wrong, _forces(*case)).check().passed


def test_a_fixed_order_follows_another_flow():
    """Each order drifts its own way; only their mean is a gradient flow."""
    steps = _forces(*CASES["two"])
    both = mean_epoch(steps, (a, b))
    one = mean_epoch(steps[:1], (a, b))
    assert sp.expand(both[0][0] - one[0][0] - steps[1][0]) == 0
    f, g = steps
    mixed = sum(d.diff(s) * m for d, s, m in ((f[0], a, g[0]), (f[0], b, g[1])))
    mixed += sum(d.diff(s) * m for d, s, m in ((g[0], a, f[0]), (g[0], b, f[1])))
    assert sp.expand(both[1][0] - mixed / 2) == 0


def _example_loss(parameters, k):
    losses = sp.lambdify((a, b), SCALARS, "jax")(parameters["a"], parameters["b"])
    return jnp.stack(losses)[k]


POINT = {"a": jnp.asarray(0.7), "b": jnp.asarray(-1.2)}
RATE = jnp.asarray(0.2)
EXAMPLES = jnp.arange(3)


def test_the_lowered_flow_is_the_reshuffled_field():
    batches = fk.Minibatches(EXAMPLES, 1, replace=False)
    field = fields.ReshuffledFlow(_example_loss, batches, RATE)
    symbolic = lower(reshuffled_flow(*CASES["three"]))(0.0, POINT, {"eta": RATE})
    for name, rate in field(jnp.asarray(0.0), POINT).items():
        assert float(symbolic[name]) == pytest.approx(float(rate), rel=ROUNDING)


@pytest.mark.parametrize("order", [0, 1])
def test_the_equation_is_that_of_the_stochastic_field(order):
    batches = fk.Minibatches(EXAMPLES, 1, replace=True)
    field = fields.StochasticFlow(_example_loss, batches, RATE, modified=order)
    equation = sgd_equation(*CASES["three"], order)
    data = {"eta": RATE}
    symbolic = lower(equation.drift)(0.0, POINT, data)
    numeric = field.drift(jnp.asarray(0.0), POINT)
    for name, rate in numeric.items():
        assert float(symbolic[name]) == pytest.approx(float(rate), rel=ROUNDING)
    columns = [field.diffusion(jnp.asarray(0.0), POINT, e) for e in jnp.eye(field.noises)]
    roots = np.array([[float(column[name]) for name in "ab"] for column in columns])
    values = {a: float(POINT["a"]), b: float(POINT["b"]), ETA: float(RATE)}
    covariance = np.array(equation.covariance.evalf(subs=values), float)
    np.testing.assert_allclose(covariance, roots.T @ roots, rtol=ROUNDING)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", ["two", "three"])
def test_the_moments_of_a_step_agree(name, order):
    (claim,) = sgd_equation(*CASES[name], order).claims
    verdict = claim.check()
    assert verdict.passed, verdict.measured
    assert verdict.kind == "proved"


@pytest.mark.parametrize("order", [0, 1])
def test_the_moments_differ_for_another_equation(order):
    losses, parameters = CASES["two"]
    equation, forces = sgd_equation(losses, parameters, order), _forces(losses, parameters)
    louder = dataclasses.replace(equation, covariance=2 * equation.covariance)
    assert not moments_claim(louder, forces, order).check().passed
    for i in range(order + 1):  # the term with eta^i in the drift
        rates = tuple(r - 2 * ETA**i * sp.expand(r).coeff(ETA, i) for r in equation.drift.rates)
        drift = dataclasses.replace(equation.drift, rates=rates)
        wrong = dataclasses.replace(equation, drift=drift)
        assert not moments_claim(wrong, forces, order).check().passed


def test_without_the_correction_means_agree_to_first_order_only():
    losses, parameters = CASES["two"]
    plain, forces = sgd_equation(losses, parameters, 0), _forces(losses, parameters)
    assert not moments_claim(plain, forces, 1).check().passed


@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`losses` must hold at least one"):
        reshuffled_flow((), (a,))
    with pytest.raises(ValueError, match="`losses` must not depend on time"):
        reshuffled_flow((TIME * a**2,), (a,))
    with pytest.raises(ValueError, match="`losses` must leave the name `eta` free"):
        reshuffled_flow((ETA * a**2,), (a,))
    with pytest.raises(ValueError, match="`parameters` must be scalar symbols"):
        sgd_equation(MATRICES, (U,))
