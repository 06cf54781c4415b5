"""The minimax polynomials against arithmetic in forty digits."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from flowkit.kernels.tiles.minimax import angle_and_excess, polynomial

POINTS = np.concatenate([np.geomspace(1e-12, 1e-3, 40), np.linspace(2e-3, 1.0, 160)])
LARGEST = {  # errors of sqrt(v) p and of (v^(3/2) + 1e-3) q, the fits' own and rounding
    np.float32: (5e-9, 1e-8),
    np.float64: (5e-16, 1e-15),
}


def exact(v):
    """The angle over pi sqrt(v) and the excess over pi v^(3/2), by definition."""
    v = mpmath.mpf(v)
    angle = mpmath.acos(1 - v)
    return angle / (mpmath.pi * mpmath.sqrt(v)), (
        (mpmath.sin(angle) - (1 - v) * angle) / (mpmath.pi * v ** mpmath.mpf(1.5))
    )


@pytest.mark.parametrize("dtype", LARGEST)
def test_polynomials_are_exact_to_the_rounding_of_their_type(dtype):
    found = [polynomial(c, jnp.asarray(POINTS)) for c in angle_and_excess(dtype)]
    with mpmath.workdps(60):
        expected = np.asarray([[float(a) for a in exact(v)] for v in POINTS]).T
    weights = np.sqrt(POINTS), POINTS**1.5 + 1e-3
    for values, truth, weight, bound in zip(found, expected, weights, LARGEST[dtype], strict=True):
        assert np.max(weight * abs(values - truth)) < bound


def test_a_lost_digit_of_a_coefficient_would_be_seen():
    angle, _ = angle_and_excess(np.float64)
    points = jnp.asarray(POINTS)
    rounded = (*angle[:5], round(angle[5], 9), *angle[6:])
    difference = polynomial(rounded, points) - polynomial(angle, points)
    assert np.max(np.sqrt(POINTS) * abs(difference)) > LARGEST[np.float64][0]
