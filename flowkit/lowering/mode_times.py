"""The time of one mode at any real depth, evaluated to rounding.

With the excess e^x = |S - s| / min(s, S), the distance from the target over the smaller of the
two, the time is N S^{2-2/N} t = integral of (1 + e^x)^{-p} dx from x(s) to x(s_0), where p is
2/N - 1 below the target and 2 - 2/N above it. The integrand has no singularity: the logarithm at
the target is the length of the interval.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Scalar

NODES = 64  # poles at +-i pi: the error is below 1e-20 on intervals of length REACH
REACH = 40.0  # the remainders below fall at least as e^-x: the rest is below rounding
SMALL = 0.01  # where six terms of the series of (e^z - 1) / z are exact to rounding


def elapsed_time(s: Scalar, start: Scalar, target: Scalar, depth: Scalar) -> Scalar:
    """The time from `start` to `s` under ds/dt = N s^{2-2/N} (S - s), for real N >= 1.

    Args:
        s: A value between start and target.
        start: The value s_0 at time zero.
        target: The target S; s, s_0 and S are positive.
        depth: The number of factors N.

    Returns:
        t in flow time of 1/2 the square, to a relative accuracy of about 1e-14. At the target,
        where the time is infinite, a large finite number with finite derivatives.

    Source:
        arXiv:1905.13655, Theorem 3, integrated. Checked by tests/symbolic/test_closed_forms.py.
    """
    power, clock = exponent_and_clock(start < target, target, depth)
    return stretched_time(log_excess(s, target), log_excess(start, target), power) / clock


def exponent_and_clock(
    below: Bool[Array, ""], target: Scalar, depth: Scalar
) -> tuple[Scalar, Scalar]:
    """The exponent p of the integrand, and the factor N S^{2-2/N} between the integral and t."""
    return jnp.where(below, 2 / depth - 1, 2 - 2 / depth), depth * target ** (2 - 2 / depth)


def log_excess(s: Scalar, target: Scalar) -> Scalar:
    """The logarithm x of |S - s| / min(s, S), finite at the target."""
    excess = jnp.abs(target - s) / jnp.minimum(s, target)
    return jnp.log(jnp.maximum(excess, jnp.finfo(excess.dtype).tiny))


def value_at(x: Scalar, below: Bool[Array, ""], target: Scalar) -> Scalar:
    """The s whose log excess is x, on the side of the target that `below` tells."""
    ratio = 1 + jnp.exp(x)
    return jnp.where(below, target / ratio, target * ratio)


def stretched_time(end: Scalar, begin: Scalar, power: Scalar) -> Scalar:
    """The integral of (1 + e^x)^{-p} dx from x = `end` up to x = `begin`.

    For x < 0 the integrand is 1 and a remainder that falls as e^x; for x > 0 it is
    e^{-px} - p e^{-(p+1)x} and a remainder that falls as e^{-(p+2)x}, p >= -1.
    """
    low, high = jnp.minimum(end, 0.0), jnp.minimum(begin, 0.0)
    near = lambda x: jnp.expm1(-power * jnp.log1p(jnp.exp(x)))
    time = high - low + _gauss_legendre(near, jnp.maximum(low, high - REACH), high)
    low, high = jnp.maximum(end, 0.0), jnp.maximum(begin, 0.0)
    time += _exponential(power, low, high) - power * _exponential(power + 1, low, high)

    def far(x):
        ratio = jnp.exp(-x)
        return jnp.exp(-power * x) * (jnp.expm1(-power * jnp.log1p(ratio)) + power * ratio)

    return time + _gauss_legendre(far, low, jnp.minimum(high, low + REACH))


def _exponential(power: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """The integral of e^{-px} from low to high, for p of any sign or zero."""
    return jnp.exp(-power * low) * (high - low) * _relative_growth(-power * (high - low))


def _relative_growth(z: Scalar) -> Scalar:
    """(e^z - 1) / z, with derivatives that keep their digits at z = 0."""
    small = jnp.abs(z) < SMALL
    series = jnp.polyval(jnp.array([1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0], z.dtype), z)
    safe = jnp.where(small, 1.0, z)
    return jnp.where(small, series, jnp.expm1(safe) / safe)


def _gauss_legendre(
    function: Callable[[Float[Array, " nodes"]], Float[Array, " nodes"]], low: Scalar, high: Scalar
) -> Scalar:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = (high - low) / 2
    return half * jnp.sum(weights * function(low + half * (1 + nodes)))
