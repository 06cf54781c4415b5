"""Stabilized explicit methods of order two: Runge-Kutta-Chebyshev and Runge-Kutta-Legendre.

Both are recursions of three terms that follow the recursion of an orthogonal polynomial, so that
any number of stages is stable and no coefficient is stored.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from flowkit.dynamics.stages import (
    AbstractStabilized,
    Flat,
    Radius,
    StabilizedState as StabilizedState,
    Step,
    StepEnd,
)

DAMPING = 2 / 13  # epsilon of the RKC papers: damps the interior of the stability interval
STABILITY = 0.653  # the real stability interval is about 0.653 (s^2 - 1): (2/3) (1 - DAMPING 2/15)


@final
class RKC2(AbstractStabilized):
    """Second-order Runge-Kutta-Chebyshev method with an adaptive number of stages.

    For stiff systems whose Jacobian has a real negative spectrum, as every gradient flow has;
    s stages are stable up to a step of 0.65 (s^2 - 1) / (spectral radius), and damp what is stiff.
    Has an error estimate and cubic Hermite dense output; use it in any `diffrax.diffeqsolve` with
    an `ODETerm`. `AbstractStabilized` says what the attributes mean.

    Source:
        Sommeijer, Shampine, Verwer 1998, "RKC: an explicit solver for parabolic PDEs". Checked by
        tests/dynamics/test_stabilized.py.
    """

    power_iterations: int = 2
    max_stages: int = 400
    spectral_radius: Radius = None
    reverse: bool = eqx.field(static=True, default=False, kw_only=True)
    least_stages: ClassVar[int] = 2

    def order(self, terms: PyTree) -> int:
        return 2

    def error_order(self, terms: PyTree) -> int:
        return 3

    def stages_for(self, scaled_step: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(jnp.ceil(jnp.sqrt(scaled_step / STABILITY + 1)), self.least_stages)

    def advance(self, step: Step, stages: Int[Array, ""]) -> StepEnd:
        return _second_order_end(step, _chebyshev_step(step, stages))


@final
class RKL2(AbstractStabilized):
    """Second-order Runge-Kutta-Legendre method with an adaptive, odd number of stages.

    As `RKC2`, with Legendre polynomials: they decay inside the stability interval without a damping
    parameter, and the interval is shorter, (s^2 + s - 2) / 2.

    Source:
        Meyer, Balsara, Aslam 2014, "A stabilized Runge-Kutta-Legendre method for explicit
        super-time-stepping of parabolic and mixed equations", section 2.2. Checked by
        tests/dynamics/test_stabilized.py.
    """

    power_iterations: int = 2
    max_stages: int = 400
    spectral_radius: Radius = None
    reverse: bool = eqx.field(static=True, default=False, kw_only=True)
    least_stages: ClassVar[int] = 3

    def order(self, terms: PyTree) -> int:
        return 2

    def error_order(self, terms: PyTree) -> int:
        return 3

    def stages_for(self, scaled_step: Float[Array, ""]) -> Float[Array, ""]:
        enough = jnp.ceil((jnp.sqrt(9 + 8 * scaled_step) - 1) / 2)
        return jnp.maximum(2 * jnp.floor(enough / 2) + 1, self.least_stages)

    def advance(self, step: Step, stages: Int[Array, ""]) -> StepEnd:
        return _second_order_end(step, _legendre_step(step, stages))


def _second_order_end(step: Step, z1: Flat) -> StepEnd:
    """The end of a step of order two, its error judged by the Hermite quadrature of its ends."""
    f1 = step.rate(step.t1, z1)
    return StepEnd(z1, f1, 0.8 * (step.z0 - z1) + 0.4 * step.h * (step.f0 + f1))


class _Weights(NamedTuple):
    """Stage j of the recursion: its weight b_j, the rest a_j = 1 - b_j P_j, its time c_j."""

    b: Float[Array, ""]
    a: Float[Array, ""]
    c: Float[Array, ""]


class _Chebyshev(NamedTuple):
    """T_j and its first two derivatives at a point above 1, and what they grew by from j - 1 on.

    In growth nothing cancels, however close the point is to 1.
    """

    value: Float[Array, ""]
    slope: Float[Array, ""]
    bend: Float[Array, ""]
    growth: tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]

    def following(self, excess: Float[Array, ""]) -> "_Chebyshev":
        """The next ones, at the point 1 + excess."""
        value, slope, bend, (of_value, of_slope, of_bend) = self
        of_value = of_value + 2 * excess * value
        of_slope = of_slope + 2 * excess * slope + 2 * value
        of_bend = of_bend + 2 * excess * bend + 4 * slope
        growth = (of_value, of_slope, of_bend)
        return _Chebyshev(value + of_value, slope + of_slope, bend + of_bend, growth)


def _chebyshev_step(step: Step, stages: Int[Array, ""]) -> Flat:
    """The recursion of RKC2."""
    count = stages.astype(step.h.dtype)
    excess = DAMPING / count**2
    w0 = 1 + excess
    w1 = _chebyshev_ratio(count, excess)

    def weights(polynomials: _Chebyshev) -> _Weights:
        value, slope, bend, _ = polynomials
        b = bend / slope**2
        return _Weights(b, 1 - b * value, w1 * bend / slope)

    def following(j, polynomials):
        polynomials = polynomials.following(excess)
        return weights(polynomials), polynomials, 2 * w0, jnp.ones_like(w0)

    one, none = jnp.ones_like(w0), jnp.zeros_like(w0)
    start = _Chebyshev(w0, one, none, (excess, one, none))
    b = weights(start.following(excess)).b
    first = _Weights(b, 1 - b * w0, b * w1)
    return _recursion(step, stages, first, start, following, w1 / w0)


def _chebyshev_ratio(count: Float[Array, ""], excess: Float[Array, ""]) -> Float[Array, ""]:
    """T_s' / T_s'' at 1 + excess, by closed forms: accurate for s of order excess^(-1/2)."""
    sinh_squared = excess * (2 + excess)
    angle = 2 * jnp.arcsinh(jnp.sqrt(excess / 2))
    slope = count * jnp.sinh(count * angle) / jnp.sqrt(sinh_squared)
    bend = (count**2 * jnp.cosh(count * angle) - (1 + excess) * slope) / sinh_squared
    return slope / bend


