"""Observables that depend on time, and the distance to another trajectory."""

import abc
from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree, Scalar

from flowkit.trajectory import ROUNDING, SAME_TIME, Trajectory


class AbstractTimedObservable(eqx.Module):
    """An observable of the time and the state."""

    @abc.abstractmethod
    def at(self, t: Scalar, y: PyTree) -> PyTree:
        """The value at a time and the state there."""

    @abc.abstractmethod
    def check(self, ts: Float[np.ndarray, " time"]) -> None:
        """Refuse, with a ValueError, times at which there is no value."""


Observable = Callable[[PyTree], PyTree] | AbstractTimedObservable


@final
class DistanceTo(AbstractTimedObservable):
    """Euclidean distance to another trajectory at equal times, over all leaves.

    Answers at the times that the other one saved, in the unit of its clock.

    Attributes:
        ts: The saved times of the reference.
        reference: What is compared, along the reference.
        of: The function of the state that is compared; None compares the state itself.
    """

    ts: Float[np.ndarray, " time"]
    reference: PyTree
    of: Callable[[PyTree], PyTree] | None

    def __init__(self, trajectory: Trajectory, of: Callable[[PyTree], PyTree] | None = None):
        """Hold on to the reference.

        Args:
            trajectory: The reference.
            of: A function of the state; by default the state itself.

        Raises:
            ValueError: `trajectory` is no trajectory, or it failed.
        """
        if not isinstance(trajectory, Trajectory) or not trajectory.result.successful:
            why = (
                f"it ended with: {trajectory.result.reason}"
                if isinstance(trajectory, Trajectory)
                else f"it is a `{type(trajectory).__name__}`"
            )
            raise ValueError(f"Argument `trajectory` must be a successful trajectory, but {why}.")
        states = trajectory.states
        self.ts = np.asarray(trajectory.ts)
        self.reference = states if of is None else _along(of, states)
        self.of = of

    def at(self, t: Scalar, y: PyTree) -> Scalar:
        i = jnp.argmin(jnp.abs(jnp.asarray(self.ts, t.dtype) - t))
        value = y if self.of is None else self.of(y)
        squares = jax.tree.map(lambda a, b: jnp.sum((a - b[i]) ** 2), value, self.reference)
        return jnp.sqrt(sum(jax.tree.leaves(squares), start=jnp.zeros((), t.dtype)))

    def check(self, ts: Float[np.ndarray, " time"]) -> None:
        for t in ts:
            tolerance = SAME_TIME * abs(t) + ROUNDING * np.abs(self.ts).max()
            if np.abs(self.ts - t).min() > tolerance:
                raise ValueError(
                    f"Argument `trajectory` of DistanceTo must have saved every time that is "
                    f"recorded, but {t:g} is none of its {self.ts.size} times from "
                    f"{self.ts[0]:g} to {self.ts[-1]:g}."
                )


@eqx.filter_jit
def _along(of: Callable[[PyTree], PyTree], states: PyTree) -> PyTree:
    return jax.lax.map(of, states)
