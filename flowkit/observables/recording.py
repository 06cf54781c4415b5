"""Recording observables along a trajectory, on the host in pieces that an interrupt can end."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field as dataclass_field
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree, Scalar

from flowkit.observables.timed import AbstractTimedObservable, Observable
from flowkit.trajectory import Result

WINDOW_BYTES = 32 * 2**20  # of saved states that a device holds at a time
PAUSE = 0.25  # seconds within which an interrupt waits, where one state takes no longer
SavedTimes = Float[np.ndarray | Array, " time"]


def is_traced(*trees: PyTree) -> bool:
    """Whether a JAX transformation is at work on any leaf."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def checked_observables(
    observables: Mapping[str, Observable] | None,
    ts: SavedTimes | None = None,
    y0: PyTree = None,
) -> dict[str, Observable]:
    """Observables by name, refused unless each is a function that has a value at all of `ts`.

    With a state `y0` they are refused, too, unless they can be evaluated on it; nothing is computed
    to find that out.
    """
    if observables is None:
        return {}
    if not isinstance(observables, Mapping) or not all(map(_is_observable, observables.values())):
        raise ValueError(
            f"Argument `observables` must map names to functions of the state, but it is "
            f"{observables!r}."
        )
    for name, observable in observables.items():
        if isinstance(observable, AbstractTimedObservable) and ts is not None:
            observable.check(np.asarray(ts))
        if y0 is not None and ts is not None:
            _check_value(name, observable, y0)
    return dict(observables)


def _check_value(name: str, observable: Observable, y0: PyTree) -> None:
    """Refuse an observable that raises on a state, or gives no numbers."""
    t = jax.ShapeDtypeStruct((), jnp.result_type(float))
    try:
        value = eqx.filter_eval_shape(_value, observable, t, y0)
    except Exception as error:
        cause = (str(error).strip() or "no reason").splitlines()[0]
        raise ValueError(
            f"Argument `observables` must hold functions that give numbers at the state `y0`, but "
            f"`{name}` raises a {type(error).__name__}: {cause}"
        ) from error
    if not jax.tree.leaves(value):
        raise ValueError(
            f"Argument `observables` must hold functions that give numbers at the state `y0`, but "
            f"`{name}` gives {value!r}."
        )


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
    recording = _Recording.of(observables, states, ts)
    if recording is None:
        return _record_traced(observables, states, None if ts is None else jnp.asarray(ts))
    recording.run()
    return recording.values()


def record_until_interrupted(
    observables: Mapping[str, Observable],
    states: PyTree,
    ts: Float[np.ndarray, " time"],
    result: Result,
) -> tuple[dict[str, Any], Result]:
    """As `record` at the end of a solve, of which an interrupt (Ctrl-C) loses nothing.

    What was not recorded before the interrupt is NaN, integers and truth values becoming floats.

    Args:
        observables: Functions of the state, or of time and state, by name.
        states: The states.
        ts: Their times.
        result: How the solve ended.

    Returns:
        What each observable gave, and `result`, or a failure that tells of the interrupt.
    """
    recording = None
    try:
        recording = _Recording.of(observables, states, ts)
        if recording is None:
            return record(observables, states, ts), result
        recording.run()
    except KeyboardInterrupt:
        count = 0 if recording is None else recording.count
        reason = f"interrupted while observables were recorded, {count} of {len(ts)} times"
        result = Result(successful=False, reason=reason)
    return {} if recording is None else recording.values(), result


