"""Trajectories: what every clock returns, a flow and a descent alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, PyTree

if TYPE_CHECKING:
    import xarray

Times = Sequence[int | float] | Num[np.ndarray | Array, " time"]

FLOW_TIME = "flow time"
STEPS = "steps"
SAME_TIME = 1e-12  # relative; two sums of the same steps differ by rounding only
ROUNDING = 4 * float(np.finfo(float).eps)  # of the largest time, for times near zero


@dataclass(frozen=True)
class Result:
    """How a solve ended: whether it may be used, and why it stopped."""

    successful: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Trajectory:
    """States along a clock.

    Attributes:
        ts: Saved times; after `until` fired, only those before it.
        states: The saved states, stacked along a leading time axis in every leaf.
        final: The state where the solve ended.
        final_time: The time of `final`; before the last requested time where `until` fired.
        observables: What was recorded at `ts`, by name, along a leading time axis.
        result: Whether the solve succeeded, and why it ended.
        stats: Counts of work done, such as `num_accepted_steps` and `num_evaluations`, and under
            `phases` what each solver did.
        clock: What `ts` counts: "flow time", or "steps" for a descent without a learning rate.
        interpolation: The state at any time in between, where `dense=True` was asked for.
    """

    ts: Float[np.ndarray, " time"] = field(repr=False)
    states: PyTree = field(repr=False)
    final: PyTree = field(repr=False)
    final_time: float
    observables: Mapping[str, PyTree] = field(repr=False)
    result: Result
    stats: Mapping[str, Any]
    clock: str = FLOW_TIME
    interpolation: Callable[[float], PyTree] | None = field(default=None, repr=False)

    def at(self, t: int | float) -> PyTree:
        """The state at a time: exact where it was saved, elsewhere interpolated if dense.

        Args:
            t: A time, in the units of `ts`.

        Returns:
            The state.

        Raises:
            ValueError: `t` was not saved and the trajectory is not dense, or it lies outside.
        """
        if (i := self.index(t)) is not None:
            return jax.tree.map(lambda leaf: leaf[i], self.states)
        if t == self.final_time:
            return self.final
        if not self.ts[0] <= t <= self.final_time:
            raise ValueError(
                f"Argument `t` must lie in [{self.ts[0]:g}, {self.final_time:g}], but it is {t:g}."
            )
        if self.interpolation is None:
            raise ValueError(
                f"Argument `t` must be a saved time, but {t:g} is not; integrate with `dense=True` "
                f"to read the trajectory anywhere."
            )
        return self.interpolation(t)

    def index(self, t: int | float) -> int | None:
        """Where `t` stands in `ts`, up to the rounding of a sum of steps; None if not saved."""
        i = int(np.abs(self.ts - t).argmin())
        tolerance = SAME_TIME * abs(t) + ROUNDING * float(np.abs(self.ts).max())
        return i if abs(self.ts[i] - t) <= tolerance else None

    def answers(self, t: int | float) -> bool:
        """Whether `at(t)` has a state to give."""
        if self.index(t) is not None or t == self.final_time:
            return True
        return self.interpolation is not None and bool(self.ts[0] <= t <= self.final_time)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the trajectory to a `.npz`, `.nc` (NetCDF) or `.zarr` path; see `flowkit.storage`.

        Args:
            path: Where to; what stands there is replaced once the new file is complete.

        Raises:
            ValueError: the suffix is none of these, or the trajectory holds what is no number.
            ImportError: `.nc` and `.zarr` need the extra `labelled`.
        """
        from flowkit.storage import save_trajectory

        save_trajectory(self, path)

    @staticmethod
    def load(path: str | PathLike[str], *, like: PyTree = None) -> "Trajectory":
        """Read what `save` wrote, bit for bit, without the interpolant of a dense trajectory.

        Args:
            path: Where from.
            like: A state of the same structure, needed where states are Equinox modules or named
                tuples.

        Returns:
            The trajectory.

        Raises:
            ValueError: the file holds no trajectory, or `like` is missing or does not fit.
            FileNotFoundError: there is no such file.
        """
        from flowkit.storage import load_trajectory

        return load_trajectory(path, like=like)

    def to_xarray(self) -> "xarray.Dataset":
        """The trajectory as a labelled dataset, with the coordinate `time`.

        Raises:
            ImportError: the extra `labelled` is not installed.
        """
        from flowkit.storage import to_dataset

        return to_dataset(self)


def checked_times(ts: Times) -> Float[np.ndarray, " time"]:
    """Save times as an array, refused unless at least two, finite and strictly increasing."""
    times = np.asarray(ts)
    if times.ndim != 1 or times.size < 2 or times.dtype.kind not in "fiu":
        raise ValueError(
            f"Argument `ts` must be at least two real times, but it has shape {times.shape} and "
            f"type {times.dtype}."
        )
    times = times.astype(float)
    if not np.isfinite(times).all():
        raise ValueError(
            f"Argument `ts` must be finite, but it has {np.count_nonzero(~np.isfinite(times))} "
            f"non-finite values."
        )
    falls = np.flatnonzero(np.diff(times) <= 0)
    if falls.size:
        i = falls[0]
        raise ValueError(
            f"Argument `ts` must be strictly increasing, but `ts[{i}]` is {times[i]:g} and "
            f"`ts[{i + 1}]` is {times[i + 1]:g}."
        )
    return times


def checked_state(y0: PyTree) -> PyTree:
    """An initial state of real arrays, finite as far as their values are known.

    The functions in a model, such as its activation, become part of its structure, so that the
    state holds arrays alone and still is a model that can be called.
    """
    y0 = jax.tree.map(lambda leaf: Partial(leaf) if _is_function(leaf) else leaf, y0)
    for i, leaf in enumerate(jax.tree.leaves(y0)):
        traced = isinstance(leaf, Tracer)
        dtype = leaf.dtype if traced else np.asarray(leaf).dtype
        if dtype.kind not in "fiu" and not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(
                f"Argument `y0` must be real, but its leaf {i} is of type {dtype}; "
                f"`equinox.partition` takes such leaves out of a model."
            )
        if not traced and not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"Argument `y0` must be finite, but its leaf {i} is not.")
    return jax.tree.map(_as_floating, y0)


def _is_function(leaf: object) -> bool:
    return callable(leaf) and not isinstance(leaf, jax.Array | np.ndarray)


def _as_floating(leaf: Num[ArrayLike, "..."]) -> Float[Array, "..."]:
    array = jnp.asarray(leaf)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