def _legendre_step(step: Step, stages: Int[Array, ""]) -> Flat:
    """The recursion of RKL2."""
    count = stages.astype(step.h.dtype)
    w1 = 4 / (count**2 + count - 2)

    def following(j, _):
        b = (j**2 + j - 2) / (2 * j * (j + 1))
        new = _Weights(b, 1 - b, w1 * (j**2 + j - 2) / 4)
        return new, None, (2 * j - 1) / j, (j - 1) / j

    third = jnp.full_like(w1, 1 / 3)
    return _recursion(step, stages, _Weights(third, 1 - third, third * w1), None, following, w1)


def _recursion(
    step: Step,
    stages: Int[Array, ""],
    first: _Weights,
    polynomials: Any,
    following: Callable,
    ratio: Float[Array, ""],
) -> Flat:
    """The last stage of a recursion that follows P_j = alpha x P_(j-1) - beta P_(j-2).

    With mu = alpha b_j / b_(j-1) and nu = -beta b_j / b_(j-2), and `ratio` = w1 / w0,
    z_j = (1 - mu - nu) z_0 + mu z_(j-1) + nu z_(j-2) + mu ratio h (f_(j-1) - a_(j-1) f_0).
    """
    _, _, _, z0, f0, h, repeat = step

    def stage(j, carry):
        previous, before, last, b_before, polynomials = carry
        new, polynomials, alpha, beta = following(j.astype(h.dtype), polynomials)
        mu, nu = alpha * new.b / last.b, -beta * new.b / b_before
        drift = mu * ratio * h * (step.at(last.c, previous) - last.a * f0)
        z = (1 - mu - nu) * z0 + mu * previous + nu * before + drift
        return z, previous, new, last.b, polynomials

    carry = (z0 + first.c * h * f0, z0, first, first.b, polynomials)
    return repeat(2, stages + 1, stage, carry)[0]
