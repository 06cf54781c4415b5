"""Gram matrices in a store as arrays: parts as NumPy's, the whole as Dask's, and products."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from flowkit.gramian.geometry import Axis, Tile
from flowkit.gramian.manifests import Store
from flowkit.gramian.store import ZarrTiles, opened_to_read
from flowkit.gramian.work import Values
from flowkit.kernels.checks import Kind, check_kind

if TYPE_CHECKING:
    import dask.array


@dataclasses.dataclass(frozen=True, eq=False)
class StoredGram:
    """A Gram matrix in a store, both triangles of it, of which only what is asked for is read.

    `gram[rows, columns]` takes numbers, slices and arrays of indices, and selects from both axes
    like `numpy.ix_`; `numpy.asarray(gram)` reads all. It is a function that multiplies some columns
    by the matrix, for `flowkit.regression.conjugate_gradients` and `nystrom`; each tile is read
    once for that, and memory holds one strip of tiles. What is not computed yet is nan.

    Attributes:
        tiles: The store.
        kind: Which of its kinds.
    """

    tiles: ZarrTiles
    kind: Kind

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        return self.tiles.cut.rows.points, self.tiles.cut.columns.points

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.tiles.arrays[self.kind].dtype)

    @property
    def symmetric(self) -> bool:
        """Whether it is the matrix of one set of points, of which a triangle is stored."""
        return self.tiles.cut.symmetric

    @property
    def complete(self) -> int:
        """How many first rows are there: with all columns, or of a symmetric matrix as a square."""
        cut = self.tiles.cut
        for tile in cut.tiles():
            if np.isnan(self.tiles.read(self.kind, tile)).any():
                return cut.origin(tile)[1 if cut.symmetric else 0]
        return cut.rows.points

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Float[np.ndarray, "..."]:
        """A part of the matrix.

        Raises:
            IndexError: there are more than two indices, or one is out of range.
            ValueError: a tile is damaged.
        """
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > 2 or any(k is None or k is Ellipsis for k in keys):
            raise IndexError(f"A Gram matrix takes an index of rows and one of columns, not {key}.")
        keys = (*keys, *(slice(None),) * (2 - len(keys)))
        rows, columns = (np.arange(n)[k] for n, k in zip(self.shape, keys, strict=True))
        found = self._selected(np.ravel(rows), np.ravel(columns))
        return found.reshape(rows.shape + columns.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001
        if copy is False:
            raise ValueError("A Gram matrix in a store must be copied to be an array.")
        return self[:, :].astype(dtype or self.dtype, copy=False)

    def __call__(self, columns: Float[np.ndarray, "z ..."]) -> Float[np.ndarray, "x ..."]:
        """The product of the matrix and a vector, or some columns.

        Raises:
            ValueError: they have other rows than the matrix has columns; or a tile is damaged.
        """
        if columns.ndim == 1:
            return self(columns[:, None])[:, 0]
        if columns.ndim != 2 or len(columns) != self.shape[1]:
            raise ValueError(
                f"Argument `columns` must be a vector or a matrix of {self.shape[1]} rows, but it "
                f"has shape {columns.shape}."
            )
        kind = np.result_type(self.dtype, columns.dtype)
        product = np.zeros((self.shape[0], columns.shape[1]), kind)
        for first, last, strip in self.strips():
            if not self.tiles.cut.symmetric:
                product[first:last] = strip @ columns
                continue
            product[:last] += strip @ columns[first:last]  # columns of the triangle
            product[first:last] += strip[:first].T @ columns[:first]
        return product

    def dask(self) -> "dask.array.Array":
        """The matrix as an array of Dask, a chunk for each tile.

        Raises:
            ImportError: Dask is not installed.
        """
        try:
            import dask.array
        except ModuleNotFoundError as error:
            raise ImportError(
                "The array needs `dask`, which is not installed: "
                "pip install 'gradient-flowkit[scale]'."
            ) from error
        chunks: Any = self.tiles.cut.rows.tile, self.tiles.cut.columns.tile
        return dask.array.from_array(self, chunks=chunks, name=False)

    def _selected(
        self, rows: Int[np.ndarray, " r"], columns: Int[np.ndarray, " c"]
    ) -> Float[np.ndarray, "r c"]:
        """Rows and columns, a tile at a time."""
        found = np.empty((len(rows), len(columns)), self.dtype)
        for i, above in _by_tile(rows, self.tiles.cut.rows):
            for j, left in _by_tile(columns, self.tiles.cut.columns):
                tile = self._tile((i, j))
                first, start = self.tiles.cut.origin((i, j))
                found[np.ix_(above, left)] = tile[
                    np.ix_(rows[above] - first, columns[left] - start)
                ]
        return found

    def _tile(self, tile: Tile) -> Values:
        """A tile, also one below the diagonal."""
        if self.tiles.cut.symmetric and tile[0] > tile[1]:
            return self.tiles.read_intact(self.kind, (tile[1], tile[0])).T
        return self.tiles.read_intact(self.kind, tile)

    def strips(self) -> Iterator[tuple[int, int, Values]]:
        """First and last index, and all tiles of some columns of a triangle, or of some rows.

        Raises:
            ValueError: a tile is damaged.
        """
        cut = self.tiles.cut
        for index in range((cut.columns if cut.symmetric else cut.rows).count):
            if cut.symmetric:
                yield (
                    *cut.columns.span(index),
                    self.tiles.read_intact(self.kind, (slice(0, index + 1), index)),
                )
            else:
                yield (
                    *cut.rows.span(index),
                    self.tiles.read_intact(self.kind, (index, slice(0, cut.columns.count))),
                )


def open_gram(store: Store, *, kind: str = "ntk") -> StoredGram:
    """A Gram matrix in a store, finished or not.

    Args:
        store: What `flowkit.gram` was given.
        kind: "ntk" or "nngp".

    Returns:
        The matrix; `complete` says how much of it is there.

    Raises:
        ValueError: there is no Gram matrix, or not of this kind.
        ImportError: the extra `scale` is not installed.

    Source:
        Checked by tests/gramian/test_store.py.
    """
    checked = check_kind(kind)
    return StoredGram(opened_to_read(store, checked), checked)


def _by_tile(
    indices: Int[np.ndarray, " n"], axis: Axis
) -> Iterator[tuple[int, Int[np.ndarray, " m"]]]:
    """For each tile the places of the indices that lie in it."""
    owners = indices // axis.tile
    for index in np.unique(owners):
        yield int(index), np.flatnonzero(owners == index)
