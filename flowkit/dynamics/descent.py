"""Discrete training: any Optax transformation, scanned."""

from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, PyTree, Scalar

from flowkit.fields import check_factors, check_scalar_loss
from flowkit.observables import LossOf, Observable, checked_observables, record
from flowkit.problems import AbstractProblem
from flowkit.trajectory import FLOW_TIME, STEPS, Result, Trajectory, checked_state

Loss = Callable[[PyTree], Scalar]


def descend(
    problem_or_loss: AbstractProblem | Loss,
    y0: PyTree,
    optimiser: optax.GradientTransformation,
    steps: int,
    *,
    learning_rate: float | None = None,
    observables: Mapping[str, Observable] | None = None,
    save_every: int = 1,
) -> Trajectory:
    """Train in discrete steps, on the same clock as the flow where a learning rate is stated.

    Gradients come from automatic differentiation of the loss, not from a derivation, so that
    descent is an independent witness of the flow.

    Args:
        problem_or_loss: A problem, whose loss is taken at the product of the factors `y0`, or any
            scalar function of the state.
        y0: The initial state.
        optimiser: An Optax transformation, such as `optax.sgd(learning_rate)`.
        steps: The number of steps.
        learning_rate: Sets the clock: step k is at flow time k * learning_rate. Without it `ts`
            counts steps, and `compare` refuses to hold the trajectory against a flow.
        observables: Functions of the state to record at every saved step.
        save_every: Save every so many steps, the initial state included; divides `steps`.

    Returns:
        The trajectory; if the loss or state stops being finite, `result` says so.

    Raises:
        ValueError: an argument is not usable; the message says which.
    """
    y0 = checked_state(y0)
    _check_counts(steps, save_every, learning_rate)
    observables = checked_observables(observables)
    loss = _as_loss(problem_or_loss, y0)
    states, losses = _scan(loss, y0, optimiser, steps // save_every, save_every)
    kept = np.arange(0, steps + 1, save_every)
    clock, ts = (STEPS, kept.astype(float))
    if learning_rate is not None:
        clock, ts = FLOW_TIME, kept * learning_rate
    return Trajectory(
        ts=ts,
        states=states,
        final=jax.tree.map(lambda leaf: leaf[-1], states),
        final_time=float(ts[-1]),
        observables=record(observables, states),
        result=_result(states, np.asarray(losses)),
        stats={"num_steps": steps, "num_evaluations": steps},
        clock=clock,
    )


def _check_counts(steps: int, save_every: int, learning_rate: float | None) -> None:
    for name, value in (("steps", steps), ("save_every", save_every)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"Argument `{name}` must be a positive integer, but it is {value!r}.")
    if steps % save_every:
        raise ValueError(
            f"Argument `save_every` must divide `steps`, but {save_every} does not divide {steps}."
        )
    if learning_rate is not None and not 0 < learning_rate < np.inf:
        raise ValueError(f"Argument `learning_rate` must be positive, but it is {learning_rate!r}.")


def _as_loss(problem_or_loss: AbstractProblem | Loss, y0: PyTree) -> Loss:
    if not isinstance(problem_or_loss, AbstractProblem):
        check_scalar_loss(problem_or_loss, y0)
        return problem_or_loss
    check_factors(problem_or_loss, y0 if isinstance(y0, tuple) else (y0,))
    return LossOf(problem_or_loss)


@eqx.filter_jit
def _scan(
    loss: Loss, y0: PyTree, optimiser: optax.GradientTransformation, saves: int, save_every: int
) -> tuple[PyTree, Array]:
    """States at every save, the initial one first, and the loss before every step."""
    optimiser = optax.with_extra_args_support(optimiser)

    def step(carry, _):
        y, state = carry
        value, gradient = jax.value_and_grad(loss)(y)
        extra = {"value": value, "grad": gradient, "value_fn": loss}
        updates, state = optimiser.update(gradient, state, y, **extra)
        return (optax.apply_updates(y, updates), state), value

    def stretch(carry, _):
        carry, losses = lax.scan(step, carry, length=save_every)
        return carry, (carry[0], losses)

    _, (states, losses) = lax.scan(stretch, (y0, optimiser.init(y0)), length=saves)
    stacked = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), y0, states)
    return stacked, losses.ravel()


def _result(states: PyTree, losses: np.ndarray) -> Result:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        return Result(successful=False, reason=f"the loss is not finite at step {bad[0]}")
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(states)):
        return Result(successful=False, reason="the state is not finite after the last step")
    return Result(successful=True, reason="took every step")
