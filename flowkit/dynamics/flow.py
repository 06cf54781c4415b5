"""Integration of a vector field by Diffrax."""

import math
from collections.abc import Mapping
from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.typing import DTypeLike
from jaxtyping import Float, PyTree, Scalar

from flowkit.dynamics.stabilized import RKC2
from flowkit.dynamics.stepping import StallGuard
from flowkit.fields import AbstractVectorField
from flowkit.observables import Observable, checked_observables, record
from flowkit.trajectory import Result, Times, Trajectory, checked_state, checked_times
from flowkit.until import AbstractCondition

ROOT_ULPS = 4  # units of rounding to which an event is located: on the dense output that is cheap


def integrate(
    field: AbstractVectorField,
    y0: PyTree,
    ts: Times,
    *,
    observables: Mapping[str, Observable] | None = None,
    until: AbstractCondition | None = None,
    solver: dfx.AbstractSolver | None = None,
    rtol: int | float = 1e-6,
    atol: int | float | None = None,
    dense: bool = False,
    max_steps: int | None = None,
    progress: bool = False,
) -> Trajectory:
    """Integrate a flow and record it at given times.

    Args:
        field: The flow.
        y0: The state at `ts[0]`.
        ts: Times to save at, strictly increasing, in the field's clock.
        observables: Functions of the state to record at every saved time.
        until: Ends the integration where it begins to hold; `final` is the state there.
        solver: A Diffrax solver; by default `diffrax.Tsit5()`. `RKC2()` for stiff flows, as in
            the tail of training or from a tiny initialisation.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance; by default `rtol` times the largest root mean square of a leaf
            of `y0`, so that it scales with the initialisation.
        dense: Keep an interpolant, so that `Trajectory.at` answers at any time. The flow is
            solved twice, first to count the steps whose coefficients are to be kept.
        max_steps: Give up after so many steps; unlimited by default.
        progress: Show a progress meter over the time span.

    Returns:
        The trajectory. A solve that fails is returned too, with the reason in `result`; what it
        saved may be infinite, and `compare` refuses it.

    Raises:
        ValueError: a time, state, or tolerance is not usable; the message says which.
    """
    if not isinstance(field, AbstractVectorField):
        raise ValueError(
            f"Argument `field` must be a flowkit field such as FactorFlow(problem), but it is a "
            f"`{type(field).__name__}`."
        )
    ts = checked_times(ts)
    y0 = checked_state(y0)
    field.check(y0)
    solver = dfx.Tsit5() if solver is None else solver
    if not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise ValueError(
            f"Argument `solver` must be a Diffrax solver with an error estimate, but it is a "
            f"`{type(solver).__name__}`."
        )
    observables = checked_observables(observables)
    _check_tolerances(rtol, atol)
    atol = _default_atol(y0, rtol) if atol is None else atol
    rate, gap = _at_start(field, jnp.asarray(ts[0]), y0, until)
    if not _is_finite(rate):
        raise ValueError(
            "Argument `y0` must be a state at which the field is finite, but its rate there is not."
        )
    if gap <= 0:
        return _already_there(field, y0, ts, until, observables)

    controller = StallGuard(jnp.asarray(rtol), jnp.asarray(atol))
    arguments = (field, y0, jnp.asarray(ts), controller, until, solver)
    solution = _solve(*arguments, False, max_steps, progress)  # noqa: FBT003
    if dense:
        enough = 2 ** math.ceil(math.log2(int(solution.stats["num_steps"]) + 1))
        solution = _solve(*arguments, True, enough, False)  # noqa: FBT003
    return _as_trajectory(field, solution, ts, until, solver, observables)


def _check_tolerances(rtol: float, atol: float | None) -> None:
    for name, value in (("rtol", rtol), ("atol", atol)):
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < np.inf):
            raise ValueError(f"Argument `{name}` must be a positive number, but it is {value!r}.")


@eqx.filter_jit
def _at_start(
    field: AbstractVectorField, t0: Scalar, y0: PyTree, until: AbstractCondition | None
) -> tuple[PyTree, Scalar]:
    """The first rate, and how far the condition is from holding."""
    gap = jnp.array(jnp.inf) if until is None else until.gap(field, y0)
    return field(t0, y0), gap


