"""Integration under a JAX transformation: what `jax.grad`, `jax.jit` and `jax.vmap` go through."""

import dataclasses
from collections.abc import Mapping

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from flowkit.dynamics.policy import Watched, with_tolerances
from flowkit.dynamics.segment import begin
from flowkit.dynamics.stages import AbstractStabilized
from flowkit.dynamics.stepping import StepControl, precision
from flowkit.fields import AbstractVectorField, position
from flowkit.observables import Observable, record
from flowkit.observables.recording import is_traced
from flowkit.trajectory import Result, Trajectory

MOST_STEPS = 4096  # reverse mode keeps checkpoints, whose number must be known beforehand


def check_known(**arguments: object) -> None:
    """Refuse, by name, what must not be traced."""
    for name, value in arguments.items():
        if is_traced(value):
            raise ValueError(f"Argument `{name}` must be known numbers, but it is traced.")


def check_traceable(**options: object) -> None:
    """Refuse, by name, what needs the numbers of the solve while it runs."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ValueError(
            f"Argument `{given[0]}` must be left out where `integrate` is traced by `jax.grad`, "
            f"`jax.jit` or `jax.vmap`, as it depends on the numbers of the solve."
        )


def solve_traced(
    field: AbstractVectorField,
    state: PyTree,
    ts: Float[np.ndarray, " time"],
    observables: Mapping[str, Observable],
    solver: Watched,
    controller: StepControl,
    max_steps: int | None,
) -> Trajectory:
    """One solve in a single loop with checkpoints, differentiable in reverse mode.

    Step sizes are constants for the derivative, which is the exact one of the steps that were
    taken. A solve that fails raises when it runs, as a traced one cannot say so in its result.
    """
    solver = _for_reverse_mode(solver)
    times = jnp.asarray(ts, precision(state))
    t0, t1 = times[0], times[-1]
    carry = begin(field, solver, controller, t0, t1, jax.lax.stop_gradient(state))
    most = MOST_STEPS if max_steps is None else max_steps
    solution = _solve(
        dfx.ODETerm(field),
        with_tolerances(solver, controller.rtol, controller.atol),
        t0=t0,
        t1=t1,
        dt0=jax.lax.stop_gradient(carry.control.dt),
        y0=state,
        saveat=dfx.SaveAt(ts=times, fn=lambda t, y, args: position(field, y)),
        stepsize_controller=controller,
        adjoint=dfx.RecursiveCheckpointAdjoint(),
        max_steps=most,
        throw=False,
    )
    states = _checked(solution, most)
    return Trajectory(
        ts=ts,
        states=states,
        final=jax.tree.map(lambda leaf: leaf[-1], states),
        final_time=float(ts[-1]),
        observables=record(observables, states, ts),
        result=Result(successful=True, reason="reached the last time"),
        stats={},
        clock=field.clock,
    )


def _solve(*args: object, **options: object) -> dfx.Solution:
    """Diffrax's solve, which refuses forward mode in words of its own."""
    try:
        return dfx.diffeqsolve(*args, **options)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise ValueError(
            "`integrate` must be differentiated in reverse mode, by `jax.grad`, `jax.vjp` or "
            "`jax.jacrev`, but it is in forward mode, as by `jax.jvp`, `jax.jacfwd` or "
            "`jax.hessian`."
        ) from error


def _checked(solution: dfx.Solution, most: int) -> PyTree:
    """The states of a solve, which raises when it runs if it has failed."""
    ran_out = solution.result == dfx.RESULTS.max_steps_reached
    states = eqx.error_if(
        solution.ys,
        ran_out,
        f"The maximum number of steps was reached, `max_steps` = {most}. Where stability limits "
        f"the steps, `solver=fk.dynamics.RKC2()` takes fewer.",
    )
    return solution.result.error_if(states, (solution.result != dfx.RESULTS.successful) & ~ran_out)


def _for_reverse_mode(solver: Watched) -> Watched:
    """The solver alone, with loops over its stages that reverse mode can pass."""
    inner = solver.solver
    if isinstance(inner, AbstractStabilized):
        inner = dataclasses.replace(inner, reverse=True)
    elif isinstance(inner, dfx.AbstractRungeKutta):
        inner = dataclasses.replace(inner, scan_kind=None)
    return Watched(inner)
