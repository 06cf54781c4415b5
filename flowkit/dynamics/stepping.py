"""Step-size control that can pause, that counts work, and that ends instead of stalling."""

from typing import cast, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float, Int, PyTree, Scalar

from flowkit.fields import AbstractVectorField, lift

UNLIMITED = 2**31 - 1  # steps, until an allowance is set
SMALLEST_STEP = 4  # units of rounding of the time: a smaller step would not move it


@final
class ControlState(eqx.Module):
    """What step-size control remembers from step to step.

    Attributes:
        inverse_errors: Reciprocals of the last two scaled errors, for the PI rule.
        t: Where the next step starts.
        dt: Its length.
        allowance: Steps that may be tried before the solve pauses.
        num_evaluations: Evaluations of the field so far, those of rejected steps included.
    """

    inverse_errors: tuple[Scalar, Scalar]
    t: Scalar
    dt: Scalar
    allowance: Int[Array, ""]
    num_evaluations: Int[Array, ""]


@final
class StepControl(dfx.AbstractAdaptiveStepSizeController):
    """Diffrax's PI controller for a `Watched` solver, with three additions.

    It pauses after an allowance of steps, so that a long solve returns to Python now and then. It
    counts the evaluations of every step, which a solver cannot do as its state is restored after
    a rejected step. It ends a solve that cannot go on: where the field is not a number or blows
    up, Diffrax shrinks the step for ever. A fixed `dtmin` would end that, but no one value suits
    both a tiny first step and a distant last time; here a step fails when it is too small to move
    the time it starts from.

    Attributes:
        rtol: Relative tolerance.
        atol: Absolute tolerance of every leaf of the state.
    """

    rtol: Float[Array, ""]
    atol: PyTree[Float[Array, ""]]

    def __init__(self, rtol: Float[Array, ""], atol: PyTree[Float[Array, ""]]):
        self.rtol, self.atol = rtol, atol

    @staticmethod
    def norm(error: PyTree) -> Scalar:
        """The root mean square, infinite for nan, so that such a step is rejected."""
        size = optx.rms_norm(error)
        return jnp.where(jnp.isnan(size), jnp.inf, size)

    @property
    def _pi(self) -> dfx.PIDController:
        """The PI rule for a state measured in units of `atol`."""
        return dfx.PIDController(rtol=self.rtol, atol=1.0, pcoeff=0.2, icoeff=0.4, norm=self.norm)

    def _scaled(self, y: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf, unit: leaf / unit.astype(leaf.dtype), y, self.atol)

    def wrap(self, direction):
        return self  # a PI controller needs no direction

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        atol = jnp.stack(jax.tree.leaves(self.atol)).max()
        first = dfx.PIDController(rtol=self.rtol, atol=atol, norm=self.norm)
        tnext, (last, before, _) = first.init(terms, t0, t1, y0, dt0, args, func, error_order)
        counts = (jnp.array(UNLIMITED, int), jnp.array(2, int))  # two evaluations choose the step
        t0, tnext = jnp.asarray(t0), jnp.asarray(tnext)
        errors = (jnp.asarray(last), jnp.asarray(before))
        return tnext, ControlState(errors, t0, tnext - t0, *counts)

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        state: ControlState = controller_state
        error, evaluations = cast(tuple, y_error)
        last, before = state.inverse_errors
        keep, t0, tnext, jumped, (last, before, _), result = self._pi.adapt_step_size(
            t0,
            t1,
            self._scaled(y0),
            self._scaled(y1_candidate),
            args,
            self._scaled(error),
            error_order,
            (last, before, False),
        )
        t0 = jnp.asarray(t0)
        dt = jnp.asarray(tnext) - t0
        allowance = state.allowance - 1
        result = dfx.RESULTS.where(keep & (allowance <= 0), dfx.RESULTS.max_steps_reached, result)
        limits = jnp.finfo(jnp.result_type(t0))
        stalled = dt <= jnp.maximum(SMALLEST_STEP * limits.eps * jnp.abs(t0), limits.tiny)
        result = dfx.RESULTS.where(stalled, dfx.RESULTS.dt_min_reached, result)
        counted = state.num_evaluations + evaluations.astype(state.num_evaluations.dtype)
        errors = (jnp.asarray(last), jnp.asarray(before))
        state = ControlState(errors, t0, dt, allowance, counted)
        return keep, t0, t0 + dt, jumped, state, result


def precision(state: PyTree) -> jnp.dtype:
    """The type in which a state is integrated: that of its leaves, which `check_types` has seen."""
    leaves = jax.tree.leaves(state)
    return jnp.result_type(leaves[0]) if leaves else jnp.result_type(float)


def check_types(field: AbstractVectorField, t0: Scalar, y0: PyTree) -> None:
    """Refuse a state of other types than float32 or float64, of two types, or not of its rate's.

    Args:
        field: The flow.
        t0: The first time.
        y0: What is trained at `t0`; a lifted state has the leaves of `y0` first.
    """
    types = [jnp.result_type(leaf) for leaf in jax.tree.leaves(y0)]
    for i, dtype in enumerate(types):
        if dtype not in (jnp.float32, jnp.float64):
            raise ValueError(
                f"Argument `y0` must be of type float32 or float64, but its leaf {i} is {dtype}."
            )
        if dtype != types[0]:
            raise ValueError(
                f"Argument `y0` must be of one type, but its leaf 0 is {types[0]} and its leaf {i} "
                f"is {dtype}."
            )
    if precision(y0) == jnp.result_type(float):
        return  # the widest: no rate is wider
    with jax.numpy_dtype_promotion("standard"):  # under "strict" JAX's own words come first
        rate_types = eqx.filter_eval_shape(_first_rate, field, t0, y0)
    for i, rate in enumerate(jax.tree.leaves(rate_types)):
        if rate.dtype != types[0]:
            raise ValueError(
                f"Argument `y0` must be of its rate's type, {rate.dtype}, but its leaf {i} is "
                f"{types[0]}."
            )


def _first_rate(field: AbstractVectorField, t0: Scalar, y0: PyTree) -> PyTree:
    return field(t0, lift(field, t0, y0))


def step_control(state: PyTree, rtol: float, atol: float | None) -> StepControl:
    """Control for a solve that starts at a state, by whose leaves `atol` is scaled if not given.

    A leaf that starts at zero is measured by the largest one. Tolerances have the state's type.
    """
    dtype = precision(state)
    relative = jnp.asarray(rtol, dtype)
    if atol is not None:
        return StepControl(relative, jax.tree.map(lambda leaf: jnp.asarray(atol, dtype), state))
    return StepControl(relative, _scaled_by_size(lax.stop_gradient(state), relative))


@eqx.filter_jit
def _scaled_by_size(state: PyTree, rtol: Float[Array, ""]) -> PyTree[Float[Array, ""]]:
    leaves, structure = jax.tree.flatten(state)
    mean = lambda leaf: jnp.mean(jnp.square(leaf)) if leaf.size else jnp.zeros((), rtol.dtype)
    sizes = [jnp.sqrt(mean(leaf)) for leaf in leaves]
    largest = jnp.stack([*sizes, jnp.zeros((), rtol.dtype)]).max()
    largest = jnp.where(largest > 0, largest, 1.0)
    units = [rtol * jnp.where(size > 0, size, largest) for size in sizes]
    return jax.tree.unflatten(structure, units)
