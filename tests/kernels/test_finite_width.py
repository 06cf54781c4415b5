"""Empirical tangent kernels: the product of Jacobians, whatever the network and its parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import empirical

ROUNDING = 1e-12
NETWORK = eqx.nn.MLP(3, 2, 5, 2, activation=jnp.tanh, dtype=float, key=jax.random.key(0))


def apply(network, x):
    return jax.vmap(network)(x)


def inputs(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3))


def jacobian(network, x):
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)
    tree = jax.jacobian(lambda a: apply(eqx.combine(a, rest), x))(arrays)
    return jnp.concatenate([leaf.reshape(len(x), 2, -1) for leaf in jax.tree.leaves(tree)], -1)


def test_it_is_the_mean_over_outputs_of_products_of_jacobians():
    x, z = inputs(4), inputs(3, seed=1)
    left, right = (jacobian(NETWORK, jnp.asarray(points)) for points in (x, z))
    expected = jnp.einsum("iop,jop->ij", left, right) / 2
    np.testing.assert_allclose(empirical(apply, NETWORK, x, z), expected, rtol=ROUNDING)


def test_one_argument_gives_a_symmetric_positive_semidefinite_matrix():
    x = inputs(6)
    kernel = empirical(apply, NETWORK, x)
    np.testing.assert_array_equal(kernel, kernel.T)
    np.testing.assert_allclose(kernel, empirical(apply, NETWORK, x, x), rtol=ROUNDING)
    assert np.linalg.eigvalsh(kernel).min() > -ROUNDING


def test_a_linear_model_has_the_linear_kernel_with_outputs_of_either_rank():
    x = inputs(4)
    params = {"slope": np.ones(3), "name": "a constant", "steps": 7}
    scalar = lambda p, x: x @ p["slope"]
    np.testing.assert_allclose(empirical(scalar, params, x), x @ x.T, rtol=ROUNDING)
    column = lambda p, x: (x @ p["slope"])[:, None]
    np.testing.assert_allclose(empirical(column, params, x), x @ x.T, rtol=ROUNDING)


def test_inputs_of_any_rank_and_whole_numbers():
    images = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    flat = images.reshape(2, -1).astype(float)
    linear = lambda p, x: jnp.einsum("nij,ij->n", x, p)
    kernel = empirical(linear, jnp.zeros((3, 2)), images)
    np.testing.assert_allclose(kernel, flat @ flat.T, rtol=ROUNDING)


def test_no_jacobian_is_held():
    """8 inputs and 8 outputs would take 64 times the memory of the parameters."""
    side = 256
    params, x = jnp.ones((side, side)), jnp.ones((8, side))
    function = jax.jit(lambda p: empirical(lambda p, x: jnp.tanh(x @ p)[:, :8], p, x))
    held = function.lower(params).compile().memory_analysis().temp_size_in_bytes
    assert held < 6 * params.nbytes


def test_it_is_the_same_while_jax_traces():
    x = jnp.asarray(inputs(3))
    arrays, rest = eqx.partition(NETWORK, eqx.is_inexact_array)
    traced = jax.jit(lambda a: empirical(apply, eqx.combine(a, rest), x))(arrays)
    np.testing.assert_allclose(traced, empirical(apply, NETWORK, x), rtol=ROUNDING)


def test_single_precision_stays_single():
    linear = lambda p, x: x @ p
    kernel = empirical(linear, jnp.ones(3, jnp.float32), inputs(2).astype(np.float32))
    assert kernel.dtype == jnp.float32


LINEAR = lambda p, x: x @ p
SLOPE = np.ones(3)
BAD = {
    "no function": ((3, SLOPE, inputs(2)), "`apply` must be a function, but it is `3`"),
    "no inputs": ((LINEAR, SLOPE, np.zeros((0, 3))), r"`x` must be a non-empty .* \(0, 3\)"),
    "one number": ((LINEAR, SLOPE, 1.0), r"`x` must be a non-empty .* shape \(\)"),
    "nan": ((LINEAR, SLOPE, np.full((1, 3), np.nan)), "`x` must be finite"),
    "complex": ((LINEAR, SLOPE, np.ones((1, 3)) * 1j), "`x` must be real, .* complex"),
    "shape of z": ((LINEAR, SLOPE, inputs(2), np.ones((2, 4))), "`z` must agree with `x`"),
    "dtype of z": (
        (LINEAR, SLOPE, inputs(2), np.ones((2, 3), np.float32)),
        "`z` must agree with `x` .* float32",
    ),
    "no parameters": ((LINEAR, {"a": 1}, inputs(2)), "`params` must hold at least one floating"),
    "complex parameters": ((LINEAR, SLOPE * 1j, inputs(2)), "`params` must be real"),
    "infinite": ((LINEAR, SLOPE * np.inf, inputs(2)), "`params` must be finite"),
    "rank": (
        (lambda p, x: jnp.vdot(x[0], p), SLOPE, inputs(2)),
        r"`apply` must return .* of shape \(\)",
    ),
    "batch": ((lambda p, x: x[:1] @ p, SLOPE, inputs(2)), r"batch of 2, .* shape \(1,\)"),
    "two arrays": ((lambda p, x: (x @ p, x @ p), SLOPE, inputs(2)), "is no array"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("as_a_user")
def test_what_has_no_kernel_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        empirical(*arguments)