def _is_finite(state: PyTree) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@eqx.filter_jit
def _solve(field, y0, ts, controller, until, solver, dense, max_steps, progress) -> dfx.Solution:
    saves = [dfx.SubSaveAt(ts=ts), dfx.SubSaveAt(t1=True)]
    return dfx.diffeqsolve(
        dfx.ODETerm(field),
        solver,
        t0=ts[0],
        t1=ts[-1],
        dt0=None,
        y0=y0,
        saveat=dfx.SaveAt(subs=saves, dense=dense, solver_state=True),
        stepsize_controller=controller,
        event=None if until is None else _event(field, until, ts.dtype),
        adjoint=dfx.ForwardMode(),
        max_steps=max_steps,
        progress_meter=dfx.TextProgressMeter() if progress else dfx.NoProgressMeter(),
        throw=False,
    )


def _event(field: AbstractVectorField, until: AbstractCondition, dtype: DTypeLike) -> dfx.Event:
    """The condition's root by bisection, to a few units of rounding of the time.

    Optimistix stops a bisection only where the function is small as well, which a steep one never
    is at the nearest time there is. Scaled down it always is, so that the bracket alone decides.
    """
    limits = jnp.finfo(dtype)

    def gap(t, y, args, **kwargs):
        return until.gap(field, y) * float(limits.tiny) ** 0.5

    tolerance = ROOT_ULPS * float(limits.eps)
    return dfx.Event(gap, root_finder=optx.Bisection(rtol=tolerance, atol=tolerance))


def _default_atol(y0: PyTree, rtol: float) -> float:
    sizes = [float(np.sqrt(np.mean(np.square(leaf)))) for leaf in jax.tree.leaves(y0)]
    return rtol * (max(sizes, default=0.0) or 1.0)


def _as_trajectory(
    field: AbstractVectorField,
    solution: dfx.Solution,
    ts: Float[np.ndarray, " time"],
    until: AbstractCondition | None,
    solver: dfx.AbstractSolver,
    observables: Mapping[str, Observable],
) -> Trajectory:
    (_, end), (saved, last) = cast(tuple, solution.ts), cast(tuple, solution.ys)
    final = jax.tree.map(lambda leaf: leaf[0], last)
    completed = bool(solution.result == dfx.RESULTS.successful)
    final_time = float(ts[-1]) if completed else float(end[0])
    reached = completed | (ts.astype(end.dtype) <= end[0])
    if not completed:
        saved = jax.tree.map(lambda leaf: leaf[: reached.sum()], saved)
    return Trajectory(
        ts=ts[reached],
        states=saved,
        final=final,
        final_time=final_time,
        observables=record(observables, saved),
        result=_result(solution, final, until),
        stats=_stats(solution, solver),
        clock=field.clock,
        interpolation=solution.evaluate if solution.interpolation is not None else None,
    )


def _result(solution: dfx.Solution, final: PyTree, until: AbstractCondition | None) -> Result:
    if not _is_finite(final):
        return Result(successful=False, reason="the state is not finite")
    if solution.result == dfx.RESULTS.event_occurred and until is not None:
        return Result(successful=True, reason=until.describe())
    if solution.result == dfx.RESULTS.successful:
        return Result(successful=True, reason="reached the last time")
    return Result(successful=False, reason=dfx.RESULTS[solution.result].splitlines()[0])


def _stats(solution: dfx.Solution, solver: dfx.AbstractSolver) -> dict[str, int]:
    stats = {
        name: int(solution.stats[name])
        for name in ("num_steps", "num_accepted_steps", "num_rejected_steps")
    }
    if isinstance(solver, RKC2):
        stats["num_evaluations"] = int(cast(Any, solution.solver_state).num_evaluations)
    elif isinstance(solver, dfx.AbstractERK) and isinstance(solver.tableau, dfx.ButcherTableau):
        tableau = solver.tableau
        per_step = tableau.num_stages - int(tableau.fsal)
        stats["num_evaluations"] = stats["num_steps"] * per_step + 2  # 2: to pick the first step
    return stats


def _already_there(
    field: AbstractVectorField,
    y0: PyTree,
    ts: Float[np.ndarray, " time"],
    until: AbstractCondition | None,
    observables: Mapping[str, Observable],
) -> Trajectory:
    """The trajectory of one point, where the condition holds from the start."""
    reason = "" if until is None else until.describe()
    states = jax.tree.map(lambda leaf: leaf[None], y0)
    return Trajectory(
        ts=ts[:1],
        states=states,
        final=y0,
        final_time=float(ts[0]),
        observables=record(observables, states),
        result=Result(successful=True, reason=f"{reason} before the first step"),
        stats=dict.fromkeys(
            ("num_steps", "num_accepted_steps", "num_rejected_steps", "num_evaluations"), 0
        ),
        clock=field.clock,
    )
