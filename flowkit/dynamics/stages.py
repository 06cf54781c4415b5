"""What stabilized explicit Runge-Kutta methods share: many stages buy stability, not order.

Gradient flows are stiff with a real negative spectrum (minus a Hessian). A method with s stages can
be stable up to steps of order s^2 / (spectral radius), so that its cost grows with the square root
of the stiffness, without Jacobians or linear solves. A method adds two things to the class here:
how many stages a step needs, and the step itself.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, final

import diffrax as dfx
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

RADIUS_MARGIN = 1.05  # power iteration approaches the spectral radius from below
COLD_ITERATIONS = 20  # before the direction is known; afterwards it is warm from step to step

Flat = Float[Array, " size"]
Rate = Callable[[Scalar, Flat], Flat]
Radius = None | int | float | Array | Callable[[Any, PyTree, PyTree], Any]


@final
class StabilizedState(eqx.Module):
    """What a stabilized method carries from step to step, and tells about the last one.

    Diffrax restores the old state after a rejected step. The work of a step, rejected or not, is
    the difference of `num_evaluations` between what its `step` returns and what it was given: a
    controller or a wrapped solver that adds these differences up misses nothing.

    Attributes:
        direction: The last vector of the power iteration.
        warm: Whether a step has been made, so that what stands here is meant.
        time: Where the last step ended, and
        rate: the field there, with which the next one starts unless it starts elsewhere.
        num_evaluations: Evaluations of the field and Jacobian-vector products so far.
        num_stages: Stages of the last step.
        radius: Spectral radius of the Jacobian at the start of the last step.
        scaled_step: Length of the last step times that radius.
    """

    direction: Flat
    warm: Bool[Array, ""]
    time: Float[Array, ""]
    rate: Flat
    num_evaluations: Int[Array, ""]
    num_stages: Int[Array, ""]
    radius: Float[Array, ""]
    scaled_step: Float[Array, ""]


class Step(NamedTuple):
    """One step's frame: the field on flat states, where it starts and how long it is.

    Attributes:
        rate: The field, as a function of a time and a flat state.
        t0: Where the step starts, and
        t1: where it ends.
        z0: The state at its start, and
        f0: its rate.
        h: Length, in the precision of the state; negative where Diffrax solves backward, which it
            does by a time that runs forward and a field that is not turned round.
        repeat: `lax.fori_loop`, or a loop that reverse mode can pass.
    """

    rate: Rate
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    z0: Flat
    f0: Flat
    h: Float[Array, ""]
    repeat: Callable

    def at(self, fraction: Scalar, z: Flat) -> Flat:
        """The rate of a state at a fraction of the step."""
        return self.rate(self.t0 + fraction.astype(self.t0.dtype) * (self.t1 - self.t0), z)


class StepEnd(NamedTuple):
    """The state at the end of a step, its rate there, and an estimate of its error."""

    z1: Flat
    f1: Flat
    error: Flat


class AbstractStabilized(dfx.AbstractAdaptiveSolver):
    """Steps with as many stages as stability needs, chosen by the spectral radius.

    A subclass knows how many stages a step needs, and makes it with that many evaluations of the
    field beyond the one at its start, which the step before has left.

    Attributes:
        power_iterations: Jacobian-vector products per step for the spectral radius.
        max_stages: The most stages of a step; one that needs more is rejected before it is made,
            and where nothing rejects it, as at a constant length, the state is NaN and the next
            step fails.
        spectral_radius: A bound on the spectral radius, instead of power iteration: a number, or a
            function of time, state and `args`. It is used as it is, without a margin.
        reverse: Whether reverse-mode differentiation can pass the loop over the stages, by
            recomputing them from checkpoints; forward mode cannot pass then. The number of stages
            is held fixed by either.
    """

    power_iterations: eqx.AbstractVar[int]
    max_stages: eqx.AbstractVar[int]
    spectral_radius: eqx.AbstractVar[Radius]
    reverse: eqx.AbstractVar[bool]
    least_stages: eqx.AbstractClassVar[int]
    term_structure: ClassVar[Any] = dfx.ODETerm
    interpolation_cls: ClassVar[Any] = dfx.ThirdOrderHermitePolynomialInterpolation

    def __check_init__(self):
        for name, least in (("power_iterations", 1), ("max_stages", self.least_stages)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"Argument `{name}` must be an integer of at least {least}, but it is "
                    f"{value!r}."
                )
        if not isinstance(self.reverse, bool):
            raise ValueError(f"Argument `reverse` must be a bool, but it is {self.reverse!r}.")
        _check_radius(self.spectral_radius)

    @abc.abstractmethod
    def stages_for(self, scaled_step: Float[Array, ""]) -> Float[Array, ""]:
        """The fewest stages that are stable for a step times the spectral radius."""

    @abc.abstractmethod
    def advance(self, step: Step, stages: Int[Array, ""]) -> StepEnd:
        """Make the step with so many stages."""

    def init(self, terms, t0, t1, y0, args) -> StabilizedState:
        flat, _ = ravel_pytree(y0)
        direction = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
        zero, none = jnp.zeros((), flat.dtype), jnp.zeros((), int)
        return StabilizedState(
            direction=direction / jnp.linalg.norm(direction),
            warm=jnp.zeros((), bool),
            time=jnp.asarray(t0),
            rate=jnp.zeros_like(flat),
            num_evaluations=none,
            num_stages=none,
            radius=zero,
            scaled_step=zero,
        )

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state: StabilizedState, made_jump):
        z0, unravel = ravel_pytree(y0)
        t0, t1 = jnp.asarray(t0), jnp.asarray(t1)
        h = jnp.asarray(terms.contr(t0, t1), z0.dtype)
        rate = lambda t, z: ravel_pytree(terms.vf(t, unravel(z), args))[0]

        moved = jnp.asarray(made_jump) | ~solver_state.warm | (solver_state.time != t0)
        f0 = lax.cond(moved, lambda: rate(t0, z0), lambda: solver_state.rate)
        direction, radius, products = self._spectrum(rate, t0, z0, y0, args, solver_state)
        margin = RADIUS_MARGIN if self.spectral_radius is None else 1.0
        scaled_step = jnp.abs(h) * radius
        needed = self.stages_for(scaled_step * margin)
        fits = needed <= self.max_stages  # false for a radius that is not a number, too
        stages = jnp.where(fits, needed, self.least_stages).astype(int)
        z1, f1, error = self.advance(Step(rate, t0, t1, z0, f0, h, self._repeat), stages)
        fits &= jnp.isfinite(z1).all() & jnp.isfinite(error).all()
        z1 = jnp.where(fits, z1, jnp.nan)  # where nothing rejects the step, this says so
        result = dfx.RESULTS.where(
            jnp.isfinite(z0).all(), dfx.RESULTS.successful, dfx.RESULTS.dt_min_reached
        )

        evaluations = solver_state.num_evaluations + stages + products + moved.astype(int)
        state = StabilizedState(
            direction,
            jnp.ones((), bool),
            t1,
            f1,
            evaluations,
            stages,
            radius,
            scaled_step,
        )
        dense = {"y0": y0, "y1": unravel(z1), "k0": unravel(h * f0), "k1": unravel(h * f1)}
        error = unravel(jnp.where(fits, error, jnp.inf))
        return dense["y1"], error, dense, state, result

    def _spectrum(
        self, rate: Rate, t0: Scalar, z0: Flat, y0: PyTree, args: PyTree, state: StabilizedState
    ) -> tuple[Flat, Float[Array, ""], Int[Array, ""]]:
        """A direction, the spectral radius, and the products that it took."""
        if self.spectral_radius is None:
            products = jnp.where(state.warm, self.power_iterations, COLD_ITERATIONS)
            here = lambda z: rate(t0, z)
            if self.reverse:  # the loop below must not meet a derivative of what `rate` closes over
                here = _constant(eqx.filter_closure_convert(here, z0))
            point, start = _constant((z0, state.direction))
            direction, radius = _power_iteration(jax.linearize(here, point)[1], start, products)
            return *_constant((direction, radius)), products
        given = self.spectral_radius
        value = given(t0, y0, args) if callable(given) else given
        return state.direction, _constant(jnp.asarray(value, z0.dtype)), jnp.array(0)

    def _repeat(self, start: int, stop: Int[Array, ""], body: Callable, carry: PyTree) -> PyTree:
        """`lax.fori_loop`, or one of the same meaning that reverse mode can pass."""
        if not self.reverse:
            return lax.fori_loop(start, stop, body, carry)
        return eqxi.while_loop(
            lambda state: state[0] < stop,
            lambda state: (state[0] + 1, body(*state)),
            (jnp.asarray(start, stop.dtype), carry),
            max_steps=self.max_stages,
            kind="checkpointed",
        )[1]


def _check_radius(radius: Radius) -> None:
    if radius is None or callable(radius) or isinstance(radius, Array):
        return  # the value of an array may be traced
    value = np.asarray(radius)
    if value.dtype.kind not in "iuf" or value.ndim or not 0 < value < np.inf:
        raise ValueError(
            "Argument `spectral_radius` must be a positive number or a function of time, state "
            f"and args, but it is {radius!r}."
        )


def _constant(tree: PyTree) -> PyTree:
    """The same tree, seen as constant by differentiation."""
    stop = lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf
    return jax.tree.map(stop, tree)


def _power_iteration(
    product: Callable[[Flat], Flat], direction: Flat, iterations: Int[Array, ""]
) -> tuple[Flat, Float[Array, ""]]:
    """Power iteration; keeps a direction that maps to zero or to what is not finite."""

    def iterate(_: Any, carry: tuple[Flat, Scalar]) -> tuple[Flat, Scalar]:
        vector, _ = carry
        image = product(vector)
        size = jnp.linalg.norm(image)
        usable = (size > 0) & jnp.isfinite(size)
        return jnp.where(usable, image / jnp.where(usable, size, 1.0), vector), size

    return lax.fori_loop(0, iterations, iterate, (direction, jnp.zeros((), direction.dtype)))
