"""The Optax transformation that follows a training rule in steps."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from flowkit import rules
from flowkit.rules.base import scalar_zero, squared_size
from flowkit.trajectory import FLOW_TIME


def optimiser(
    rule: rules.AbstractRule | None, learning_rate: float, *, weight_decay: int | float = 0.0
) -> optax.GradientTransformation:
    """The Optax transformation whose steps approach the flow of a rule; its docstring names it.

    Args:
        rule: A training rule; None is gradient descent.
        learning_rate: The learning rate h that sets the rule's clock.
        weight_decay: The decay w of the weights per unit of flow time: coupled or decoupled as
            the rule states, the same as in `ModelFlow(loss, rule=rule, weight_decay=w)`.

    Returns:
        A transformation for `descend`.

    Raises:
        ValueError: the rule is unknown, or has no step of this size.

    Source:
        The rules themselves. Checked by tests/dynamics/test_orders.py.
    """
    direction, size = _direction(rule, learning_rate), _size(rule, learning_rate)
    decay = optax.add_decayed_weights(weight_decay)
    if not weight_decay:
        return optax.chain(direction, optax.scale(-size))
    if rule is None or not rule.decoupled:
        return optax.chain(decay, direction, optax.scale(-size))
    # AdaGrad's own rate is not h: what decays by h w is w h / size in its units.
    decay = optax.add_decayed_weights(weight_decay * learning_rate / size)
    return optax.chain(direction, decay, optax.scale(-size))


def time_step(clock: str, learning_rate: float) -> float:
    """How far one step moves a clock: the learning rate, or its root."""
    return learning_rate if clock == FLOW_TIME else float(np.sqrt(learning_rate))


def _size(rule: rules.AbstractRule | None, learning_rate: float) -> float:
    return float(np.sqrt(learning_rate)) if isinstance(rule, rules.AdaGrad) else learning_rate


@functools.singledispatch
def _direction(rule: Any, learning_rate: float) -> optax.GradientTransformation:
    raise ValueError(
        f"Argument `rule` must be a rule of `flowkit.rules` or None, but it is a "
        f"`{type(rule).__name__}`."
    )


@_direction.register
def _(rule: None, learning_rate: float) -> optax.GradientTransformation:
    return optax.identity()


@_direction.register
def _(rule: rules.Momentum, learning_rate: float) -> optax.GradientTransformation:
    return optax.trace(float(rule.beta))


@_direction.register
def _(rule: rules.HeavyBall, learning_rate: float) -> optax.GradientTransformation:
    momentum = 1 - float(rule.friction) * float(np.sqrt(learning_rate))
    if momentum < 0:
        raise ValueError(
            f"Argument `learning_rate` must be at most 1 / friction^2 = "
            f"{float(rule.friction) ** -2:g}, where no momentum is left, but it is "
            f"{learning_rate:g}."
        )
    return optax.trace(momentum)


@_direction.register
def _(rule: rules.Adam, learning_rate: float) -> optax.GradientTransformation:
    b1, b2 = (float(np.exp(-learning_rate * float(a))) for a in (rule.a1, rule.a2))
    return optax.scale_by_adam(b1, b2, eps=0.0, eps_root=float(rule.eps))


@_direction.register
def _(rule: rules.RMSProp, learning_rate: float) -> optax.GradientTransformation:
    decay = float(np.exp(-learning_rate * float(rule.a)))
    return optax.scale_by_rms(decay, float(rule.eps), bias_correction=True)


class NormalisedState(NamedTuple):
    """The average of squared sizes of the gradient and the weight of what is averaged."""

    total: Array
    weight: Array


@_direction.register
def _(rule: rules.Normalised, learning_rate: float) -> optax.GradientTransformation:
    decay, eps = float(np.exp(-learning_rate * float(rule.a))), float(rule.eps)

    def init(params: PyTree) -> NormalisedState:
        nothing = scalar_zero(params)
        return NormalisedState(nothing, nothing)

    def update(updates: PyTree, state: Any, params: PyTree | None = None):
        total = decay * state.total + (1 - decay) * squared_size(updates)
        weight = decay * state.weight + (1 - decay)
        size = jnp.sqrt(total / weight + eps)
        direction = jax.tree.map(lambda g: g / size.astype(g.dtype), updates)
        return direction, NormalisedState(total, weight)

    return optax.GradientTransformation(init, update)


@_direction.register
def _(rule: rules.AdaGrad, learning_rate: float) -> optax.GradientTransformation:
    return optax.scale_by_rss(0.0, float(rule.eps) / learning_rate)


@_direction.register
def _(rule: rules.Sign, learning_rate: float) -> optax.GradientTransformation:
    return optax.scale_by_adam(float(rule.b1), float(rule.b2), eps=0.0, eps_root=float(rule.eps))


class NesterovState(NamedTuple):
    """The last point x_k that a step reached, and how many it has reached."""

    previous: PyTree
    steps: Array


@_direction.register
def _(rule: rules.Nesterov, learning_rate: float) -> optax.GradientTransformation:
    """Steps in units of -h: x_{k+1} = y_k - h g, y_{k+1} = x_{k+1} + k/(k+3) (x_{k+1} - x_k)."""

    def init(params: PyTree) -> NesterovState:
        return NesterovState(params, jnp.zeros((), jnp.int32))

    def update(updates: PyTree, state: Any, params: PyTree | None = None):
        weight = lambda leaf: (count := state.steps.astype(leaf.dtype)) / (count + 3)
        current = jax.tree.map(lambda y, g: y - learning_rate * g, params, updates)
        direction = jax.tree.map(
            lambda g, new, old: g - weight(g) * (new - old) / learning_rate,
            updates,
            current,
            state.previous,
        )
        return direction, NesterovState(current, state.steps + 1)

    return optax.GradientTransformation(init, update)
