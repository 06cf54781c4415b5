"""The manifest of a Gram matrix in a Zarr store, and the group that is made with it.

It is the attribute `gram` of a group of version 3, see `flowkit.gramian`.
"""

import json
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

import flowkit
from flowkit.gramian.descriptions import Description
from flowkit.gramian.geometry import Axis, Cut

Store = Any  # a path, or a store of the library zarr

MANIFEST, FORMAT, FORMAT_VERSION = "gram", "flowkit Gram matrix", 1


class TakenError(Exception):
    """Another run has changed what is in this place since it was read."""


def existing_manifest(store: Store) -> Description | None:
    """The manifest of a store; None where there is nothing yet.

    Raises:
        ValueError: there is something else, or it is damaged or of a newer format.
        ImportError: zarr is not installed.
    """
    zarr = zarr_library()
    try:
        group = zarr.open_group(location(store), mode="r")
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


def new_group(place: Any, manifest: Description) -> Any:
    """The group of a matrix, unless another run makes its own in the same place first.

    In a folder, in memory and in object stores that is certain; elsewhere, and in a store that is
    given by its URL, another run may come between the look and the deed.

    Raises:
        TakenError: there is something now, with another manifest.
    """
    zarr = zarr_library()
    is_folder = isinstance(place, str) and "://" not in place
    store = zarr.storage.LocalStore(place) if is_folder else place
    try:
        if not isinstance(store, zarr.abc.store.Store):
            return zarr.create_group(store, attributes={MANIFEST: manifest})
        _write_if_new(store, {MANIFEST: manifest})
        group = zarr.open_group(store, mode="r+")
    except (zarr.errors.ContainsGroupError, zarr.errors.ContainsArrayError) as error:
        raise TakenError from error
    if dict(group.attrs).get(MANIFEST) != manifest:
        raise TakenError
    return group


def _write_if_new(store: Any, attributes: Description) -> None:
    """The metadata of a group of Zarr 3, which make it one, in one step and only if it is none."""
    from zarr.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    content = default_buffer_prototype().buffer.from_bytes(json.dumps(document).encode())
    sync(store.set_if_not_exists("zarr.json", content))


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


def location(store: Store) -> Any:
    """A path that is the same for a worker that runs in another folder; or the store given."""
    if not isinstance(store, str | PathLike):
        return store
    return str(store) if "://" in str(store) else str(Path(store).absolute())


def _is_occupied(store: Store) -> bool:
    """Whether a path is that of a file or of a folder with something finished in it."""
    if not isinstance(store, str | PathLike):
        return False
    path = Path(store)
    return path.is_file() or (path.is_dir() and any(p.suffix != ".partial" for p in path.iterdir()))


def _not_a_gram(store: Store) -> str:
    return f"Argument `store` must be empty or hold a Gram matrix, but `{store}` holds neither."
