"""The fully connected kernels: published values, a plain transcription, wide random networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import FullyConnected

PUBLISHED_DIGITS = 5e-7  # the published values have six digits
ROUNDING = 1e-12  # relative; some 30 operations in float64, and arccos near 1
STANDARD_ERRORS = 4


@pytest.mark.parametrize(("depth", "value"), [(2, 0.318310), (3, 0.685709), (4, 1.060388)])
def test_orthogonal_unit_inputs_give_the_published_values(depth, value):
    gram = FullyConnected(depth).gram(np.eye(2))
    assert abs(gram[0, 1] - value) < PUBLISHED_DIGITS


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("activation", ["relu", "abs"])
def test_diagonal_is_depth_times_the_squared_norm(depth, activation):
    x = np.random.default_rng(0).standard_normal((20, 6))
    squares = (x**2).sum(1)
    kernel = FullyConnected(depth, activation)
    np.testing.assert_allclose(kernel.diagonal(x), depth * squares, rtol=ROUNDING)
    np.testing.assert_allclose(np.diag(kernel.gram(x, x)), depth * squares, rtol=ROUNDING)
    np.testing.assert_allclose(kernel.diagonal(x, kind="nngp"), squares, rtol=ROUNDING)


def test_identity_activation_gives_the_linear_kernel():
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_allclose(FullyConnected(5, "identity").gram(x), 5 * x @ x.T, rtol=ROUNDING)


def plain_kernel(x, z, depth, c=2.0):
    """Arora et al. 2019, equations 6 to 9, in scalars; returns the NTK as the published sum."""
    xx, zz, xz = float(x @ x), float(z @ z), float(x @ z)
    sigmas, dots = [xz], []
    for _ in range(depth - 1):
        scale = np.sqrt(xx * zz)
        rho = min(max(xz / scale, -1.0), 1.0)
        angle = np.arccos(rho)
        xz = c * scale * (rho * (np.pi - angle) + np.sqrt(1 - rho**2)) / (2 * np.pi)
        dots.append(c * (np.pi - angle) / (2 * np.pi))
        xx, zz = c * xx / 2, c * zz / 2
        sigmas.append(xz)
    return sum(s * np.prod(dots[h:]) for h, s in enumerate(sigmas)), sigmas[-1]


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_gram_agrees_with_a_plain_transcription(depth):
    x = np.random.default_rng(0).standard_normal((4, 5)) * np.array([0.1, 1, 3, 10])[:, None]
    z = np.random.default_rng(1).standard_normal((3, 5))
    expected = np.array([[plain_kernel(a, b, depth) for b in z] for a in x])
    kernel = FullyConnected(depth)
    np.testing.assert_allclose(np.stack(kernel.grams(x, z), -1), expected, rtol=ROUNDING)


def test_a_changed_constant_would_be_seen():
    x, z = np.random.default_rng(0).standard_normal((2, 5))
    wrong, _ = plain_kernel(x, z, depth=3, c=2.0001)
    assert abs(FullyConnected(3).pair(x, z) / wrong - 1) > 1e6 * ROUNDING


def random_network(weights, x):
    """Depth 3 in NTK parametrization: N(0, 1) weights, factor sqrt(2 / width)."""
    first, second, last = weights
    hidden = jax.nn.relu(first @ x) * (2 / len(first)) ** 0.5
    hidden = jax.nn.relu(second @ hidden) * (2 / len(second)) ** 0.5
    return last @ hidden


def test_wide_random_networks_have_these_kernels_on_average():
    width, networks = 256, 200
    x, z = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3)))

    def sample(key):
        shapes = ((width, 3), (width, width), (width,))
        keys = jax.random.split(key, 3)
        weights = [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]
        value_x, slope_x = jax.value_and_grad(random_network)(weights, x)
        value_z, slope_z = jax.value_and_grad(random_network)(weights, z)
        ntk = sum(jnp.vdot(a, b) for a, b in zip(slope_x, slope_z, strict=True))
        return jnp.stack([ntk, value_x * value_z])

    samples = jax.lax.map(sample, jax.random.split(jax.random.key(0), networks))
    kernel = FullyConnected(3)
    expected = jnp.stack([kernel.pair(x, z), kernel.pair(x, z, kind="nngp")])
    errors = samples.std(0) / networks**0.5
    assert jnp.all(jnp.abs(samples.mean(0) - expected) < STANDARD_ERRORS * errors)
    assert errors[0] < 0.02 * abs(expected[0])  # so that a wrong layer's constant would be seen


@pytest.mark.parametrize("depth", [0, -1, True])
def test_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f"`depth` must be an integer .* `{depth}`"):
        FullyConnected(depth)


def test_a_depth_that_is_no_integer_is_refused():
    with pytest.raises((ValueError, TypeError)):  # TypeError where the run-time types are checked
        FullyConnected(2.5)  # pyright: ignore[reportArgumentType]  (the mistake under test)


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"`activation` must be one of .* `'tangent'`"):
        FullyConnected(3, "tangent")
