"""A stabilized explicit method of higher order, for accuracy that order two pays dearly for."""

from functools import lru_cache
from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from flowkit.dynamics.chebyshev_polynomials import NODE, weights
from flowkit.dynamics.chebyshev_zeros import ZEROS
from flowkit.dynamics.stages import AbstractStabilized, Flat, Radius, Step, StepEnd

FEWEST = 12  # stages: with fewer, the first stage, which is Euler's, would show
EXTRA = 2  # evaluations of the correction


@final
class RKC4(AbstractStabilized):
    """Runge-Kutta-Chebyshev method of order four, with an adaptive number of stages.

    As `RKC2`, with s stages stable up to a step of about 0.35 s^2 / (spectral radius). On linear
    flows it takes fewer evaluations than `RKC2` from errors of about 1e-4 on, half as many at 1e-5.
    Not in the stiff tail of a factorization, where `RKC2` is both cheaper and nearer.

    The stages, of order two, are those of a Chebyshev recursion; the step is the combination of
    their rates with the optimal damped polynomial of order four. On linear autonomous fields that
    is all. On others a correction of two more evaluations, which vanishes on linear ones, meets the
    one condition that is left. It is not damped in stiff components and counts as an error. The
    first stage, of order one, leaves a remainder of order three with a factor below 2e-4 at 12
    stages, falling with their fifth power. The stages reach ahead of the step, by 0.9 of its length
    at most: the field must be defined there.

    The number of evaluations is one of a geometric ladder. The coefficients are computed when a
    solver is first used, in less than a second.

    Source:
        The combination of stages is our own; see `chebyshev_polynomials` for what it is made from.
        Checked by tests/dynamics/test_rkc4.py.
    """

    power_iterations: int = 2
    max_stages: int = 400
    spectral_radius: Radius = None
    reverse: bool = eqx.field(static=True, default=False, kw_only=True)
    least_stages: ClassVar[int] = FEWEST + EXTRA

    def order(self, terms: PyTree) -> int:
        return 4

    def error_order(self, terms: PyTree) -> int:
        return 4

    def stages_for(self, scaled_step: Float[Array, ""]) -> Float[Array, ""]:
        table = coefficients(self.max_stages)
        row = jnp.searchsorted(jnp.asarray(table.length, scaled_step.dtype), scaled_step)
        return jnp.asarray([*(table.stages + EXTRA), np.inf], scaled_step.dtype)[row]

    def advance(self, step: Step, stages: Int[Array, ""]) -> StepEnd:
        table = coefficients(self.max_stages)
        row = jnp.searchsorted(jnp.asarray(table.stages), stages - EXTRA)
        at_row = lambda column: jnp.asarray(column, step.h.dtype)[row]
        w1 = 2 / at_row(table.length)
        last = _combine(table, jnp.asarray(table.start)[row], step, stages - EXTRA, w1)
        return _corrected(step, last, at_row(table.correction))


class Coefficients(NamedTuple):
    """The methods of all tabulated numbers of stages up to some largest one.

    Attributes:
        stages: The numbers of stages.
        length: The lengths of their stability intervals.
        correction: What their corrections are made of.
        start: Where each method's weights begin in `solution` and `error`.
        solution, error: The weights of all methods, concatenated.
    """

    stages: Int[np.ndarray, " rows"]
    length: Float[np.ndarray, " rows"]
    correction: Float[np.ndarray, "rows 3"]
    start: Int[np.ndarray, " rows"]
    solution: Float[np.ndarray, " entries"]
    error: Float[np.ndarray, " entries"]


@lru_cache(maxsize=8)
def coefficients(max_stages: int) -> Coefficients:
    """The methods of at most so many evaluations a step."""
    tabulated = [row for row in ZEROS if FEWEST <= row[0] <= max_stages - EXTRA]
    rows = [weights(np.array(zeros), stages) for stages, *zeros in tabulated]
    stages = np.array([row[0] for row in tabulated])
    return Coefficients(
        stages,
        np.array([row.length for row in rows]),
        np.stack([row.correction for row in rows]),
        np.cumsum(stages) - stages,
        np.concatenate([row.solution for row in rows]),
        np.concatenate([row.error for row in rows]),
    )


class _LastStage(NamedTuple):
    """The last stage, its rate, and the sums over all stages."""

    z: Flat
    rate: Flat
    solution: Flat
    error: Flat


def _combine(
    table: Coefficients,
    start: Int[Array, ""],
    step: Step,
    stages: Int[Array, ""],
    w1: Float[Array, ""],
) -> _LastStage:
    """Stages that follow T_j(1 + w1 z) with b_j = T_j'' / T_j'^2, and the sums of their rates."""
    h, z0, f0 = step.h, step.z0, step.f0
    solution, error = (jnp.asarray(part, h.dtype) for part in (table.solution, table.error))
    b = lambda j: jnp.where(j < 2, 1 / 4, (j**2 - 1) / (3 * jnp.maximum(j, 1) ** 2))
    c = lambda j: w1 * jnp.where(j < 2, j / 4, (j**2 - 1) / 3)

    def add(j, sums, rate):
        summed, errors = sums
        return summed + solution[start + j] * h * rate, errors + error[start + j] * h * rate

    def stage(count, carry):
        previous, before, sums = carry
        j = count.astype(h.dtype)
        rate = step.at(c(j - 1), previous)
        mu, nu = 2 * b(j) / b(j - 1), -b(j) / b(j - 2)
        drift = mu * w1 * h * (rate - (1 - b(j - 1)) * f0)
        new = (1 - mu - nu) * z0 + mu * previous + nu * before + drift
        return new, previous, add(count - 1, sums, rate)

    zero = jnp.zeros_like(z0)
    carry = (z0 + w1 / 4 * h * f0, z0, add(0, (zero, zero), f0))
    z, _, sums = step.repeat(2, stages, stage, carry)
    rate = step.at(c((stages - 1).astype(h.dtype)), z)
    return _LastStage(z, rate, *add(stages - 1, sums, rate))


def _corrected(step: Step, last: _LastStage, correction: Float[Array, "3"]) -> StepEnd:
    """Meet the conditions sum_j b_j c_j^2 = 1/3 and sum_j b_j c_j^3 = 1/4.

    A point between the start of the step, its end before correction and the last stage: its rate,
    less the same combination of the three rates, vanishes on linear autonomous fields.
    """
    end = step.z0 + last.solution
    rate_at_end = step.rate(step.t1, end)
    at_last, at_end, factor = correction
    at_start = 1 - at_last - at_end
    point = at_start * step.z0 + at_end * end + at_last * last.z
    combined = at_start * step.f0 + at_end * rate_at_end + at_last * last.rate
    missed = step.at(jnp.full_like(step.h, NODE), point) - combined
    change = factor * step.h * missed
    z1 = end + change
    return StepEnd(z1, step.rate(step.t1, z1), last.error + change)
