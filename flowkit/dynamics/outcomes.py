"""How the points of a sweep ended, and all of them as one labelled dataset."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PyTree, Scalar, Shaped

from flowkit.dynamics.grid import Case
from flowkit.fields import AbstractVectorField
from flowkit.observables import AbstractTimedObservable, Observable, record
from flowkit.trajectory import Result, Trajectory

if TYPE_CHECKING:
    import xarray

Times = Float[np.ndarray, " time"]
Values = Mapping[str, Shaped[np.ndarray, "..."]]

COUNTS = ("num_accepted_steps", "num_evaluations")
NOT_RUN = "not run"


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one point ended.

    Attributes:
        result: Whether it succeeded, and why it ended.
        series: What was recorded, by name, along the times that were reached.
        ends: What stood at the end, by name, and counts of work.
    """

    result: Result
    series: Values
    ends: Values


def outcome_of(case: Case, trajectory: Trajectory, ts: Times) -> Outcome:
    """What a dataset holds of a solve.

    All points record at equally many states, that of the end among them, so that observables of
    equal shapes are compiled once however many times were reached.
    """
    count, size = len(trajectory.ts), len(ts) + 1
    extended = lambda saved, end: _extended(np.asarray(saved), np.asarray(end), size)
    states = jax.tree.map(extended, trajectory.states, trajectory.final)
    recorded = record(case.observables, states, np.append(ts, trajectory.final_time))
    series, ends = {}, {}
    for name, tree in recorded.items():
        known = _is_known(case.observables[name], trajectory)
        for part, values in _parts(name, tree):
            series[part] = values[:count]
            ends[f"final_{part}"] = values[-1, ...] if known else np.full(values.shape[1:], np.nan)
    ends.setdefault("final_loss", np.asarray(_loss(case.flow, trajectory.final)))
    ends["final_time"] = np.asarray(trajectory.final_time)
    ends |= {n: np.asarray(trajectory.stats[n]) for n in COUNTS if n in trajectory.stats}
    return Outcome(trajectory.result, series, ends)


@eqx.filter_jit
def _loss(flow: AbstractVectorField, y: PyTree) -> Scalar:
    return flow.loss(y)


def _extended(
    saved: Shaped[np.ndarray, "saves ..."], end: Shaped[np.ndarray, "..."], size: int
) -> Shaped[np.ndarray, "size ..."]:
    """Saved states, and after them the state at the end as often as it takes."""
    return np.concatenate([saved, np.broadcast_to(end, (size - len(saved), *end.shape))])


def _is_known(observable: Observable, trajectory: Trajectory) -> bool:
    """Whether an observable has a value at the end: the state is finite, and its time is known."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trajectory.final)):
        return False
    if isinstance(observable, AbstractTimedObservable):
        try:
            observable.check(np.array([trajectory.final_time]))
        except ValueError:
            return False
    return True


def _parts(name: str, tree: PyTree) -> Iterator[tuple[str, Shaped[np.ndarray, "times ..."]]]:
    """The arrays of an observable; a part of a nested one is called `NAME.PATH`."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        part = jax.tree_util.keystr(path, simple=True, separator=".")
        yield f"{name}.{part}" if part else name, np.asarray(leaf)


def labelled(
    grid: Mapping[str, Sequence[Any]],
    ts: Times,
    outcomes: Sequence[Outcome | None],
    attributes: Mapping[str, Any],
) -> "xarray.Dataset":
    """The outcomes of all points of a grid in their order, None where there is none."""
    import xarray

    shape, dims = tuple(map(len, grid.values())), tuple(grid)
    reach = lambda flat: flat.reshape(*shape, *flat.shape[1:])
    results = [
        Result(successful=False, reason=NOT_RUN) if o is None else o.result for o in outcomes
    ]
    variables: dict[str, Any] = {
        "successful": (dims, reach(np.array([r.successful for r in results]))),
        "reason": (dims, reach(np.array([r.reason for r in results]))),
    }
    for kind, along, rows in (("series", ("time",), (len(ts),)), ("ends", (), ())):
        parts = [{} if o is None else getattr(o, kind) for o in outcomes]
        for name in dict.fromkeys(name for part in parts for name in part):
            values = _stacked([part.get(name) for part in parts], rows)
            axes = range(values.ndim - 1 - len(rows))
            extra = tuple(f"{name.removeprefix('final_')}:axis_{k}" for k in axes)
            variables[name] = ((*dims, *along, *extra), reach(values))
    coordinates = {name: np.array(values) for name, values in grid.items()}
    time = ("time", np.asarray(ts), {"long_name": attributes["clock"]})
    return xarray.Dataset(variables, {**coordinates, "time": time}, dict(attributes))


def _stacked(
    values: Sequence[Shaped[np.ndarray, "..."] | None], rows: tuple[int, ...]
) -> Shaped[np.ndarray, "points ..."]:
    """Arrays along a first axis, filled with NaN where one is missing or smaller than the largest.

    Axes that an array lacks count as axes of length 1 at its end.
    """
    arrays = [value for value in values if value is not None]
    shapes = [array.shape for array in arrays]
    whole = len(arrays) == len(values) and len(set(shapes)) == 1 and shapes[0][: len(rows)] == rows
    if whole:
        return np.stack(arrays)
    longest = [max(sizes) for sizes in itertools.zip_longest(*shapes, fillvalue=1)]
    longest[: len(rows)] = rows
    dtype = np.result_type(*(a.dtype if a.dtype.kind in "fc" else float for a in arrays))
    stacked = np.full((len(values), *longest), np.nan, dtype)
    for i, value in enumerate(values):
        if value is not None:
            value = value.reshape(value.shape + (1,) * (len(longest) - value.ndim))
            stacked[i, *map(slice, value.shape)] = value
    return stacked
