"""The fast angle, against arithmetic in fifty digits and against XLA's own."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from flowkit.lowering.arctangent import REDUCED, arctangent, upper_angle

UNITS = 3  # of rounding


def _points() -> tuple[np.ndarray, np.ndarray]:
    """Angles of every size, those near the borders of the reduction among them."""
    borders = np.outer([np.pi / 8, np.pi / 4, 3 * np.pi / 8, np.pi / 2], [1 - 1e-9, 1, 1 + 1e-9])
    small = np.geomspace(1e-25, 0.3, 60)
    angles = np.concatenate(
        [small, np.linspace(0, np.pi, 301), borders.ravel(), np.pi - borders.ravel()]
    )
    radii = np.geomspace(1e-9, 1e9, len(angles))
    return radii * np.abs(np.sin(angles)), radii * np.cos(angles)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angle_is_exact_to_rounding(dtype):
    y, x = (values.astype(dtype) for values in _points())
    found = np.asarray(upper_angle(jnp.asarray(y), jnp.asarray(x)))
    assert found.dtype == dtype
    with mpmath.workdps(50):
        exact = [mpmath.atan2(float(a), float(b)) for a, b in zip(y, x, strict=True)]
        errors = [
            abs((float(f) - e) / e) if e else abs(float(f))
            for f, e in zip(found, exact, strict=True)
        ]
    assert max(errors) <= UNITS * np.finfo(dtype).eps


def test_angle_at_the_axes():
    y, x = jnp.asarray([0.0, 0.0, 1.0, REDUCED, 1.0]), jnp.asarray([2.0, -2.0, 0.0, 1.0, 1.0])
    expected = [0.0, np.pi, np.pi / 2, np.pi / 8, np.pi / 4]
    np.testing.assert_allclose(upper_angle(y, x), expected, rtol=4e-16)


def test_derivatives_are_those_of_arctan2():
    y, x = jnp.asarray([0.1, 2.0, 0.3]), jnp.asarray([1.0, -0.5, -3.0])
    for order in (jax.grad, lambda f: jax.grad(jax.grad(f, 0), 1)):
        ours, theirs = (jax.vmap(order(f))(y, x) for f in (upper_angle, jnp.arctan2))
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arctangent_of_any_sign_is_exact_to_rounding(dtype):
    size = np.geomspace(1e-30, 1e30, 241)
    x = np.concatenate([-size, [0.0], size]).astype(dtype)
    found = np.asarray(arctangent(jnp.asarray(x)))
    with mpmath.workdps(50):
        exact = [mpmath.atan(float(a)) for a in x]
        errors = [abs((float(f) - e) / e) for f, e in zip(found, exact, strict=True) if e]
    assert max(errors) <= UNITS * np.finfo(dtype).eps
    np.testing.assert_array_equal(arctangent(jnp.asarray([0.0, jnp.inf])), [0.0, np.pi / 2])


def test_the_derivative_of_the_arctangent_holds_at_zero():
    x = jnp.asarray([-2.0, 0.0, 0.3])
    for order in (jax.grad, lambda f: jax.grad(jax.grad(f))):
        ours, theirs = (jax.vmap(order(f))(x) for f in (arctangent, jnp.arctan))
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-15)
