"""The kernel values of a tile: what is there is kept, what is missing is computed."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from flowkit.gramian.geometry import Cut, Part, Span, Tile
from flowkit.kernels.base import AbstractKernel
from flowkit.kernels.checks import KINDS, Kind

Values = Float[np.ndarray, "_ _"]  # nan where not computed
Found = dict[str, Values]
Slices = Any  # an array of inputs, in memory or in a store, of which slices are taken


@runtime_checkable
class Tiles(Protocol):
    """Where the tiles of a matrix are kept; `fresh` where it is known that there are none yet."""

    @property
    def fresh(self) -> bool: ...

    def read(self, kind: str, tile: Tile) -> Values:
        """The values of a tile, nan where there are none."""
        ...

    def write(self, kind: str, tile: Tile, values: Values) -> None:
        """Keep the values of a tile."""
        ...


@dataclasses.dataclass(frozen=True)
class Work:
    """All that it takes to compute any tile, here or elsewhere.

    Attributes:
        kernel: The kernel.
        kinds: What is wanted of it; both come in one pass.
        x, z: Inputs; the columns are those of x where z is None.
        cut: The matrix, cut into tiles.
        tiles: Where they are kept.
        x64: JAX's mode of that name where the work was described, for those who do it elsewhere.
    """

    kernel: AbstractKernel
    kinds: tuple[Kind, ...]
    x: Slices
    z: Slices | None
    cut: Cut
    tiles: Tiles
    x64: bool

    def missing(self, tile: Tile) -> int:
        """How many pairs of a tile are not there."""
        is_fresh = self.tiles.fresh
        parts = self.cut.parts(tile) if is_fresh else self._missing_parts(tile, self._found(tile))
        return sum(part.pairs for part in parts)

    def complete(self, tile: Tile) -> None:
        """Compute and keep what is missing of a tile.

        Raises:
            ValueError: a kernel value is nan, or the kernel refuses.
        """
        found = self._found(tile)
        changed = {kind: values.copy() for kind, values in found.items()}
        for part in self._missing_parts(tile, found):
            inside = part.inside(self.cut.origin(tile))
            kinds = tuple(k for k in self.kinds if np.isnan(found[k][inside]).any())
            for kind, values in self._computed(part, kinds).items():
                _put(changed[kind], part, inside, values)
        for kind, values in changed.items():
            if np.isnan(found[kind]).any():
                self.tiles.write(kind, tile, values)

    def _found(self, tile: Tile) -> Found:
        return {kind: self.tiles.read(kind, tile) for kind in self.kinds}

    def _missing_parts(self, tile: Tile, found: Found) -> list[Part]:
        """The parts of which a value is missing, of either kind."""
        origin = self.cut.origin(tile)
        missing = lambda part: any(np.isnan(v[part.inside(origin)]).any() for v in found.values())
        return [part for part in self.cut.parts(tile) if missing(part)]

    def _computed(self, part: Part, kinds: tuple[str, ...]) -> Found:
        """The kernel values of a part, of some kinds."""
        with jax.enable_x64(self.x64):
            rows = _taken(self.x, part.rows)
            columns = None if part.diagonal else _taken(self._columns, part.columns)
            if len(kinds) == len(KINDS):
                found = self.kernel.grams(rows, columns)._asdict()
            else:
                found = {kind: self.kernel.gram(rows, columns, kind=kind) for kind in kinds}
            values = {kind: np.asarray(found[kind]) for kind in kinds}
        for kind in kinds:
            _check_values(kind, values[kind], part)
        return values

    @property
    def _columns(self) -> Slices:
        return self.x if self.z is None else self.z


def _put(into: Values, part: Part, inside: tuple[slice, slice], values: Values) -> None:
    """Write a part, and its mirror image if that is in the tile."""
    rows, columns = inside
    into[rows, columns] = values
    if part.mirrored:
        into[columns, rows] = values.T


def _taken(inputs: Slices, span: Span) -> Shaped[jax.Array, "points ..."]:
    return jnp.asarray(np.asarray(inputs[slice(*span)]))


def _check_values(kind: str, values: Values, part: Part) -> None:
    """Refuse nan, which stands for what is not computed."""
    bad = np.argwhere(np.isnan(values))
    if len(bad):
        row, column = bad[0] + (part.rows[0], part.columns[0])
        raise ValueError(
            f"Argument `kernel` must give numbers, but its {kind} of row {row} and column "
            f"{column} is nan."
        )


class MemoryTiles:
    """Tiles in one array of each kind, both triangles of it."""

    fresh = True

    def __init__(self, cut: Cut, kinds: tuple[Kind, ...], dtype: np.dtype):
        """Room for the matrices."""
        self.cut = cut
        shape = cut.rows.points, cut.columns.points
        self.matrices = {kind: np.full(shape, np.nan, dtype) for kind in kinds}

    def read(self, kind: str, tile: Tile) -> Values:
        """The values of a tile, nan where there are none."""
        rows, columns = (slice(*span) for span in self.cut.spans(tile))
        return self.matrices[kind][rows, columns]

    def write(self, kind: str, tile: Tile, values: Values) -> None:
        """Keep the values of a tile, and of its mirror image."""
        rows, columns = (slice(*span) for span in self.cut.spans(tile))
        self.matrices[kind][rows, columns] = values
        if self.cut.symmetric:
            self.matrices[kind][columns, rows] = values.T