@dataclass(eq=False)
class _Recording:
    """Observables on their way along the saved states, which an interrupt may end between two rows.

    Attributes:
        shapes: Of the observables at one state.
        count: How many rows have been recorded.
        windows: What was recorded, window by window; the last may be incomplete.
    """

    observables: Mapping[str, Observable]
    ts: Float[np.ndarray, " time"] | None
    states: PyTree
    shapes: PyTree
    count: int = 0
    windows: list[PyTree] = dataclass_field(default_factory=list)

    @classmethod
    def of(
        cls, observables: Mapping[str, Observable], states: PyTree, ts: SavedTimes | None
    ) -> "_Recording | None":
        """A recording to run on the host; None where there is nothing to run, or it is traced."""
        if not observables or is_traced(states, ts):
            return None
        saved = (None if ts is None else np.asarray(ts), states)
        point = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), saved)
        jaxpr, shapes, _ = eqx.filter_make_jaxpr(_values)(observables, *point)
        return None if is_traced(jaxpr.consts) else cls(observables, *saved, shapes)

    def run(self) -> None:
        """Record row after row: as many at a time as are done before an interrupt waits long."""
        rows = 1
        saved = (self.ts, self.states)
        for part in _windows(jax.tree.leaves(self.states)):
            window = jax.tree.map(lambda leaf, part=part: jnp.asarray(leaf[part]), saved)
            size = len(jax.tree.leaves(window)[0])
            self.windows.append(self._blank(size))
            done = 0
            while done < size:
                began = time.perf_counter()
                stop = min(done + rows, size)
                bounds = (jnp.asarray(done), jnp.asarray(stop))
                recorded = _fill(self.observables, window, self.windows[-1], *bounds)
                self.windows[-1] = jax.block_until_ready(recorded)
                self.count, done = self.count + stop - done, stop
                quick = time.perf_counter() - began < PAUSE
                rows = 2 * rows if quick else max(rows // 2, 1)

    def values(self) -> dict[str, Any]:
        """What has been recorded; NaN stands for what has not, in place of integers too."""
        total = len(jax.tree.leaves(self.states)[0])
        if self.count == total:
            return _joined(self.windows)

        def padded(shape: jax.ShapeDtypeStruct, *parts: Array) -> Array:
            dtype = shape.dtype if jnp.issubdtype(shape.dtype, jnp.inexact) else float
            known = jnp.concatenate(parts)[: self.count] if parts else jnp.zeros((0, *shape.shape))
            rest = jnp.full((total - self.count, *shape.shape), jnp.nan, dtype)
            return jnp.concatenate([known.astype(dtype), rest])

        return jax.tree.map(padded, self.shapes, *self.windows)

    def _blank(self, size: int) -> PyTree:
        return jax.tree.map(lambda one: jnp.zeros((size, *one.shape), one.dtype), self.shapes)


def _joined(windows: list[PyTree]) -> PyTree:
    if len(windows) == 1:
        return windows[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *windows)


def _windows(leaves: list[Array | np.ndarray]) -> list[slice]:
    """Consecutive rows of equal number, as many as fit into a window of device memory."""
    count, size = len(leaves[0]), sum(leaf.nbytes for leaf in leaves)
    most = max(1, WINDOW_BYTES * count // max(size, 1))
    return [slice(start, start + most) for start in range(0, count, most)]


@eqx.filter_jit
def _record_traced(
    observables: Mapping[str, Observable], states: PyTree, ts: Float[Array, " time"] | None
) -> dict[str, Any]:
    """All rows at once, in a loop that reverse mode can pass."""
    return jax.lax.map(lambda point: _values(observables, *point), (ts, states))


@eqx.filter_jit
def _fill(
    observables: Mapping[str, Observable],
    window: tuple[Float[Array, " time"] | None, PyTree],
    recorded: PyTree,
    start: Int[Array, ""],
    stop: Int[Array, ""],
) -> PyTree:
    """What is recorded, with rows `start` to `stop` of a window put in."""

    def put(i: Int[Array, ""], recorded: PyTree) -> PyTree:
        at_row = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False)
        insert = lambda all, one: jax.lax.dynamic_update_index_in_dim(all, one, i, 0)
        return jax.tree.map(insert, recorded, _values(observables, *jax.tree.map(at_row, window)))

    return jax.lax.fori_loop(start, stop, put, recorded)


def _values(
    observables: Mapping[str, Observable], t: Scalar | None, state: PyTree
) -> dict[str, PyTree]:
    return {name: _value(function, t, state) for name, function in observables.items()}


@eqx.filter_jit
def _value(observable: Observable, t: Scalar | None, state: PyTree) -> PyTree:
    """The value at one time; traced once for all the uses of equal observables and shapes."""
    timed = isinstance(observable, AbstractTimedObservable)
    value = observable.at(cast(Array, t), state) if timed else observable(state)
    return jax.tree.map(jnp.asarray, value)


def _is_observable(observable: object) -> bool:
    return callable(observable) or isinstance(observable, AbstractTimedObservable)
