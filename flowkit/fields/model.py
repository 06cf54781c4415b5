"""Gradient flow of any loss over any state."""

from collections.abc import Callable
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.trajectory import FLOW_TIME


@final
class ModelFlow(AbstractVectorField):
    """Gradient flow of any loss: dy/dt = -grad loss(y), by automatic differentiation.

    The state is any pytree of arrays. Time is flow time under the loss as it is given.

    Attributes:
        objective: The training loss, a scalar function of the state.
    """

    objective: Callable[[PyTree], Scalar]
    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        return jax.tree.map(jnp.negative, jax.grad(self.objective)(y))

    def loss(self, y: PyTree) -> Scalar:
        return self.objective(y)

    def check(self, y0: PyTree) -> None:
        check_scalar_loss(self.objective, y0)


def check_scalar_loss(loss: Callable[[PyTree], Scalar], y0: PyTree) -> None:
    """Refuse a loss that is not one number at the initial state."""
    value = eqx.filter_eval_shape(loss, y0)
    if getattr(value, "shape", None) != ():
        raise ValueError(
            f"Argument `loss` must return one number, but at `y0` it returns "
            f"{describe(value) if hasattr(value, 'shape') else type(value).__name__}."
        )
