"""What every flow answers: its rate, its loss, its clock, and what it can start from."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

Time = Float[Array, ""] | float


class AbstractVectorField(eqx.Module):
    """A flow dy/dt = field(t, y) that lowers a training loss.

    Attributes:
        clock: What its time counts, so that only equal clocks are compared.
    """

    clock: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        """The rate of the state, per unit of the clock."""

    @abc.abstractmethod
    def loss(self, y: PyTree) -> Scalar:
        """The training loss at a state, in the convention of the field's problem."""

    @abc.abstractmethod
    def check(self, y0: PyTree) -> None:
        """Refuse, with a ValueError, a state that the field cannot start from."""


def describe(y: PyTree) -> str:
    """The shapes of a state, for an error message."""
    if isinstance(y, tuple | list):
        return f"a {type(y).__name__} of shapes {[np.shape(part) for part in y]}"
    return f"of shape {np.shape(y)}"
