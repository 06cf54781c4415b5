"""Integration of a vector field by Diffrax."""

import dataclasses
from collections.abc import Mapping
from os import PathLike

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from flowkit.dynamics.checkpoint import Checkpoint, checkpoint_in
from flowkit.dynamics.dense import join
from flowkit.dynamics.meter import meter
from flowkit.dynamics.policy import DEFAULT_POLICY, Watched
from flowkit.dynamics.run import Run
from flowkit.dynamics.stepping import StepControl
from flowkit.dynamics.traced import check_traceable, is_traced, solve_traced
from flowkit.fields import AbstractVectorField, lift, position
from flowkit.observables import Observable, checked_observables, record
from flowkit.trajectory import Result, Times, Trajectory, checked_state, checked_times
from flowkit.until import AbstractCondition


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
    key: PRNGKeyArray | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
) -> Trajectory:
    """Integrate a flow and record it at given times.

    Args:
        field: The flow.
        y0: The state at `ts[0]`.
        ts: Times to save at, strictly increasing, in the field's clock.
        observables: Functions of the state to record at every saved time.
        until: Ends the integration where it begins to hold; `final` is the state there.
        solver: A Diffrax solver. By default a policy: `diffrax.Tsit5()`, and the stabilized
            `RKC2()` for as long as stability limits the step, as in the tail of training or from
            a tiny initialisation; `stats["phases"]` says which solver took which steps.
        rtol: Relative tolerance of a step.
        atol: Absolute tolerance; by default `rtol` times the root mean square of each leaf of the
            state at the start, so that it scales with the initialisation.
        dense: Keep an interpolant, so that `Trajectory.at` answers at any time.
        max_steps: Give up after so many steps; unlimited by default, 4096 where gradients are
            taken.
        key: Draws the noise of a stochastic field, which needs it; no other field takes one.
        progress: Show how far the integration is.
        checkpoint: A folder to keep the run in. The same call resumes from it after a kill, with
            the result of a run that was never stopped, bit for bit.

    Returns:
        The trajectory. A solve that fails is returned too, with the reason in `result`, and so is
        one that was interrupted (Ctrl-C): what it saved up to there is right, and `compare` refuses
        it as incomplete.

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
    observables = checked_observables(observables)
    _check_tolerances(rtol, atol)
    solvers = _as_solvers(solver)
    controller = lambda state: StepControl(jnp.asarray(rtol, float), _tolerances(state, rtol, atol))
    if is_traced(field, y0):
        check_traceable(until=until, dense=dense, progress=progress, checkpoint=checkpoint)
        state = lift(field, jnp.asarray(ts[0]), y0)
        arguments = (ts, observables, solvers[0], controller(state), max_steps)
        return solve_traced(field, state, *arguments)
    t0 = jnp.asarray(ts[0])
    until = None if until is None else until.begin(field, t0, y0, observables)
    state, rate, gap = _at_start(field, t0, y0, until)
    if not _is_finite(rate):
        raise ValueError(
            "Argument `y0` must be a state at which the field is finite, but its rate there is not."
        )
    if gap <= 0:
        return _already_there(field, y0, ts, until, observables)
    if dense and checkpoint is not None:
        raise ValueError("Argument `dense` must be False with a `checkpoint`, but it is True.")
    keep = checkpoint_in(
        checkpoint, field=field, y0=y0, ts=ts, until=until, solver=solvers, rtol=rtol, atol=atol
    )
    run = Run(field, ts, solvers, controller(state), until, max_steps, dense)
    run.start(y0, state)
    _finish(run, keep, shown=progress)
    return _as_trajectory(run, observables)


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


def _as_solvers(solver: dfx.AbstractSolver | None) -> tuple[Watched, ...]:
    if solver is None:
        return DEFAULT_POLICY
    if not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise ValueError(
            f"Argument `solver` must be a Diffrax solver with an error estimate, but it is a "
            f"`{type(solver).__name__}`."
        )
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        solver = dataclasses.replace(solver, scan_kind="lax")  # as no derivative is taken
    return (Watched(solver),)


def _check_tolerances(rtol: float, atol: float | None) -> None:
    for name, value in (("rtol", rtol), ("atol", atol)):
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value < np.inf):
            raise ValueError(f"Argument `{name}` must be a positive number, but it is {value!r}.")


def _tolerances(state: PyTree, rtol: float, atol: float | None) -> PyTree[Float[Array, ""]]:
    """Absolute tolerance by leaf; a leaf that starts at zero is measured by the largest one."""
    if atol is not None:
        return jax.tree.map(lambda leaf: jnp.asarray(atol, float), state)
    return _scaled_by_size(lax.stop_gradient(state), jnp.asarray(rtol, float))


@eqx.filter_jit
def _scaled_by_size(state: PyTree, rtol: Float[Array, ""]) -> PyTree[Float[Array, ""]]:
    leaves, structure = jax.tree.flatten(state)
    squares = [jnp.mean(jnp.square(leaf)) if leaf.size else jnp.zeros(()) for leaf in leaves]
    sizes = [jnp.sqrt(square).astype(float) for square in squares]
    largest = jnp.stack([*sizes, jnp.zeros(())]).max()
    largest = jnp.where(largest > 0, largest, 1.0)
    units = [rtol * jnp.where(size > 0, size, largest) for size in sizes]
    return jax.tree.unflatten(structure, units)


@eqx.filter_jit
def _at_start(
    field: AbstractVectorField, t0: Scalar, y0: PyTree, until: AbstractCondition | None
) -> tuple[PyTree, PyTree, Scalar]:
    """The lifted state, its first rate, and how far the condition is from holding."""
    state = lift(field, t0, y0)
    gap = jnp.array(jnp.inf) if until is None else until.gap(field, t0, state)
    return state, field(t0, state), gap


def _is_finite(state: PyTree) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def _as_trajectory(run: Run, observables: Mapping[str, Observable]) -> Trajectory:
    done = run.progress
    last = done.ending.successful and not done.fired
    ts = run.ts[: done.num_saved]
    states = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *done.chunks)
    return Trajectory(
        ts=ts,
        states=states,
        final=position(run.flow, done.carry.state),
        final_time=float(run.ts[-1]) if last else done.t,
        observables=record(observables, states),
        result=done.ending,
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
        observables=record(observables, states),
        result=Result(successful=True, reason=f"{reason} before the first step"),
        stats=dict.fromkeys(counts, 0),
        clock=field.clock,
    )
