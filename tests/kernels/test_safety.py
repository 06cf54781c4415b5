"""Gradients, degenerate inputs, extreme scales, and single precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from flowkit.kernels import Convolutional, FullyConnected, LocalAverage
from flowkit.symbolic.activations import ACTIVATIONS

STEP = 1e-5  # of central differences, whose errors are of order step^2 and eps / step
DIFFERENCES = 1e-8
SINGLE = {3: 1e-6, 11: 4e-6}  # relative error of float32 at different inputs, by depth
NEGATIVE = {np.float32: 1e-5, np.float64: 1e-13}  # of the largest entry: eigenvalues that are 0

POOLED = Convolutional(
    *(4,),
    **{"readout": LocalAverage(1), "strides": {1: (2, 1)}, "pooling": {2: (1, 2)}},
    **{"padding": "circular", "weight_variance": 1.5, "bias_variance": 0.2},
)
KERNELS = {
    "fully connected": (FullyConnected(3, weight_variance=1.5, bias_variance=0.2), (4,)),
    "standard": (
        FullyConnected(
            *(3, "erf"),
            **{"weight_variance": 1.5, "bias_variance": 0.2},
            **{"parametrization": "standard", "width": 8, "convention": "neural-tangents"},
        ),
        (4,),
    ),
    "convolutional": (
        Convolutional(2, strides=(2, 1), weight_variance=1.5, bias_variance=0.2, train=[1, 2]),
        (3, 2, 1),
    ),
}
every_kernel = pytest.mark.parametrize(
    ("kernel", "shape"),
    [*KERNELS.values(), pytest.param(POOLED, (4, 4, 2), marks=pytest.mark.slow)],
    ids=[*KERNELS, "pooled"],
)


def inputs(count, shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((count, *shape)))


@every_kernel
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_gradients_by_inputs_and_variances_match_differences(kernel, shape, kind):
    x, z, direction = inputs(3, shape)
    leaves = lambda k: (k.layers.weight_variance, k.layers.bias_variance)

    def value(x, weight, bias):
        return eqx.tree_at(leaves, kernel, (weight, bias)).pair(x, z, kind=kind)

    point, toward = (x, *leaves(kernel)), (direction, jnp.asarray(1.0), jnp.asarray(-2.0))
    slopes = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*point)
    value = jax.jit(value)
    for i, (slope, by) in enumerate(zip(slopes, toward, strict=True)):
        ahead, behind = (
            value(*point[:i], point[i] + step * by, *point[i + 1 :]) for step in (STEP, -STEP)
        )
        difference = (ahead - behind) / (2 * STEP)
        assert abs(jnp.vdot(slope, by) - difference) < DIFFERENCES * max(1, abs(difference))


def test_a_kernel_can_be_built_while_a_variance_is_traced():
    x = jnp.eye(2)
    slope = jax.grad(lambda v: FullyConnected(2, "identity", weight_variance=v).pair(x[0], x[0]))
    np.testing.assert_allclose(slope(3.0), 2.0)  # the kernel is 2 v x . z


def summed(kernel):
    """The sum of a Gram matrix, for its gradient, and the matrix."""

    def function(x):
        gram = kernel.gram(x)
        return gram.sum(), gram

    return function


def degenerate(shape):
    """Images that repeat, vanish, are opposite, almost equal, constant, or empty in a corner."""
    x = np.array(inputs(2, shape))
    patched = x[0].copy()
    patched[: shape[0] // 2] = 0
    return np.stack(
        [x[0], x[0], 0 * x[0], -x[0], x[0] * (1 + 1e-12), np.ones(shape), patched, x[1], 3 * x[1]]
    )


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize(
    "kernel",
    [
        Convolutional(3, readout="flatten"),
        pytest.param(Convolutional(4), marks=pytest.mark.slow),
        pytest.param(POOLED, marks=pytest.mark.slow),
    ],
    ids=["flatten", "gap", "pooled"],
)
def test_degenerate_images_are_safe(kernel, dtype):
    x = jnp.asarray(degenerate((4, 2, 2)), dtype)
    (_, gram), slope = jax.value_and_grad(summed(kernel), has_aux=True)(x)
    assert jnp.isfinite(slope).all()
    assert jnp.array_equal(gram, gram.T)
    gram = np.asarray(gram, float)
    assert np.linalg.eigvalsh(gram).min() > -NEGATIVE[dtype] * gram.max()


@pytest.mark.parametrize("activation", ["relu", "abs", "identity"])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_single_precision_survives_any_scale(activation, scale):
    x = np.array(inputs(4, (5,)))
    kernel = FullyConnected(4, activation)
    found = np.asarray(kernel.gram((scale * x).astype(np.float32)), float)
    expected = kernel.gram((scale * x).astype(np.float32).astype(float))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * expected.max())


@pytest.mark.slow
def test_large_images_and_biases_survive_in_single_precision():
    x = np.array(inputs(2, (3, 3, 1))) * 1e12
    x[0] /= 1e24  # next to its bias nothing is left of it
    kernel = Convolutional(3, bias_variance=0.5, train=[1, 2, 3])
    found = np.asarray(kernel.gram(x.astype(np.float32)), float)
    np.testing.assert_allclose(found, kernel.gram(x), rtol=2e-6)
    assert jnp.isfinite(jax.grad(lambda x: kernel.gram(x).sum())(jnp.float32(x))).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_gives_nan(activation, dtype):
    x = np.array(inputs(2, (3,)))
    x = np.stack([x[0], x[0], -x[0], 0 * x[0], x[0] * (1 + 1e-7), x[1], 1e-9 * x[1], 4 * x[1]])
    kernel = FullyConnected(3, activation)
    gram = kernel.gram(x.astype(dtype))
    if activation not in ("step", "sign", "exp"):  # a jump has an infinite slope at equal inputs,
        assert jnp.isfinite(gram).all()  # and e^(e^x) of the last is beyond all numbers
    assert not jnp.isnan(gram).any()
    if activation not in ("step", "sign"):
        x = x[:-1] if activation == "exp" else x
        slope = jax.grad(lambda x: kernel.gram(x, kind="nngp").sum())(jnp.asarray(x, dtype))
        assert jnp.isfinite(slope).all()


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param(name, marks=() if name in ("exp",) else pytest.mark.slow)
        for name in ACTIVATIONS
        if name not in ("step", "sign")
    ],
)
def test_no_activation_gives_nan_at_any_scale(activation):
    x = np.array(inputs(4, (3,)))
    x = np.stack([x[0], -x[0], 0 * x[0], x[0] * (1 + 1e-7), x[1], x[2]])
    kernel = FullyConnected(3, activation)
    for scale in (1e-150, 1e-12, 1e12, 1e50, 1e75):
        scaled = jnp.asarray(x * np.array([scale] * 5 + [1.0])[:, None])
        gram = kernel.gram(scaled)
        assert not jnp.isnan(gram).any()
        if activation not in ("exp", "hermite"):  # values of both grow beyond all numbers
            assert jnp.isfinite(gram).all()
            kind = "nngp" if scale > 1e60 else "ntk"  # of a GELU, products of derivatives overflow
            slope = jax.grad(lambda x, kind=kind: kernel.gram(x, kind=kind).sum())(scaled)
            assert jnp.isfinite(slope).all()


def test_a_large_gelu_is_a_relu():
    x = np.array(inputs(4, (3,)))
    variances = {"weight_variance": 2.0, "bias_variance": 0.0}
    gelu, relu = (FullyConnected(4, name, **variances) for name in ("gelu", "relu"))
    for large, small in zip(gelu.grams(1e50 * x), relu.grams(x), strict=True):
        np.testing.assert_allclose(large / 1e100, small, rtol=1e-12)


def test_an_exponential_overflows_with_the_sign_of_its_kernel():
    kernel = FullyConnected(2, "exp", weight_variance=1.0)  # (1 + x . z) e^{|x + z|^2 / 2}
    x, z = np.array([4.0, 0.0]), np.array([[1.0, 0.0], [-0.1, 0.0], [-0.25, 0.0], [-1.0, 9.0]])
    truth = (1 + z @ x) * np.exp(((x + z) ** 2).sum(-1) / 2)
    np.testing.assert_allclose(kernel.gram(x[None], z)[0], truth, rtol=1e-12, atol=1e-10)
    z[:, 1] = 100
    np.testing.assert_array_equal(kernel.gram(x[None], z)[0], [np.inf, np.inf, 0, -np.inf])


def test_overflow_of_an_odd_polynomial_has_the_sign_of_its_covariance():
    x = np.array([1e60, 0.0])
    kernel = FullyConnected(2, sp.Symbol("x", real=True) ** 3, weight_variance=1.0, train=[2])
    for gram in kernel.grams(x[None], np.stack([x, -x])):  # equal: the last layer alone is trained
        np.testing.assert_array_equal(gram[0], [np.inf, -np.inf])


def test_short_numbers_are_known():
    x = np.array(inputs(2, (3,))).astype(np.float16)
    found = FullyConnected(3).gram(x)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, FullyConnected(3).gram(x.astype(float)), rtol=5e-3)


@pytest.mark.parametrize("depth", [3, pytest.param(11, marks=pytest.mark.slow)])
@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_errors_of_single_precision_are_as_stated(readout, depth):
    x = np.asarray(inputs(4, (4, 4, 3)), np.float32)
    kernel = Convolutional(depth, readout=readout)
    single, double = np.asarray(kernel.gram(x), float), kernel.gram(x.astype(float))
    errors = np.abs(single / double - 1)
    assert errors[~np.eye(4, dtype=bool)].max() < SINGLE[depth]
    assert np.diag(errors).max() < SINGLE[depth]
