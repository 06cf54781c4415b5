"""Fields are minus the gradient of their loss, and agree with the lowered derivations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import HadamardProduct, MatMul, MatrixSymbol, Trace
from systems import completion, random_factors

from flowkit import EndToEndFlow, FactorFlow, KernelFlow, initial, lower
from flowkit.observables import end_to_end
from flowkit.symbolic import derive, end_to_end_flow

ROUNDING = 1e-12


@pytest.mark.parametrize(
    "sizes", [(4, 5), (4, 3, 5), (4, 2, 6, 5), (4, 4, 4, 4, 5), (4, 3, 3, 3, 3, 5)]
)
def test_factor_flow_is_minus_the_gradient_of_its_loss(sizes):
    field, factors = FactorFlow(completion((5, 4))), random_factors(sizes)
    gradients = jax.grad(field.loss)(factors)
    for rate, gradient in zip(field(0.0, factors), gradients, strict=True):
        np.testing.assert_allclose(rate, -gradient, atol=ROUNDING * jnp.abs(gradient).max())


def test_factor_flow_is_the_flow_derived_from_the_whole_loss():
    """G by autodiff and the layers by derivation, against one derivation of the masked loss."""
    m, n, k, count = sp.symbols("m n k count", positive=True)
    W_1, W_2 = MatrixSymbol("W_1", k, n), MatrixSymbol("W_2", m, k)
    Y, mask = MatrixSymbol("Y", m, n), MatrixSymbol("mask", m, n)
    residual = HadamardProduct(mask, MatMul(W_2, W_1) - Y)
    derived = lower(derive(Trace(residual.T * residual) / count, [W_1, W_2]))

    problem, factors = completion((5, 4)), random_factors((4, 3, 5))
    dense = jnp.zeros(problem.shape).at[problem.rows, problem.cols].set(problem.values)
    data = {
        "Y": dense,
        "mask": jnp.asarray(problem.mask, float),
        "count": jnp.asarray(float(problem.values.size)),
    }
    rates = derived(0.0, {"W_1": factors[0], "W_2": factors[1]}, data)
    for rate, stated in zip(FactorFlow(problem)(0.0, factors), rates.values(), strict=True):
        np.testing.assert_allclose(rate, stated, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4)])
def test_end_to_end_flow_is_the_lowered_derivation(depth, shape, key):
    """The reference loses digits in its fractional powers: 1e-9 relative."""
    problem, W = completion(shape), jax.random.normal(key, shape)
    data = {"G": problem.gradient(W)}
    reference = lower(end_to_end_flow(depth))(0.0, {"W": W}, data)["W"]
    rate = EndToEndFlow(problem, depth)(0.0, W)
    np.testing.assert_allclose(rate, reference, atol=1e-9 * jnp.abs(reference).max())


@pytest.mark.parametrize("depth", [2, 3])
def test_end_to_end_flow_at_singular_and_repeated_values(depth):
    """Rank one, and a multiple of an orthogonal matrix: no singular value is told apart."""
    problem = completion((4, 4))
    Q, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(5), (4, 4)))
    for W in (jnp.outer(Q[:, 0], Q[:, 1]), 0.3 * Q, jnp.zeros((4, 4))):
        reference = lower(end_to_end_flow(depth))(0.0, {"W": W}, {"G": problem.gradient(W)})["W"]
        np.testing.assert_allclose(EndToEndFlow(problem, depth)(0.0, W), reference, atol=1e-7)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_end_to_end_flow_is_the_product_rule_of_the_factor_flow(depth, key):
    problem = completion((5, 4))
    factors = initial.balanced(problem, depth, 1.0, key=key)
    _, rate = jax.jvp(end_to_end, (factors,), (FactorFlow(problem)(0.0, factors),))
    stated = EndToEndFlow(problem, depth)(0.0, end_to_end(factors))
    np.testing.assert_allclose(rate, stated, atol=1e-12 * jnp.abs(stated).max())


def test_kernel_flow_descends_half_the_sum_of_squares_of_a_linear_model(key):
    """u = J theta with gradient flow on theta: du/dt = J dtheta/dt, also on test points."""
    J, J_test = jax.random.normal(key, (6, 9)), jax.random.normal(jax.random.key(1), (3, 9))
    theta, y = jax.random.normal(jax.random.key(2), (9, 2)), jnp.ones((6, 2))
    field = KernelFlow(J @ J.T, y, J_test @ J.T)
    state = (J @ theta, J_test @ theta)
    theta_rate = -jax.grad(lambda p: 0.5 * jnp.sum((J @ p - y) ** 2))(theta)
    for rate, stated in zip(field(0.0, state), (J @ theta_rate, J_test @ theta_rate), strict=True):
        np.testing.assert_allclose(rate, stated, rtol=1e-11)
    assert float(field.loss(state)) == pytest.approx(float(0.5 * jnp.sum((J @ theta - y) ** 2)))


BAD_STATES = {
    "no tuple": (FactorFlow, jnp.ones((5, 4)), "tuple of at least one matrix"),
    "empty": (FactorFlow, (), "tuple of at least one matrix"),
    "unchained": (FactorFlow, (jnp.ones((3, 4)), jnp.ones((5, 2))), "product W_N ... W_1"),
    "wrong product": (FactorFlow, (jnp.ones((3, 4)), jnp.ones((6, 3))), "product W_N ... W_1"),
    "factors for a product": (lambda p: EndToEndFlow(p, 2), (jnp.ones((5, 4)),), "a matrix of"),
}


@pytest.mark.parametrize(("make", "state", "message"), BAD_STATES.values(), ids=BAD_STATES)
def test_states_of_the_wrong_form_are_refused(make, state, message):
    with pytest.raises(ValueError, match=f"`y0` must .*{message}"):
        make(completion((5, 4))).check(state)


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match="`depth` must be a positive integer, but it is 0"):
        EndToEndFlow(completion(), 0)


@pytest.mark.usefixtures("as_a_user")
def test_kernels_and_targets_that_disagree_are_refused():
    K, y = jnp.eye(3), jnp.ones((3, 2))
    with pytest.raises(ValueError, match="`gram` must be square"):
        KernelFlow(K, jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="`test_gram` must have one column per training point"):
        KernelFlow(K, y, jnp.ones((5, 2)))
    with pytest.raises(ValueError, match="`targets` must be finite"):
        KernelFlow(K, y * jnp.nan)
    with pytest.raises(ValueError, match="`gram` must be symmetric"):
        KernelFlow(K.at[0, 1].set(0.5), y)
    with pytest.raises(ValueError, match="`targets` must be a matrix"):
        KernelFlow(K, jnp.ones(3))
    with pytest.raises(ValueError, match="`y0` must be a matrix of shape"):
        KernelFlow(K, y).check(jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="`y0` must be a tuple of matrices"):
        KernelFlow(K, y, jnp.ones((5, 3))).check(y)
    with pytest.raises(ValueError, match="`problem` must be a problem"):
        FactorFlow(K)
    KernelFlow([[1.0]], [[2.0]]).check(jnp.ones((1, 1)))
