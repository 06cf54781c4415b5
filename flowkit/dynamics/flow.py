"""Integration of a vector field by Diffrax."""

from collections.abc import Mapping
from os import PathLike

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, PyTree, Scalar

from flowkit.dynamics.checkpoint import Checkpoint, checkpoint_in
from flowkit.dynamics.dense import join
from flowkit.dynamics.eigenbasis import is_exactly_solvable, solve_exactly
from flowkit.dynamics.meter import meter
from flowkit.dynamics.policy import as_solvers
from flowkit.dynamics.precision import full_precision
from flowkit.dynamics.run import Run
from flowkit.dynamics.stepping import check_types, step_control
from flowkit.dynamics.stochastic import solve_stochastic
from flowkit.dynamics.traced import check_known, check_traceable, solve_traced
from flowkit.fields import AbstractStochasticField, AbstractVectorField, KernelFlow, lift, position
from flowkit.observables import Observable, checked_observables, record, record_until_interrupted
from flowkit.observables.recording import is_traced
from flowkit.problems.counts import check_count
from flowkit.trajectory import Result, Times, Trajectory, checked_state, checked_times
from flowkit.until import AbstractCondition, check_condition

RTOL = 1e-6  # by default


@full_precision()
def integrate(
    field: AbstractVectorField | AbstractStochasticField,
    y0: PyTree,
    ts: Times,
    *,
    observables: Mapping[str, Observable] | None = None,
    until: AbstractCondition | None = None,
    solver: dfx.AbstractSolver | None = None,
    rtol: int | float = RTOL,
    atol: int | float | None = None,
    dense: bool = False,
    max_steps: int | None = None,
    key: PRNGKeyArray | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Trajectory:
    """Integrate a flow and record it at given times.

    A device holds the state, about ten copies of it for the solver, and at most 32 MiB of saved
    states (one of them, where that is larger); as they are saved they go to the host, as NumPy
    arrays, and come back in such windows where observables are recorded. With `dense` it holds 128
    MiB of interpolants as well.

    Args:
        field: The flow.
        y0: The state at `ts[0]`.
        ts: Times to save at, strictly increasing, in the field's clock.
        observables: Functions of the state to record at every saved time.
        until: Ends the integration where it begins to hold; `final` is the state there.
        solver: A Diffrax solver. By default a policy: `diffrax.Tsit5()`, and the stabilized
            `RKC2()` for as long as stability limits the step, as in the tail of training or from
            a tiny initialisation; `stats["phases"]` says which solver took which steps. A kernel
            flow is linear: if its kernels are matrices it is solved exactly, in their eigenbasis,
            and else `RKC4()` takes the place of `RKC2()`.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance; by default `rtol` times the root mean square of each leaf of the
            state at the start, so that it scales with the initialisation.
        dense: Keep an interpolant, so that `Trajectory.at` answers at any time.
        max_steps: Give up after so many steps; unlimited by default, 4096 where gradients are
            taken.
        key: Draws the noise of a stochastic field, which needs it and steps at its own length; no
            other field takes one.
        progress: Show how far the integration is.
        checkpoint: A folder to keep the run in. The same call resumes from it after a kill, with
            the result of a run that was never stopped, bit for bit; so does one with a larger
            `max_steps`, and any other call is refused.

    Returns:
        The trajectory. A solve that fails is returned too, with the reason in `result`, and so is
        one that was interrupted (Ctrl-C): what it saved up to there is right, and `compare` refuses
        it as incomplete.

    Raises:
        ValueError: a time, state, or tolerance is not usable; the message says which.
    """
    if isinstance(field, AbstractStochasticField):
        return _stochastic(
            field,
            y0,
            ts,
            key,
            observables,
            until=until,
            solver=solver,
            rtol=None if rtol == RTOL else rtol,
            atol=atol,
            dense=dense,
            max_steps=max_steps,
            progress=progress,
            checkpoint=checkpoint,
        )
    if not isinstance(field, AbstractVectorField):
        raise ValueError(
            f"Argument `field` must be a flowkit field such as FactorFlow(problem), or "
            f"DerivedFlow(derivation, data) for a derivation, but it is a "
            f"`{type(field).__name__}`."
        )
    if key is not None:
        raise ValueError("Argument `key` must be left out, as nothing is drawn in this field.")
    check_known(ts=ts)
    ts = checked_times(ts)
    y0 = checked_state(y0)
    field.check(y0)
    observables = checked_observables(observables, ts, y0)
    check_control(until, rtol, atol, max_steps)
    t0 = jnp.asarray(ts[0])
    check_types(field, t0, y0)

    def under_transformation() -> Trajectory:
        check_traceable(until=until, dense=dense, progress=progress, checkpoint=checkpoint)
        state = lift(field, t0, y0)
        control, (chosen, *_) = step_control(state, rtol, atol), as_solvers(solver, field)
        return solve_traced(field, state, ts, observables, chosen, control, max_steps)

    if is_traced(field, y0):
        return under_transformation()
    until = None if until is None else until.begin(field, t0, y0, observables)
    state, rate, gap = at_start(field, t0, y0, until)
    if is_traced(rate, gap):  # by what the field closes over
        return under_transformation()
    if not is_finite(rate):
        raise ValueError(
            "Argument `y0` must be a state at which the field is finite, but its rate there is not."
        )
    if gap <= 0:
        return _already_there(field, y0, ts, until, observables)
    if solver is None and isinstance(field, KernelFlow) and is_exactly_solvable(field, until):
        return solve_exactly(field, y0, ts, until, observables)
    if dense and checkpoint is not None:
        raise ValueError("Argument `dense` must be False with a `checkpoint`, but it is True.")
    solvers = as_solvers(solver, field)
    keep = checkpoint_in(
        checkpoint, field=field, y0=y0, ts=ts, until=until, solver=solvers, rtol=rtol, atol=atol
    )
    run = Run(field, ts, solvers, step_control(state, rtol, atol), until, max_steps, dense)
    run.start(y0, state)
    _finish(run, keep, shown=progress)
    return as_trajectory(run, observables)


def _stochastic(
    field: AbstractStochasticField,
    y0: PyTree,
    ts: Times,
    key: PRNGKeyArray | None,
    observables: Mapping[str, Observable] | None,
    **options: object,
) -> Trajectory:
    """One path of a stochastic field, which steps at its own length and knows no options."""
    given = [name for name, value in options.items() if value is not None and value is not False]
    if given:
        raise ValueError(
            f"Argument `{given[0]}` must be left out for a stochastic field, which steps at its "
            f"own length, but it is {options[given[0]]!r}."
        )
    if key is None:
        raise ValueError("Argument `key` must draw the noise of a stochastic field: give one.")
    return solve_stochastic(field, y0, ts, key=key, observables=observables)


def _finish(run: Run, keep: Checkpoint, *, shown: bool) -> None:
    """Step on until the run ends or is interrupted."""
    keep.restore(run)
    interrupted = False
    try:
        with meter(run, shown=shown) as show:
            for progress in run.stretches():
                show(progress)
                keep.write(progress)
    except KeyboardInterrupt:
        interrupted = True
    keep.write(run.progress, now=True)
    if interrupted:
        run.interrupt()


def check_control(
    until: AbstractCondition | None, rtol: float, atol: float | None, max_steps: int | None
) -> None:
    """Refuse what is no condition, tolerances that are not positive, and no count of steps."""
    check_condition(until)
    if max_steps is not None:
        check_count(max_steps=max_steps)
    for name, value in (("rtol", rtol), ("atol", atol)):
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < np.inf):
            raise ValueError(f"Argument `{name}` must be a positive number, but it is {value!r}.")


