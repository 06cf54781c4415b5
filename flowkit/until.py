"""Conditions that end an integration, each a real function whose root is located."""

import abc
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields import AbstractVectorField


class AbstractCondition(eqx.Module):
    """A condition on the state: `gap` is positive before it holds and zero where it begins to."""

    @abc.abstractmethod
    def gap(self, field: AbstractVectorField, y: PyTree) -> Scalar:
        """Signed distance to the condition, smooth along a trajectory."""

    @abc.abstractmethod
    def describe(self) -> str:
        """The condition as a sentence, for the trajectory's result."""


@final
class TrainLoss(AbstractCondition):
    """The field's training loss has fallen to a value."""

    value: Float[Array, ""]

    def gap(self, field: AbstractVectorField, y: PyTree) -> Scalar:
        return jnp.log(field.loss(y)) - jnp.log(self.value)

    def describe(self) -> str:
        return f"train loss fell to {float(self.value):g}"


def train_loss(value: float) -> TrainLoss:
    """Stop where the training loss falls to `value`; the root is found on its logarithm.

    Args:
        value: The loss to stop at, positive, in the problem's own convention.

    Returns:
        A condition for `integrate(until=...)`.

    Raises:
        ValueError: `value` is not positive.
    """
    if not value > 0:
        raise ValueError(f"Argument `value` must be positive, but it is {value!r}.")
    return TrainLoss(jnp.asarray(value, dtype=float))
