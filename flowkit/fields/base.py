"""What every flow answers: its rate, its loss, its clock, and what it can start from."""

import abc

import equinox as eqx
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, PyTree, Scalar

Time = Float[ArrayLike, ""]


class AbstractVectorField(eqx.Module):
    """A flow dy/dt = field(t, y) that lowers a training loss.

    Attributes:
        clock: What its time counts, so that only equal clocks are compared.
    """

    clock: eqx.AbstractVar[str]

    @abc.abstractmethod
    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        """The rate of the state, per unit of the clock."""

    @abc.abstractmethod
    def loss(self, y: PyTree) -> Scalar:
        """The training loss at a state, in the convention of the field's problem."""

    @abc.abstractmethod
    def check(self, y0: PyTree) -> None:
        """Refuse, with a ValueError, a state that the field cannot start from."""


class AbstractLiftedField(AbstractVectorField):
    """A flow whose state holds more than what is trained, such as a momentum.

    The rate acts on the lifted state. Whatever a user sees is the position: what `loss` and
    `check` are given, what is saved, observed and compared.
    """

    @abc.abstractmethod
    def lift(self, t0: Time, y0: PyTree) -> PyTree:
        """The lifted state that starts at a position."""

    @abc.abstractmethod
    def position(self, state: PyTree) -> PyTree:
        """What is trained, out of a lifted state."""


def lift(field: AbstractVectorField, t0: Time, y0: PyTree) -> PyTree:
    """The state that is integrated: `y0` itself unless the field is lifted."""
    return field.lift(t0, y0) if isinstance(field, AbstractLiftedField) else y0


def position(field: AbstractVectorField, state: PyTree) -> PyTree:
    """The state that a user sees."""
    return field.position(state) if isinstance(field, AbstractLiftedField) else state


def describe(y: PyTree) -> str:
    """The shapes of a state, for an error message."""
    if isinstance(y, tuple | list):
        return f"a {type(y).__name__} of shapes {[np.shape(part) for part in y]}"
    return f"of shape {np.shape(y)}"
