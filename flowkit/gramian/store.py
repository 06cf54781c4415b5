"""Gram matrices in a Zarr store: a group of version 3, an array for each kind, a chunk for a tile.

The group's attribute `gram` is the manifest, see `flowkit.gramian`. A chunk carries its CRC-32C and
takes the place of an older one in one step, so that a reader finds the whole tile or none. Nan is
what is not computed.
"""

import contextlib
import dataclasses
import time
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

import flowkit
from flowkit.gramian.descriptions import Description
from flowkit.gramian.geometry import Axis, Cut, Tile
from flowkit.gramian.work import Values
from flowkit.kernels.checks import KINDS, Kind

Tiles = int | slice
Store = Any  # a path, or a store of the library zarr

MANIFEST, FORMAT, FORMAT_VERSION = "gram", "flowkit Gram matrix", 1
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
            return self.arrays[kind].get_block_selection(tile)
        except ValueError:  # the checksum is another one
            return np.full(self.cut.shape(tile), np.nan, self.arrays[kind].dtype)

    def read_intact(self, kind: str, block: tuple[Tiles, Tiles]) -> Values:
        """The values of a tile, or of a range of tiles.

        Raises:
            ValueError: a tile is damaged.
        """
        try:
            return self.arrays[kind].get_block_selection(block)
        except ValueError as error:
            raise ValueError(
                f"Store `{self.group.store}` must hold what was written, but in its {kind} a tile "
                f"of {block} is damaged; `flowkit.gram` computes it again."
            ) from error

    def write(self, kind: str, tile: Tile, values: Values) -> None:
        """Keep the values of a tile."""
        self.arrays[kind].set_block_selection(tile, values)

    def with_inputs(self, name: str, inputs: Shaped[np.ndarray, "n ..."]) -> Any:
        """Inputs, written to the store for those who compute elsewhere."""
        axis = self.cut.rows if name == "x" else self.cut.columns
        chunks = (axis.tile, *inputs.shape[1:])
        array = _array(self.group, name, inputs.shape, chunks, str(inputs.dtype))
        array[...] = inputs
        return array


def existing_manifest(store: Store) -> Description | None:
    """The manifest of a store; None where there is nothing yet.

    Raises:
        ValueError: there is something else, or it is damaged or of a newer format.
        ImportError: zarr is not installed.
    """
    zarr = zarr_library()
    try:
        group = zarr.open_group(_location(store), mode="r")
        manifest = group.attrs.get(MANIFEST)
    except FileNotFoundError:
        if _is_occupied(store):
            raise ValueError(_not_a_gram(store)) from None
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(_not_a_gram(store)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(_not_a_gram(store))
    if manifest["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"Argument `store` must be of format version {FORMAT_VERSION} or older, but `{store}` "
            f"is of version {manifest['format_version']}, written by flowkit "
            f"{manifest['flowkit_version']}."
        )
    return manifest


def new_manifest(description: Description, rows: Description, columns: Description | None) -> Any:
    """The manifest of a matrix: what it is, and its points."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "flowkit_version": flowkit.__version__,
        "description": description,
        "rows": rows,
        "columns": columns,
    }


def cut_of(manifest: Description) -> Cut:
    """How the matrix of a manifest is cut into tiles."""
    axes = [
        Axis(axis["tile"], tuple(count for count, _ in axis["batches"]))
        for axis in (manifest["rows"], manifest["columns"] or manifest["rows"])
    ]
    return Cut(*axes, symmetric=manifest["columns"] is None)


def opened(store: Store, manifest: Description, kinds: tuple[Kind, ...]) -> ZarrTiles:
    """The store of a matrix, made or grown to what the manifest says, with arrays of some kinds."""
    zarr, place, cut = zarr_library(), _location(store), cut_of(manifest)
    try:
        group, fresh = zarr.open_group(place, mode="r+"), False
        if dict(group.attrs).get(MANIFEST) != manifest:
            group.attrs[MANIFEST] = manifest
    except FileNotFoundError:
        group, fresh = zarr.create_group(place, attributes={MANIFEST: manifest}), True
    shape, tile = (cut.rows.points, cut.columns.points), (cut.rows.tile, cut.columns.tile)
    dtype = manifest["description"]["dtype"]
    arrays = {kind: _array(group, kind, shape, tile, dtype) for kind in kinds}
    _sweep(store)
    return ZarrTiles(group, cut, arrays, fresh)


def opened_to_read(store: Store, kind: Kind) -> ZarrTiles:
    """The store of a matrix.

    Raises:
        ValueError: it holds no Gram matrix, or not this kind.
        ImportError: zarr is not installed.
    """
    manifest = existing_manifest(store)
    if manifest is None:
        raise ValueError(f"Argument `store` must hold a Gram matrix, but `{store}` is empty.")
    group = zarr_library().open_group(_location(store), mode="r")
    if kind not in group:
        held = " and ".join(f"`{name}`" for name in KINDS if name in group)
        raise ValueError(f"Argument `kind` must be {held} for this store, but it is `{kind}`.")
    return ZarrTiles(group, cut_of(manifest), {kind: group[kind]}, fresh=False)


def zarr_library() -> Any:
    """The library zarr.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module("zarr")
    except ModuleNotFoundError as error:
        raise ImportError(
            "A store needs `zarr`, which is not installed: pip install 'gradient-flowkit[scale]'. "
            "Without a store the matrix is kept in memory."
        ) from error


def _array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> Any:
    """An array of a group, made or grown to a shape."""
    if name not in group:
        from zarr.codecs import Crc32cCodec

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


def _location(store: Store) -> Any:
    return str(store) if isinstance(store, str | PathLike) else store


def _is_occupied(store: Store) -> bool:
    """Whether a path is that of a file or of a folder with something in it."""
    if not isinstance(store, str | PathLike):
        return False
    path = Path(store)
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _not_a_gram(store: Store) -> str:
    return f"Argument `store` must be empty or hold a Gram matrix, but `{store}` holds neither."


def _sweep(store: Store) -> None:
    """Remove files that a killed process left unfinished, once they are old enough."""
    if not isinstance(store, str | PathLike):
        return
    for path in Path(store).rglob("*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
