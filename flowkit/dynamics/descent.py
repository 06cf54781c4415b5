"""Discrete training: any Optax transformation, scanned."""

from collections.abc import Callable, Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from flowkit.dynamics.optimisers import optimiser as optimiser_of, time_step
from flowkit.dynamics.precision import full_precision
from flowkit.fields import check_factors, check_scalar_loss
from flowkit.minibatches import Minibatches
from flowkit.observables import LossOf, Observable, checked_observables, record_until_interrupted
from flowkit.problems import AbstractProblem
from flowkit.rules import ROOT_TIME, AbstractRule
from flowkit.trajectory import FLOW_TIME, STEPS, Result, Trajectory, checked_state

Loss = Callable[..., Scalar]


@full_precision()
def descend(
    problem_or_loss: AbstractProblem | Loss,
    y0: PyTree,
    optimiser: optax.GradientTransformation | AbstractRule,
    steps: int,
    *,
    learning_rate: float | None = None,
    clock: str | None = None,
    observables: Mapping[str, Observable] | None = None,
    save_every: int = 1,
    batches: Minibatches | None = None,
    key: PRNGKeyArray | None = None,
) -> Trajectory:
    """Train in discrete steps, on the same clock as the flow where a learning rate is stated.

    Gradients come from automatic differentiation of the loss, not from a derivation, so that
    descent is an independent witness of the flow.

    Args:
        problem_or_loss: A problem, whose loss is taken at the product of the factors `y0`, or any
            scalar function of the state; with `batches`, the loss of (state, one example).
        y0: The initial state.
        optimiser: An Optax transformation, such as `optax.sgd(learning_rate)`, or a training rule,
            which is followed at `learning_rate` and sets the clock.
        steps: The number of steps.
        learning_rate: Sets the clock: step k is at flow time k * learning_rate. It must be the
            transformation's own, which Optax hides, so that nothing checks it. Without it `ts`
            counts steps, and `compare` refuses to hold the trajectory against a flow.
        clock: The clock that `learning_rate` sets, a rule's own by default, else "flow time"; in
            "root time", that of `HeavyBall` and `Nesterov`, step k is at k * sqrt(learning_rate).
        observables: Functions of the state to record at every saved step.
        save_every: Save every so many steps, the initial state included; divides `steps`.
        batches: Train on minibatches, each step on the mean loss of one batch.
        key: Draws the batches.

    Returns:
        The trajectory; if the loss or state stops being finite, `result` says so.

    Raises:
        ValueError: an argument is not usable; the message says which.
    """
    y0 = checked_state(y0)
    _check_counts(steps, save_every, learning_rate)
    clock, step_of_clock = _clock(optimiser, learning_rate, clock)
    ts = np.arange(0, steps + 1, save_every) * step_of_clock
    observables = checked_observables(observables, ts, y0)
    loss = _as_loss(problem_or_loss, y0, batches, key)
    transformation = _as_transformation(optimiser, learning_rate)
    states, losses = _scan(loss, y0, transformation, steps // save_every, save_every)
    result = _result(states, np.asarray(losses))
    recorded, result = record_until_interrupted(observables, states, ts, result)
    return Trajectory(
        ts=ts,
        states=states,
        final=jax.tree.map(lambda leaf: leaf[-1], states),
        final_time=float(ts[-1]),
        observables=recorded,
        result=result,
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


@final
class _FullLoss(eqx.Module):
    """The loss of every step alike; its sampler has nothing to remember."""

    loss: Loss

    def begin(self) -> None:
        return None

    def draw(self, rows: None, step: Array) -> tuple[Loss, None]:
        return self.loss, None


@final
class _BatchLoss(eqx.Module):
    """The mean loss of the examples in a step's batch; remembers the batches of the epoch."""

    loss: Loss
    batches: Minibatches
    key: PRNGKeyArray

    def begin(self) -> Array:
        return jnp.zeros_like(self.batches.draw(self.key))

    def draw(self, rows: Array, step: Array) -> tuple[Loss, Array]:
        epoch, place = jnp.divmod(step, self.batches.per_epoch)
        anew = lambda: self.batches.draw(jax.random.fold_in(self.key, epoch))
        rows = lax.cond(place == 0, anew, lambda: rows)
        batch = self.batches.take(rows[place])
        return lambda y: jnp.mean(jax.vmap(self.loss, (None, 0))(y, batch)), rows


def _as_loss(
    problem_or_loss: AbstractProblem | Loss,
    y0: PyTree,
    batches: Minibatches | None,
    key: PRNGKeyArray | None,
) -> _FullLoss | _BatchLoss:
    if (batches is None) != (key is None):
        raise ValueError(
            f"Arguments `batches` and `key` must be given together, but they are {batches!r} and "
            f"{key!r}: the key draws the batches."
        )
    if isinstance(problem_or_loss, AbstractProblem):
        if batches is not None:
            raise ValueError(
                "Argument `problem_or_loss` must be a loss of (state, one example) where `batches` "
                "are given, but it is a problem."
            )
        check_factors(problem_or_loss, y0 if isinstance(y0, tuple) else (y0,))
        return _FullLoss(LossOf(problem_or_loss))
    if batches is None or key is None:
        check_scalar_loss(problem_or_loss, y0)
        return _FullLoss(problem_or_loss)
    example = jax.tree.map(lambda leaf: leaf[0], batches.data)
    check_scalar_loss(lambda y: problem_or_loss(y, example), y0)
    return _BatchLoss(problem_or_loss, batches, key)


def _as_transformation(
    optimiser: optax.GradientTransformation | AbstractRule, learning_rate: float | None
) -> optax.GradientTransformation:
    if not isinstance(optimiser, AbstractRule):
        if not all(callable(getattr(optimiser, name, None)) for name in ("init", "update")):
            raise ValueError(
                f"Argument `optimiser` must be an Optax transformation such as optax.sgd(0.1), or "
                f"a rule such as fk.rules.Adam(), but it is {optimiser!r}."
            )
        return optimiser
    if learning_rate is None:
        raise ValueError(
            f"Argument `learning_rate` must be given for the rule `{type(optimiser).__name__}`, "
            f"but it is None."
        )
    return optimiser_of(optimiser, learning_rate)


def _clock(
    optimiser: optax.GradientTransformation | AbstractRule,
    learning_rate: float | None,
    clock: str | None,
) -> tuple[str, float]:
    """The clock, and how far one step moves it."""
    if learning_rate is None:
        if clock is not None:
            raise ValueError(
                f"Argument `learning_rate` must be given for the clock {clock!r}, but it is None."
            )
        return STEPS, 1.0
    own = optimiser.clock if isinstance(optimiser, AbstractRule) else FLOW_TIME
    clock = own if clock is None else clock
    if clock not in (FLOW_TIME, ROOT_TIME):
        raise ValueError(
            f"Argument `clock` must be {FLOW_TIME!r} or {ROOT_TIME!r}, but it is {clock!r}."
        )
    return clock, time_step(clock, learning_rate)


@eqx.filter_jit
def _scan(
    loss: _FullLoss | _BatchLoss,
    y0: PyTree,
    optimiser: optax.GradientTransformation,
    saves: int,
    save_every: int,
) -> tuple[PyTree, Array]:
    """States at every save, the initial one first, and the loss before every step."""
    optimiser = optax.with_extra_args_support(optimiser)

    def step(carry, number):
        y, state, drawn = carry
        objective, drawn = loss.draw(drawn, number)
        value, gradient = jax.value_and_grad(objective)(y)
        extra = {"value": value, "grad": gradient, "value_fn": objective}
        updates, state = optimiser.update(gradient, state, y, **extra)
        return (optax.apply_updates(y, updates), state, drawn), value

    def stretch(carry, first):
        carry, losses = lax.scan(step, carry, first + jnp.arange(save_every))
        return carry, (carry[0], losses)

    start = (y0, optimiser.init(y0), loss.begin())
    _, (states, losses) = lax.scan(stretch, start, save_every * jnp.arange(saves))
    stacked = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), y0, states)
    return stacked, losses.ravel()


def _result(states: PyTree, losses: np.ndarray) -> Result:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        return Result(successful=False, reason=f"the loss is not finite at step {bad[0]}")
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(states)):
        return Result(successful=False, reason="the state is not finite after the last step")
    return Result(successful=True, reason="took every step")
