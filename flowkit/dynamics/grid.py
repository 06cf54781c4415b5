"""The points of a sweep: a product of values, and what is solved at each of them."""

import itertools
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field as dataclass_field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from flowkit.fields import AbstractVectorField
from flowkit.observables import Observable, checked_observables
from flowkit.trajectory import checked_state

Make = Callable[..., tuple[AbstractVectorField, PyTree]]
Observables = Mapping[str, Observable] | Callable[..., Mapping[str, Observable]]


@dataclass(frozen=True, eq=False)
class Case:
    """One point of a sweep, and what is solved there.

    Attributes:
        index: Its place in the grid, the last name running fastest.
        point: The value of each name.
        flow: The field.
        y0: Where it starts.
        observables: What is recorded.
    """

    index: int
    point: Mapping[str, Any]
    flow: AbstractVectorField = dataclass_field(repr=False)
    y0: PyTree = dataclass_field(repr=False)
    observables: Mapping[str, Observable] = dataclass_field(repr=False)

    @property
    def label(self) -> str:
        return label(self.point)


def label(point: Mapping[str, Any]) -> str:
    """A point for people to read."""
    return ", ".join(f"{name}={value!r}" for name, value in point.items())


def checked_grid(over: Mapping[str, Sequence[Any] | np.ndarray]) -> dict[str, tuple[Any, ...]]:
    """The values by name, as plain Python ones.

    Raises:
        ValueError: there are none, a name cannot be a keyword of a function, or the values of a
            name are not distinct numbers or distinct texts.
    """
    if not isinstance(over, Mapping) or not over:
        raise ValueError(
            f"Argument `over` must map names to values, such as {{'depth': [2, 3]}}, but it is "
            f"{over!r}."
        )
    for name in over:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(
                f"Argument `over` must have names that are keywords of `make`, but has {name!r}."
            )
    return {name: _checked_values(name, values) for name, values in over.items()}


def _checked_values(name: str, values: Any) -> tuple[Any, ...]:
    iterable = np.iterable(values) and not isinstance(values, str | bytes)
    plain = tuple(_as_plain(value) for value in values) if iterable else ()
    numbers = all(isinstance(value, bool | int | float) for value in plain)
    texts = all(isinstance(value, str) for value in plain)
    distinct = len(set(plain)) == len(plain) if numbers or texts else False
    if not plain or not distinct or any(value != value for value in plain):
        raise ValueError(
            f"Argument `over` must give distinct numbers or distinct texts for `{name}`, but gives "
            f"{values!r}. Let a text stand for anything else, and let `make` know its meaning."
        )
    return plain


def _as_plain(value: Any) -> Any:
    """A number of NumPy or JAX as Python's own, such as a depth, which has to be an int."""
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else object()


def points(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The points in their order, the last name running fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def made(
    make: Make,
    grid: Mapping[str, Sequence[Any]],
    observables: Observables | None,
    ts: Float[np.ndarray, " time"],
) -> list[Case]:
    """What `make` gives at every point, checked.

    An exception on the way says in a note at which point it came.

    Raises:
        ValueError: `make` gives something else than a field and a state that fits it, or the
            fields count time in different clocks.
    """
    cases: list[Case] = []
    for index, point in enumerate(points(grid)):
        try:
            cases.append(_made(make, index, point, observables, ts))
        except Exception as error:
            error.add_note(f"The point of the sweep is {label(point)}.")
            raise
        if (clock := cases[-1].flow.clock) != (first := cases[0].flow.clock):
            raise ValueError(
                f"Argument `make` must give fields of one clock, but it is {first!r} at "
                f"{cases[0].label} and {clock!r} at {cases[-1].label}."
            )
    return cases


def _made(
    make: Make,
    index: int,
    point: dict[str, Any],
    observables: Observables | None,
    ts: Float[np.ndarray, " time"],
) -> Case:
    pair = make(**point)
    if (
        not isinstance(pair, tuple)
        or len(pair) != 2
        or not isinstance(pair[0], AbstractVectorField)
    ):
        raise ValueError(
            f"Argument `make` must return a field and its initial state, but it returns a "
            f"`{type(pair).__name__}`."
        )
    flow, y0 = pair
    y0 = checked_state(y0)
    flow.check(y0)
    here = observables(**point) if callable(observables) else observables
    return Case(index, point, flow, y0, checked_observables(here, ts, y0))
