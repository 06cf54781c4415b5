"""One compiled stretch of a solve: from where the last one paused to where the next one starts.

Everything that a step hands to the next is in `Carry`, so that stretches of any length join bit for
bit. A solve may therefore be paused, shown, saved, interrupted and resumed between any two steps.
"""

from typing import NamedTuple, cast, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from flowkit.dynamics.policy import Watched, WatchState, with_tolerances
from flowkit.dynamics.stepping import ControlState, StepControl, precision
from flowkit.fields import AbstractVectorField, position
from flowkit.until import AbstractCondition

ROOT_ULPS = 4  # units of rounding to which an event is located: on the dense output that is cheap


@final
class Carry(eqx.Module):
    """What a step hands to the next; its time and length are in `control`."""

    state: PyTree
    solver: WatchState
    control: ControlState


class Stretch(NamedTuple):
    """What came out of a stretch.

    Attributes:
        carry: Where the next one starts.
        saved: Positions at the times of the window; those from `num_saved` on are not meant.
        num_saved: How many of the window's times were passed.
        fired: Whether the condition began to hold, at `carry.control.t`.
        result: How Diffrax ended; `max_steps_reached` stands for a pause.
        num_accepted, num_rejected: Steps.
        interpolation: The dense output, where asked for.
    """

    carry: Carry
    saved: PyTree
    num_saved: Int[Array, ""]
    fired: Bool[Array, ""]
    result: dfx.RESULTS
    num_accepted: Int[Array, ""]
    num_rejected: Int[Array, ""]
    interpolation: dfx.DenseInterpolation | None


@eqx.filter_jit
def begin(
    field: AbstractVectorField,
    solver: Watched,
    controller: StepControl,
    t0: Scalar,
    t1: Scalar,
    state: PyTree,
) -> Carry:
    """The first carry of a solve, with a first step chosen."""
    terms = dfx.ODETerm(field)
    solver = with_tolerances(solver, controller.rtol, controller.atol)
    t0, t1 = (t.astype(precision(state)) for t in (t0, t1))
    tnext, control = controller.init(
        terms, t0, t1, state, None, None, solver.func, solver.error_order(terms)
    )
    return Carry(state, solver.init(terms, t0, tnext, state, None), control)


@eqx.filter_jit
def hand_over(field: AbstractVectorField, solver: Watched, carry: Carry) -> Carry:
    """The carry of another solver from the same time and state on, at the same step size."""
    control = carry.control
    fresh = solver.init(dfx.ODETerm(field), control.t, control.t + control.dt, carry.state, None)
    one = jnp.ones_like(control.inverse_errors[0])
    control = eqx.tree_at(lambda c: c.inverse_errors, control, (one, one))
    return Carry(carry.state, fresh, control)


@eqx.filter_jit
def advance(
    field: AbstractVectorField,
    solver: Watched,
    controller: StepControl,
    until: AbstractCondition | None,
    carry: Carry,
    window: Float[Array, " saves"],
    t1: Scalar,
    allowance: Int[Array, ""],
    dense_steps: int | None,
) -> Stretch:
    """Step on, to `t1` at most and for a number of steps, saving at the times of the window.

    Time has the state's type, as Diffrax would raise the state to that of its times.
    """
    window, t1 = (t.astype(precision(carry.state)) for t in (window, t1))
    control = eqx.tree_at(lambda c: c.allowance, carry.control, allowance)
    saves = dfx.SubSaveAt(ts=window, fn=lambda t, state, args: position(field, state))
    solution = dfx.diffeqsolve(
        dfx.ODETerm(field),
        with_tolerances(solver, controller.rtol, controller.atol),
        t0=control.t,
        t1=t1,
        dt0=control.dt,
        y0=carry.state,
        saveat=dfx.SaveAt(
            subs=[saves, dfx.SubSaveAt(t1=True)],
            dense=dense_steps is not None,
            solver_state=True,
            controller_state=True,
        ),
        stepsize_controller=controller,
        event=None if until is None else _event(field, until, window.dtype),
        adjoint=dfx.ForwardMode(),
        max_steps=dense_steps,
        throw=False,
        solver_state=carry.solver,
        controller_state=control,
    )
    return _as_stretch(field, until, solution)


def _event(field: AbstractVectorField, until: AbstractCondition, dtype: DTypeLike) -> dfx.Event:
    """The condition's root by bisection, to a few units of rounding of the time.

    Optimistix stops a bisection only where the function is small as well, which a steep one never
    is at the nearest time there is. Scaled down it always is, so that the bracket alone decides.
    The gap falls through its root, and is not asked which way: under `vmap` Diffrax also looks for
    a root in lanes that have none, where asking would be an error.
    """
    limits = jnp.finfo(dtype)

    def gap(t, y, args, **kwargs):
        return until.gap(field, t, y) * float(limits.tiny) ** 0.5

    tolerance = ROOT_ULPS * float(limits.eps)
    return dfx.Event(gap, root_finder=optx.Bisection(rtol=tolerance, atol=tolerance, flip=True))


def _as_stretch(
    field: AbstractVectorField, until: AbstractCondition | None, solution: dfx.Solution
) -> Stretch:
    (passed, end), (saved, last) = cast(tuple, solution.ts), cast(tuple, solution.ys)
    state = jax.tree.map(lambda leaf: leaf[0], last)
    control = cast(ControlState, solution.controller_state)
    fired = jnp.asarray(solution.result == dfx.RESULTS.event_occurred)
    if until is not None:  # the pause of the allowance may hide an event of the same step
        fired |= (end[0] < control.t) | (until.gap(field, end[0], state) <= 0)
    control = eqx.tree_at(lambda c: c.t, control, end[0])
    return Stretch(
        carry=Carry(state, cast(WatchState, solution.solver_state), control),
        saved=saved,
        num_saved=jnp.sum(jnp.isfinite(passed) & (passed <= end[0])),
        fired=fired,
        result=solution.result,
        num_accepted=jnp.asarray(solution.stats["num_accepted_steps"]),
        num_rejected=jnp.asarray(solution.stats["num_rejected_steps"]),
        interpolation=solution.interpolation,
    )
