"""Closed forms of one mode as JAX functions s(t, start, target)."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
import sympy as sp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Scalar

from flowkit.lowering.mode_times import (
    elapsed_time,
    exponent_and_clock,
    log_excess,
    stretched_time,
    value_at,
)
from flowkit.lowering.printing import compile_expressions
from flowkit.symbolic.closed_forms import START, TARGET, VALUE, ModeSolution
from flowkit.symbolic.derivation import TIME

Real = Num[ArrayLike, "..."]
BEYOND = 40.0  # e^-40 is below rounding: a mode that much closer is at its target


def lower_mode(solution: ModeSolution) -> Callable:
    """s(t, start, target), with a keyword `depth` where the solution's depth is a symbol."""
    if isinstance(solution.depth, sp.Symbol):
        return _with_depth(_inverse_of_real_depth(solution, solution.depth))
    value = solution.value
    solve = _inverse(solution) if value is None or value.has(sp.LambertW) else _explicit(value)

    def mode(t: Real, start: Real, target: Real) -> Float[Array, "..."]:
        return solve(*_checked(t, start, target))

    return jax.jit(jnp.vectorize(mode))  # or each call would compile the root-finder again


def _with_depth(solve: Callable) -> Callable:
    """Take the depth by keyword, any real number of at least 1, and broadcast it too."""

    def one(t: Real, start: Real, target: Real, depth: Real) -> Float[Array, "..."]:
        depth = jnp.asarray(depth, dtype=float)
        depth = eqx.error_if(depth, ~(depth >= 1), "`depth` of a mode must be at least 1.")
        return solve(*_checked(t, start, target), depth)

    lanes = jnp.vectorize(one)

    def mode(t: Real, start: Real, target: Real, *, depth: Real) -> Float[Array, "..."]:
        return lanes(t, start, target, depth)

    return jax.jit(mode)


def _checked(t: Real, start: Real, target: Real) -> tuple[Array, Array, Array]:
    time, begin, end = (jnp.asarray(x, dtype=float) for x in (t, start, target))
    bad = (begin <= 0) | (end <= 0)
    begin = eqx.error_if(begin, bad, "`start` and `target` of a mode must be positive.")
    return time, begin, end


def _not_negative(t: Scalar) -> Scalar:
    message = "`t` must not be negative: only s(t) at depths 1 and 2 runs back."
    return eqx.error_if(t, t < 0, message)


def _explicit(value: sp.Expr) -> Callable:
    function = compile_expressions((TIME, START, TARGET), [value])
    return lambda t, start, target: function(t, start, target)[0]


def _inverse(solution: ModeSolution) -> Callable:
    """s(t, start, target) from t(s) by bisection, with the derivatives of the flow."""
    elapsed = compile_expressions((VALUE, START, TARGET), [solution.time])
    rate = compile_expressions((VALUE, TARGET), [solution.rate])
    stretch = float(2 - 2 / sp.sympify(solution.depth))

    @jax.custom_jvp
    def inverse(t: Scalar, start: Scalar, target: Scalar) -> Scalar:
        t = _not_negative(t)
        return _bisect(lambda s: elapsed(s, start, target)[0] - t, start, target)

    @inverse.defjvp
    def _(primals, tangents):
        s = inverse(*primals)
        slopes = _slopes(lambda *at: rate(*at)[0], stretch, s, *primals)
        return s, _along(slopes, tangents)

    return inverse


def _inverse_of_real_depth(solution: ModeSolution, symbol: sp.Symbol) -> Callable:
    """s(t, start, target, depth) for a real depth, from the time as an integral."""
    rate = compile_expressions((VALUE, TARGET, symbol), [solution.rate])

    @jax.custom_jvp
    def inverse(t: Scalar, start: Scalar, target: Scalar, depth: Scalar) -> Scalar:
        return _bisect_excess(_not_negative(t), start, target, depth)

    @inverse.defjvp
    def _(primals, tangents):
        """The time at fixed s moves with the depth: ds/dN = -(ds/dt) (dt/dN)."""
        t, start, target, depth = primals
        s = inverse(*primals)
        at_depth = lambda value, S: rate(value, S, depth)[0]
        slopes = _slopes(at_depth, 2 - 2 / depth, s, t, start, target)
        by_depth = -slopes[0] * jax.grad(elapsed_time, 3)(s, start, target, depth)
        slopes = (*slopes, jnp.where(start == target, 0.0, by_depth))
        return s, _along(slopes, tangents)

    return inverse


def _along(slopes: Sequence[Scalar], tangents: Sequence[Scalar]) -> Scalar:
    return sum((a * b for a, b in zip(slopes, tangents, strict=True)), jnp.zeros_like(slopes[0]))


def _slopes(
    rate: Callable, stretch: Scalar | float, s: Scalar, t: Scalar, start: Scalar, target: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """The derivatives of s(t, start, target).

    ds/dt is the rate, ds/dstart the ratio of rates; the rest is the flow's scaling,
    s(t, c start, c target) = c s(c^stretch t, start, target) with stretch 2 - 2/N, for every c > 0.
    """
    by_t, at_start = rate(s, target), rate(start, target)
    decay = jnp.exp(jax.grad(lambda x: rate(x, target))(target) * t)
    at_rest = at_start == 0
    by_start = jnp.where(at_rest, decay, by_t / jnp.where(at_rest, 1.0, at_start))
    by_target = (s - start * by_start + stretch * t * by_t) / target
    return by_t, by_start, by_target


def _bisect(too_late: Callable[[Scalar], Scalar], start: Scalar, target: Scalar) -> Scalar:
    """The s between start and target where `too_late` changes sign, on a logarithmic scale."""
    value = lambda fraction: start ** (1 - fraction) * target**fraction

    def positive(fraction):
        """At the target the time formula has only rounding."""
        return (value(fraction) == target) | (too_late(value(fraction)) > 0)

    return jnp.where(start == target, target, value(_fraction(positive, start)))


def _bisect_excess(t: Scalar, start: Scalar, target: Scalar, depth: Scalar) -> Scalar:
    """The s at time t, by bisection over how far the log of the excess has fallen.

    Near the target that is the time itself, so a last step of Newton keeps S - s to rounding.
    """
    power, clock = exponent_and_clock(start < target, target, depth)
    begin = log_excess(start, target)
    reach = jnp.maximum(begin, 0.0) + BEYOND
    late = lambda fall: stretched_time(begin - fall, begin, power) - clock * t
    fall = reach * _fraction(lambda fraction: late(fraction * reach) > 0, start)
    speed = jnp.exp(-power * jnp.logaddexp(0.0, begin - fall))
    fall = jnp.maximum(fall - late(fall) / speed, 0.0)
    return jnp.where(start == target, target, value_at(begin - fall, start < target, target))


def _fraction(positive: Callable[[Scalar], Array], like: Scalar) -> Scalar:
    """The fraction in [0, 1] where `positive` becomes true; true at 1, false at 0 by decree."""

    def sign(fraction, _):
        inside = jnp.where(positive(fraction), 1.0, -1.0)
        return jnp.where(fraction <= 0, -1.0, jnp.where(fraction >= 1, 1.0, inside))

    tolerance = 4 * float(jnp.finfo(like.dtype).eps)
    solver = optx.Bisection(rtol=tolerance, atol=tolerance)
    bracket = {"lower": 0.0, "upper": 1.0}
    found = optx.root_find(sign, solver, 0.5, options=bracket, max_steps=256, throw=False)
    return jnp.asarray(found.value)
