"""Finite networks: their forward pass in plain NumPy, and the kernels they have on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional, FullyConnected, empirical
from flowkit.networks import ConvolutionalNetwork, FullyConnectedNetwork

ROUNDING = 1e-12
STANDARD_ERRORS = 4


def apply(network, x):
    return network(x)


def draws(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def test_a_fully_connected_network_is_its_formula(key):
    x, network = draws((4, 3)), FullyConnectedNetwork(3, 7, 3, 2, key=key)
    first, second, last = map(np.asarray, network.weights)
    hidden = np.sqrt(2 / 7) * np.maximum(np.asarray(x) @ first.T, 0)
    hidden = np.sqrt(2 / 7) * np.maximum(hidden @ second.T, 0)
    np.testing.assert_allclose(network(x), hidden @ last.T, rtol=ROUNDING)
    assert (first.shape, second.shape, last.shape) == ((7, 3), (7, 7), (2, 7))


def test_one_layer_is_a_plain_matrix(key):
    x, network = draws((4, 3)), FullyConnectedNetwork(1, 7, 3, key=key)
    np.testing.assert_allclose(network(x), x @ network.weights[0].T, rtol=ROUNDING)
    np.testing.assert_allclose(empirical(apply, network, x), FullyConnected(1).gram(x))


def plain_convolution(x, W):
    size, reach = len(W), len(W) // 2
    height, width, _ = x.shape
    padded = np.pad(x, [(reach, reach), (reach, reach), (0, 0)])
    patch = lambda i, j: padded[i : i + size, j : j + size]
    return np.array(
        [[np.einsum("abc,abcd->d", patch(i, j), W) for j in range(width)] for i in range(height)]
    )


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_a_convolutional_network_is_its_formula(readout, key):
    x = draws((3, 4, 2))
    network = ConvolutionalNetwork(3, 5, (3, 4, 2), 2, readout=readout, key=key)
    hidden = np.asarray(x)
    for filters in map(np.asarray, network.filters):
        hidden = np.sqrt(2 / (9 * 5)) * np.maximum(plain_convolution(hidden, filters), 0)
    features = hidden.mean((0, 1)) if readout == "gap" else hidden.ravel()
    expected = np.asarray(network.readout) @ features
    np.testing.assert_allclose(network(x[None])[0], expected, rtol=ROUNDING)


def test_ends_that_are_fixed_have_no_gradient(key):
    loss = lambda network: (network(draws((2, 3, 3, 1))) ** 2).sum()
    fixed = jax.grad(loss)(ConvolutionalNetwork(3, 4, (3, 3, 1), key=key))
    free = jax.grad(loss)(ConvolutionalNetwork(3, 4, (3, 3, 1), train_ends=True, key=key))
    assert not jnp.any(fixed.filters[0])
    assert not jnp.any(fixed.readout)
    np.testing.assert_array_equal(fixed.filters[1], free.filters[1])
    assert jnp.any(free.filters[0])
    assert jnp.any(free.readout)


def pair(shape):
    """Two inputs that are correlated, or an odd activation has kernels near zero."""
    x, z = draws((2, *shape))
    return jnp.stack([x, x + z])


def assert_average_is(kernel, make, x, networks=200, precision=0.05):
    """NNGP and NTK of one pair over random networks, within standard errors that are small."""

    @jax.jit
    def sample(key):
        network = make(key)
        values = network(x)
        ntk = empirical(apply, network, x[:1], x[1:])[0, 0]
        return jnp.stack([ntk, (values[0] * values[1]).mean()])

    samples = jnp.stack([sample(key) for key in jax.random.split(jax.random.key(0), networks)])
    expected = jnp.stack([kernel.pair(*x, kind=kind) for kind in ("ntk", "nngp")])
    errors = samples.std(0) / networks**0.5
    assert jnp.all(jnp.abs(samples.mean(0) - expected) < STANDARD_ERRORS * errors)
    assert errors[0] < precision * jnp.abs(expected[0])  # a lost constant would be seen


FULLY_CONNECTED = {"relu": 2, "erf": 3, "tanh": 3, "elu": 3, "gelu": 4}


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "depth"), FULLY_CONNECTED.items(), ids=FULLY_CONNECTED)
def test_wide_fully_connected_networks_have_the_exact_kernels(activation, depth):
    make = lambda key: FullyConnectedNetwork(depth, 128, 4, 8, activation, key=key)
    assert_average_is(FullyConnected(depth, activation), make, pair((4,)))


CONVOLUTIONAL = {
    "gap": dict(readout="gap"),
    "flatten": dict(readout="flatten"),
    "gap, all trained": dict(readout="gap", train_ends=True),
    "small filters": dict(readout="flatten", filter_size=1),
    "erf": dict(readout="flatten", activation="erf"),
}


@pytest.mark.slow
@pytest.mark.parametrize("options", CONVOLUTIONAL.values(), ids=CONVOLUTIONAL)
def test_wide_convolutional_networks_have_the_exact_kernels(options):
    make = lambda key: ConvolutionalNetwork(3, 48, (3, 2, 2), 4, key=key, **options)
    assert_average_is(Convolutional(3, **options), make, pair((3, 2, 2)))


BAD = {
    "depth": (lambda k: FullyConnectedNetwork(0, 4, 3, key=k), "`depth` must be an integer"),
    "width": (lambda k: FullyConnectedNetwork(2, 0, 3, key=k), "`width` must be .* `0`"),
    "outputs": (lambda k: FullyConnectedNetwork(2, 4, 3, True, key=k), "`outputs` must be"),
    "activation": (
        lambda k: FullyConnectedNetwork(2, 4, 3, activation="tangent", key=k),
        "`activation` must be one of .* `'tangent'`",
    ),
    "shallow": (lambda k: ConvolutionalNetwork(1, 4, (3, 3, 1), key=k), "`depth` .* least 2"),
    "image": (lambda k: ConvolutionalNetwork(2, 4, (3, 3), key=k), "`image_shape` must be height"),
    "filter": (
        lambda k: ConvolutionalNetwork(2, 4, (3, 3, 1), filter_size=2, key=k),
        "`filter_size` must be odd, but it is `2`",
    ),
    "readout": (
        lambda k: ConvolutionalNetwork(2, 4, (3, 3, 1), readout="max", key=k),
        "`readout` must be `gap` or `flatten`, .* `'max'`",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_network_is_refused(make, message, key):
    with pytest.raises(ValueError, match=message):
        make(key)
