"""Finite random networks with biases, strides and pooling have these kernels on average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional, empirical

STANDARD_ERRORS = 4
WEIGHT, BIAS, CHANNELS, NETWORKS = 1.5, 0.3, 96, 150
TRAINED = (0, 2)  # the first convolution and the read-out, with their biases


def network(trained, images, fixed):
    """Conv with stride (2, 1), ReLU, means over (1, 2), Conv, ReLU, global mean, dense."""
    layers = [trained[i] if i in TRAINED else fixed[i] for i in range(3)]
    for (W, b), strides in zip(layers[:2], ((2, 1), (1, 1)), strict=True):
        images = jax.lax.conv_general_dilated(
            images, W, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = images * (WEIGHT / np.prod(W.shape[:3])) ** 0.5 + BIAS**0.5 * b[None, None, None]
        images = jax.nn.relu(images)
        if strides != (1, 1):
            n, height, width, channels = images.shape
            images = images.reshape(n, height, width // 2, 2, channels).mean(3)
    W, b = layers[2]
    return images.mean((1, 2)) @ W * (WEIGHT / len(W)) ** 0.5 + BIAS**0.5 * b[None]


@pytest.mark.slow
def test_wide_random_networks_have_these_kernels_on_average():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 2)))
    shapes = ((3, 3, 2, CHANNELS), (3, 3, CHANNELS, CHANNELS), (CHANNELS, 1))

    def sample(key):
        keys = jax.random.split(key, 6)
        draw = lambda i, shape: jax.random.normal(keys[i], shape)
        layers = [(draw(2 * i, s), draw(2 * i + 1, s[-1:])) for i, s in enumerate(shapes)]
        trained = {i: layers[i] for i in TRAINED}
        outputs = network(trained, x, layers)[:, 0]
        gram = empirical(lambda p, images: network(p, images, layers), trained, x)
        return jnp.stack([gram[0, 1], outputs[0] * outputs[1]])

    samples = jax.jit(lambda keys: jax.lax.map(sample, keys))(
        jax.random.split(jax.random.key(0), NETWORKS)
    )
    kernel = Convolutional(
        *(3,),
        **{"convention": "neural-tangents", "weight_variance": WEIGHT, "bias_variance": BIAS},
        **{"strides": {1: (2, 1)}, "pooling": {1: (1, 2)}, "train": [1, 3]},
    )
    expected = jnp.stack([kernel.pair(x[0], x[1], kind=kind) for kind in ("ntk", "nngp")])
    errors = samples.std(0) / NETWORKS**0.5
    assert jnp.all(jnp.abs(samples.mean(0) - expected) < STANDARD_ERRORS * errors)
    assert errors[0] < 0.05 * abs(expected[0])  # so that a wrong layer's constant would be seen
