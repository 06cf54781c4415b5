"""The tiles of a Gram matrix in a Zarr store: an array for each kind, a chunk for a tile.

A chunk carries its CRC-32C and takes the place of an older one in one step, so that a reader finds
the whole tile or none. Nan is what is not computed.
"""

import contextlib
import dataclasses
import time
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from flowkit.gramian.descriptions import Description
from flowkit.gramian.geometry import Axis, Cut, Span, Tile
from flowkit.gramian.manifests import (
    MANIFEST,
    Store,
    TakenError,
    cut_of,
    existing_manifest,
    location,
    new_group,
    zarr_library,
)
from flowkit.gramian.work import Values
from flowkit.kernels.checks import KINDS, Kind

Tiles = int | slice

ABANDONED = 3600.0  # seconds after which an unfinished file is nobody's any more


@dataclasses.dataclass(frozen=True)
class ZarrTiles:
    """The tiles of a matrix in a store.

    Attributes:
        group: The Zarr group.
        cut: The matrix, cut into tiles.
        arrays: The array of each kind.
        fresh: Whether the store was made just now.
    """

    group: Any
    cut: Cut
    arrays: dict[str, Any]
    fresh: bool

    def read(self, kind: str, tile: Tile) -> Values:
        """The values of a tile, nan where there are none, or where the tile is damaged."""
        try:
            return self._values(kind, tile)
        except ValueError:  # the checksum is another one
            return np.full(self.cut.shape(tile), np.nan, self.arrays[kind].dtype)

    def read_intact(self, kind: str, block: tuple[Tiles, Tiles]) -> Values:
        """The values of a tile, or of a range of tiles.

        Raises:
            ValueError: a tile is damaged.
        """
        try:
            return self._values(kind, block)
        except ValueError as error:
            raise ValueError(
                f"Argument `store` must hold what was written, but in the {kind} of "
                f"`{self.group.store}` a tile of {block} is damaged; `flowkit.gram` computes it "
                f"again."
            ) from error

    def write(self, kind: str, tile: Tile, values: Values) -> None:
        """Keep the values of a tile.

        Raises:
            ValueError: another run has appended inputs, with which this tile would be a larger one.
        """
        if self.cut.shape(tile) != (self.cut.rows.tile, self.cut.columns.tile):
            self._check_size(kind)
        self.arrays[kind].set_block_selection(tile, values)

    def with_inputs(self, name: str, inputs: Shaped[np.ndarray, "n ..."]) -> Any:
        """Inputs, written to the store for those who compute elsewhere."""
        axis = self.cut.rows if name == "x" else self.cut.columns
        chunks = (axis.tile, *inputs.shape[1:])
        array = _array(self.group, name, inputs.shape, chunks, str(inputs.dtype))
        array[...] = inputs
        return array

    def _values(self, kind: str, block: tuple[Tiles, Tiles]) -> Values:
        """The values of a block, nan where the array, not grown yet, ends before it."""
        axes = self.cut.rows, self.cut.columns
        spans = [_points(axis, tiles) for axis, tiles in zip(axes, block, strict=True)]
        values = self.arrays[kind][tuple(slice(*span) for span in spans)]
        lacking = [
            (0, last - first - there)
            for (first, last), there in zip(spans, values.shape, strict=True)
        ]
        return np.pad(values, lacking, constant_values=np.nan) if np.any(lacking) else values

    def _check_size(self, kind: str) -> None:
        """Refuse to write to an array that is another one by now."""
        own, found = self.arrays[kind].shape, self.group[kind].shape
        if own != found:
            raise ValueError(
                f"Argument `store` must be left alone by other runs while inputs are appended, but "
                f"the {kind} of `{self.group.store}` has grown from {own} to {found}."
            )


def opened(
    store: Store, known: Description | None, manifest: Description, kinds: tuple[Kind, ...]
) -> ZarrTiles:
    """The store of a matrix, made or grown to what the manifest says, with arrays of some kinds.

    Args:
        store: The store.
        known: The manifest that was read in it; None if there was nothing.
        manifest: That of the matrix.
        kinds: The kinds.

    Raises:
        TakenError: what was read is no longer what is there.
    """
    place, cut, fresh = location(store), cut_of(manifest), known is None
    group = new_group(place, manifest) if known is None else _grown(place, known, manifest)
    shape, tile = (cut.rows.points, cut.columns.points), (cut.rows.tile, cut.columns.tile)
    dtype = manifest["description"]["dtype"]
    wanted = [kind for kind in KINDS if kind in kinds or kind in group]  # all grow, or none would
    arrays = {kind: _array(group, kind, shape, tile, dtype) for kind in wanted}
    _sweep(store)
    return ZarrTiles(group, cut, arrays, fresh)


def _grown(place: Any, known: Description, manifest: Description) -> Any:
    """The group of a matrix whose manifest is known, with another one."""
    try:
        group = zarr_library().open_group(place, mode="r+")
    except FileNotFoundError as error:
        raise TakenError from error
    if dict(group.attrs).get(MANIFEST) != known:
        raise TakenError
    if manifest != known:
        group.attrs[MANIFEST] = manifest
    return group


def opened_to_read(store: Store, kind: Kind) -> ZarrTiles:
    """The store of a matrix.

    Raises:
        ValueError: it holds no Gram matrix, or not this kind.
        ImportError: zarr is not installed.
    """
    manifest = existing_manifest(store)
    if manifest is None:
        raise ValueError(f"Argument `store` must hold a Gram matrix, but `{store}` is empty.")
    group = zarr_library().open_group(location(store), mode="r")
    if not any(name in group for name in KINDS):
        raise ValueError(f"Argument `store` must hold kernel values, but `{store}` holds none yet.")
    if kind not in group:
        held = " and ".join(f"`{name}`" for name in KINDS if name in group)
        raise ValueError(f"Argument `kind` must be {held} for this store, but it is `{kind}`.")
    return ZarrTiles(group, cut_of(manifest), {kind: group[kind]}, fresh=False)


def as_it_is(store: Store, cut: Cut, kinds: tuple[Kind, ...]) -> ZarrTiles | None:
    """The store of a matrix, only to be read, perhaps smaller than the cut; None without a kind."""
    try:
        group = zarr_library().open_group(location(store), mode="r")
    except FileNotFoundError:
        return None
    if not all(kind in group for kind in kinds):
        return None
    return ZarrTiles(group, cut, {kind: group[kind] for kind in kinds}, fresh=False)


def _array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> Any:
    """An array of a group, made or grown to a shape."""
    if name not in group:
        from zarr.codecs import Crc32cCodec

        with contextlib.suppress(zarr_library().errors.ContainsArrayError):  # of another run
            return group.create_array(
                name,
                shape=shape,
                chunks=chunks,
                dtype=dtype,
                fill_value=np.nan,
                filters=None,
                compressors=[Crc32cCodec()],  # values of a kernel hardly compress
            )
    array = group[name]
    if array.shape != shape:
        array.resize(shape)
    return array


def _points(axis: Axis, tiles: Tiles) -> Span:
    """The points of a tile, or of a range of tiles."""
    if isinstance(tiles, slice):
        return axis.span(tiles.start)[0], axis.span(tiles.stop - 1)[1]
    return axis.span(tiles)


def _sweep(store: Store) -> None:
    """Remove files that a killed process left unfinished, once they are old enough."""
    if not isinstance(store, str | PathLike):
        return
    for path in Path(store).rglob("*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