@eqx.filter_jit
def at_start(
    field: AbstractVectorField, t0: Scalar, y0: PyTree, until: AbstractCondition | None
) -> tuple[PyTree, PyTree, Scalar]:
    """The lifted state, its first rate, and how far the condition is from holding."""
    state = lift(field, t0, y0)
    gap = jnp.array(jnp.inf) if until is None else until.gap(field, t0, state)
    return state, field(t0, state), gap


def is_finite(state: PyTree) -> bool:
    """Whether every number of a state is."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def as_trajectory(run: Run, observables: Mapping[str, Observable]) -> Trajectory:
    """What a run that has ended found out."""
    done = run.progress
    last = done.ending.successful and not done.fired
    ts = run.ts[: done.num_saved]
    states = jax.tree.map(lambda *leaves: np.concatenate(leaves), *done.chunks)
    recorded, result = record_until_interrupted(observables, states, ts, done.ending)
    return Trajectory(
        ts=ts,
        states=states,
        final=position(run.flow, done.carry.state),
        final_time=float(run.ts[-1]) if last else done.t,
        observables=recorded,
        result=result,
        stats=run.stats(),
        clock=run.flow.clock,
        interpolation=join(run.flow, done.pieces) if done.pieces else None,
    )


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
    counts = ("num_steps", "num_accepted_steps", "num_rejected_steps", "num_evaluations")
    return Trajectory(
        ts=ts[:1],
        states=states,
        final=y0,
        final_time=float(ts[0]),
        observables=record(observables, states, ts[:1]),
        result=Result(successful=True, reason=f"{reason} before the first step"),
        stats=dict.fromkeys(counts, 0),
        clock=field.clock,
    )
