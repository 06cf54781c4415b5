"""The NTK's recursion is derived, sums up as published, and is what the kernels compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from flowkit.kernels import FullyConnected
from flowkit.lowering import lower
from flowkit.symbolic import ntk_recursion
from flowkit.symbolic.kernel_recursions import closed_sum_claim, diagonal_claim, orthogonal_claim
from flowkit.symbolic.layer_step import SCALE, check_step, induction_step

ROUNDING = 1e-12  # relative; some 30 operations in float64, and arccos near 1
PUBLISHED = {2: 0.318310, 3: 0.685709, 4: 1.060388}  # depth -> the NTK of orthogonal unit inputs
PUBLISHED_DIGITS = 5e-7


@pytest.mark.parametrize("activation", ["relu", "abs", "identity"])
@pytest.mark.parametrize("depth", range(1, 6))
def test_every_claim_is_proved(depth, activation):
    claims = ntk_recursion(depth, activation).claims
    verdicts = [claim.check() for claim in claims[:3]]
    assert len(claims) == 3 + (activation == "relu" and depth in PUBLISHED)
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize("shifts", [1, 4])
@pytest.mark.parametrize("width", [1, 3])
def test_the_step_is_the_published_one_at_every_width(shifts, width):
    assert check_step([induction_step(shifts, width)]).passed


STEP_MUTATIONS = {
    "sign": lambda step: step.covariance - SCALE * step.slopes[0] * step.tangents[0],
    "own part forgotten": lambda step: SCALE * step.slopes[0] * step.tangents[0],
    "exponent": lambda step: step.tangent.subs(step.slopes[0], step.slopes[0] ** 2),
}


@pytest.mark.parametrize("mutate", STEP_MUTATIONS.values(), ids=STEP_MUTATIONS)
def test_a_changed_step_is_noticed(mutate):
    step = induction_step()
    assert not check_step([dataclasses.replace(step, tangent=mutate(step))]).passed
    doubled = dataclasses.replace(step, covariance=2 * step.covariance)
    assert not check_step([doubled]).passed


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_changed_layer_breaks_the_closed_sum_and_the_diagonal(layer):
    recursion = ntk_recursion(3)
    tangents = list(recursion.tangents)
    tangents[layer] = -tangents[layer]
    changed = dataclasses.replace(recursion, tangents=tuple(tangents))
    assert not closed_sum_claim(changed).check().passed
    assert not diagonal_claim(changed).check().passed


def test_a_changed_covariance_breaks_the_diagonal():
    recursion = ntk_recursion(3)
    first, second, third = recursion.covariances
    changed = dataclasses.replace(recursion, covariances=(first, second**2 / 2, third))
    assert not diagonal_claim(changed).check().passed


@pytest.mark.parametrize("depth", PUBLISHED)
def test_orthogonal_inputs_fail_for_a_changed_sign_or_scale(depth):
    recursion = ntk_recursion(depth)
    assert orthogonal_claim(recursion).check().passed
    flipped = (*recursion.tangents[:-1], -recursion.tangents[-1])
    unscaled = (recursion.covariances[0], *(c / 2 for c in recursion.covariances[1:]))
    for change in ({"tangents": flipped}, {"covariances": unscaled}):
        assert not orthogonal_claim(dataclasses.replace(recursion, **change)).check().passed


@pytest.mark.parametrize(("depth", "value"), PUBLISHED.items())
def test_orthogonal_unit_inputs_give_the_published_values(depth, value):
    ntk, _ = ntk_recursion(depth).evaluate(1, 1, 0)
    assert abs(float(ntk) - value) < PUBLISHED_DIGITS


def test_one_hidden_layer_on_orthogonal_inputs_is_one_over_pi():
    assert ntk_recursion(2).evaluate(1, 1, 0) == (1 / sp.pi, 1 / sp.pi)


def test_without_its_ends_a_network_of_two_layers_has_nothing_to_train():
    ntk, nngp = ntk_recursion(2).evaluate(2, 3, 1, ends=False)
    assert ntk == 0
    assert nngp > 0


@pytest.mark.parametrize("activation", ["relu", "abs"])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_lowered_recursion_is_the_kernel(depth, activation):
    rng = np.random.default_rng(0)
    x, z = jnp.asarray(rng.standard_normal((2, 4, 3)))
    kernels = jax.jit(lower(ntk_recursion(depth, activation)))
    values = kernels((x**2).sum(1)[:, None], (z**2).sum(1)[None], x @ z.T)
    kernel = FullyConnected(depth, activation)
    for value, kind in zip(values, ("ntk", "nngp"), strict=True):
        np.testing.assert_allclose(value, kernel.gram(x, z, kind=kind), rtol=ROUNDING)


def test_the_lowered_recursion_has_finite_gradients_on_the_diagonal():
    kernels = lower(ntk_recursion(4))
    assert kernels(1, 1, 1) == (4, 1)
    gradients = jax.grad(lambda *c: kernels(*c)[0], (0, 1, 2))(1.0, 1.0, 1.0)
    assert all(jnp.isfinite(gradient) for gradient in gradients)


@pytest.mark.parametrize("depth", [0, 2.0, True, sp.Symbol("N")])
@pytest.mark.usefixtures("as_a_user")
def test_a_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match="`depth` must be an integer of at least 1"):
        ntk_recursion(depth)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="`activation` must be one of"):
        ntk_recursion(2, "nonsense")
