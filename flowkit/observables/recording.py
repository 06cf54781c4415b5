"""Recording observables along a trajectory, and those that depend on time."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, cast, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.trajectory import ROUNDING, SAME_TIME, Trajectory

WINDOW_BYTES = 32 * 2**20  # of saved states that a device holds at a time
SavedTimes = Float[np.ndarray | Array, " time"]


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


def checked_observables(
    observables: Mapping[str, Observable] | None, ts: SavedTimes | None = None
) -> dict[str, Observable]:
    """Observables by name, refused unless each is a function that has a value at all of `ts`."""
    if observables is None:
        return {}
    if not isinstance(observables, Mapping) or not all(map(_is_observable, observables.values())):
        raise ValueError(
            f"Argument `observables` must map names to functions of the state, but it is "
            f"{observables!r}."
        )
    for observable in observables.values():
        if isinstance(observable, AbstractTimedObservable) and ts is not None:
            observable.check(np.asarray(ts))
    return dict(observables)


def record(
    observables: Mapping[str, Observable], states: PyTree, ts: SavedTimes | None = None
) -> dict[str, Any]:
    """Evaluate observables on states stacked along a leading time axis.

    Args:
        observables: Functions of the state, or of time and state, by name.
        states: The states.
        ts: Their times; needed only by an `AbstractTimedObservable`.

    Returns:
        What each observable gave, stacked along the same axis.

    Raises:
        ValueError: an observable asks for the time, which was not given.
    """
    timed = [n for n, o in observables.items() if isinstance(o, AbstractTimedObservable)]
    if timed and ts is None:
        raise ValueError(
            f"Argument `observables` must hold functions of the state alone, but `{timed[0]}` asks "
            f"for the time, which is not known here."
        )
    leaves = jax.tree.leaves(states)
    if not observables or any(isinstance(leaf, Tracer) for leaf in leaves):
        return _record(observables, states, None if ts is None else jnp.asarray(ts))
    windows = [
        _record(observables, *jax.tree.map(lambda leaf, rows=rows: leaf[rows], (states, ts)))
        for rows in _windows(leaves)
    ]
    if len(windows) == 1:
        return windows[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *windows)


def _windows(leaves: list[Array | np.ndarray]) -> list[slice]:
    """Consecutive rows of equal number, as many as fit into a window of device memory."""
    count, size = len(leaves[0]), sum(leaf.nbytes for leaf in leaves)
    most = max(1, WINDOW_BYTES * count // max(size, 1))
    return [slice(start, start + most) for start in range(0, count, most)]


@eqx.filter_jit
def _record(
    observables: Mapping[str, Observable], states: PyTree, ts: Float[Array, " time"] | None
) -> dict[str, Any]:
    def one(point):
        t, state = point
        return {name: _evaluate(function, t, state) for name, function in observables.items()}

    return jax.lax.map(one, (ts, states))


@eqx.filter_jit
def _along(of: Callable[[PyTree], PyTree], states: PyTree) -> PyTree:
    return jax.lax.map(of, states)


def _evaluate(observable: Observable, t: Scalar | None, state: PyTree) -> PyTree:
    if isinstance(observable, AbstractTimedObservable):
        return observable.at(cast(Array, t), state)
    return observable(state)


def _is_observable(observable: object) -> bool:
    return callable(observable) or isinstance(observable, AbstractTimedObservable)
