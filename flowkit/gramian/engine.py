"""The front door of the room: what a call asks for, and the run over all tiles."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Num

from flowkit.gramian.cluster import Client, check_client, completed_by
from flowkit.gramian.descriptions import (
    Description,
    Inputs,
    describe_kernel,
    differences,
    differing_points,
    fingerprints,
)
from flowkit.gramian.geometry import Axis, Cut, Tile, balanced, usual_tile
from flowkit.gramian.manifests import (
    Store,
    TakenError,
    cut_of,
    existing_manifest,
    new_manifest,
)
from flowkit.gramian.meter import Report, metered
from flowkit.gramian.store import ZarrTiles, as_it_is, opened
from flowkit.gramian.views import StoredGram
from flowkit.gramian.work import MemoryTiles, Work
from flowkit.kernels.base import AbstractKernel, Grams
from flowkit.kernels.checks import KINDS, Kind, check_inputs, check_kind
from flowkit.kernels.layers import check_integer

Gram = Float[np.ndarray, "x z"] | StoredGram
Sides = tuple[Inputs, Inputs | None]  # x and z


def gram(
    kernel: AbstractKernel,
    x: Num[ArrayLike, "x ..."],
    z: Num[ArrayLike, "z ..."] | None = None,
    *,
    kind: str = "ntk",
    store: Store | None = None,
    client: Client | None = None,
    tile: int | None = None,
    progress: bool | Report = True,
) -> Gram | Grams:
    """Kernel values of all pairs, tile by tile: in memory, or in a store that outlives the run.

    A store is what makes a run resumable: the same call goes on where an earlier one ended, however
    it ended. With more inputs than before, after those of before, only the new pairs are computed.
    Of a symmetric matrix only one triangle is computed and stored; its leading squares grow.

    Args:
        kernel: The kernel.
        x: Inputs, along the first axis.
        z: Further inputs; x itself where omitted.
        kind: "ntk", "nngp", or "both" in one pass. A kind can be added to a store later.
        store: A folder, made if need be, or another store of the library zarr; see
            `flowkit.gramian` for what is in it. Needs the extra `scale`.
        client: A `distributed.Client`, whose workers compute the tiles and write them to the store,
            which all of them have to reach by the path given.
        tile: Rows and columns of a tile, which is what a killed process loses at most; about a 16th
            of the inputs, from 16 to 256, where omitted. A store keeps that of its first run.
        progress: Whether to show on standard error how far the matrix is, with pairs per second
            and the time left; or a function that is called with pairs done and pairs in all.

    Returns:
        The Gram matrix, x by z, equal to `kernel.gram(x, z, kind=kind)` to rounding and exactly
        symmetric where z is omitted: an array, or with a store a `StoredGram`, which is read a part
        at a time. Of "both" kinds two such, as `ntk` and `nngp` of `flowkit.kernels.base.Grams`.

    Raises:
        ValueError: the store holds another matrix, or something else; `tile` is no integer of at
            least 1; a client comes without a store; a kernel value is nan; or the kernel refuses an
            argument.
        ImportError: the extra `scale` is needed and not installed.

    Source:
        Checked by tests/gramian/.
    """
    kinds = _kinds(kind)
    _check_tile(tile)
    if client is not None:
        check_client(client)
        if store is None:
            raise ValueError(
                "Argument `store` must be given with `client`: a place where all workers write."
            )
    sides = _sides(kernel, x, z)
    cut, tiles = _tiles(kernel, kinds, sides, tile, store)
    _complete(Work(kernel, kinds, *sides, cut, tiles, _has_x64()), client, progress)
    if isinstance(tiles, ZarrTiles):
        found = [StoredGram(tiles, kind) for kind in kinds]
    else:
        found = [tiles.matrices[kind] for kind in kinds]
    return found[0] if len(found) == 1 else Grams(*found)


def missing_pairs(
    kernel: AbstractKernel,
    x: Num[ArrayLike, "x ..."],
    z: Num[ArrayLike, "z ..."] | None = None,
    *,
    kind: str = "ntk",
    store: Store,
    tile: int | None = None,
) -> int:
    """How many pairs `gram` would compute with the same arguments. The store is only read.

    Raises:
        ValueError: as `gram`.
        ImportError: the extra `scale` is not installed.

    Source:
        Checked by tests/gramian/test_store.py.
    """
    kinds, sides = _kinds(kind), _sides(kernel, x, z)
    _check_tile(tile)
    cut = cut_of(_manifests(kernel, sides, tile, store)[1])
    tiles = as_it_is(store, cut, kinds)
    if tiles is None:
        return cut.pairs()
    work = Work(kernel, kinds, *sides, cut, tiles, _has_x64())
    return sum(work.missing(each) for each in cut.tiles())


def _kinds(kind: str) -> tuple[Kind, ...]:
    if kind not in (*KINDS, "both"):
        raise ValueError(f"Argument `kind` must be `ntk`, `nngp` or `both`, but it is `{kind!r}`.")
    return KINDS if kind == "both" else (check_kind(kind),)


def _check_tile(tile: int | None) -> None:
    if tile is not None:
        check_integer("tile", tile, least=1)


def _sides(
    kernel: AbstractKernel, x: Num[ArrayLike, "x ..."], z: Num[ArrayLike, "z ..."] | None
) -> Sides:
    rows, columns = check_inputs(x, x if z is None else z, ("inputs", *kernel.axes))
    return np.asarray(rows), None if z is None else np.asarray(columns)


def _has_x64() -> bool:
    return bool(jax.config.read("jax_enable_x64"))


def _tiles(
    kernel: AbstractKernel,
    kinds: tuple[Kind, ...],
    sides: Sides,
    tile: int | None,
    store: Store | None,
) -> tuple[Cut, MemoryTiles | ZarrTiles]:
    """How the matrix is cut, and where its tiles are: in memory, or in a store, new or not."""
    x, z = sides
    if store is None:
        axes = [Axis(_tile_size(i, tile), (len(i),)) for i in (x, x if z is None else z)]
        cut = Cut(*axes, symmetric=z is None)
        return cut, MemoryTiles(cut, kinds, x.dtype)
    try:
        tiles = opened(store, *_manifests(kernel, sides, tile, store), kinds)
    except TakenError:  # by a run at the same time
        return _tiles(kernel, kinds, sides, tile, store)
    return tiles.cut, tiles


def _manifests(
    kernel: AbstractKernel, sides: Sides, tile: int | None, store: Store
) -> tuple[Description | None, Description]:
    """The manifest in the store, if any, and that of the matrix, grown if there are more inputs."""
    x, z = sides
    description = {
        "kernel": describe_kernel(kernel),
        "dtype": str(x.dtype),
        "input_shape": list(x.shape[1:]),
        "symmetric": z is None,
    }
    known = existing_manifest(store)
    if known is not None:
        _check_same(store, known, description, sides)
    rows = _batches(known and known["rows"], x, tile)
    columns = None if z is None else _batches(known and known["columns"], z, tile)
    return known, new_manifest(description, rows, columns)


def _batches(known: Any, inputs: Inputs, tile: int | None) -> Description:
    """The inputs along one side for the manifest: those known, and perhaps another batch."""
    known = known or {"tile": _tile_size(inputs, tile), "batches": []}
    batches = known["batches"]
    if not batches or batches[-1][0] < len(inputs):
        batches = [*batches, [len(inputs), *fingerprints(inputs, [len(inputs)])]]
    return {"tile": known["tile"], "batches": batches}


def _tile_size(inputs: Inputs, tile: int | None) -> int:
    return balanced(len(inputs), tile or usual_tile(len(inputs)))


def _check_same(store: Store, known: Description, description: Description, sides: Sides) -> None:
    """Refuse a store that holds another matrix."""
    found = list(differences(known["description"], description))
    if not found:
        for name, side, inputs in zip("xz", ("rows", "columns"), sides, strict=True):
            if inputs is not None:
                found += differing_points(name, known[side]["batches"], inputs)
    if found:
        raise ValueError(
            f"Argument `store` must be empty or hold this Gram matrix, but `{store}` holds one "
            f"that differs in {', '.join(found)}; choose another folder or store."
        )


def _complete(
    work: Work,
    client: Client | None,
    progress: bool | Report,  # noqa: FBT001
) -> None:
    """Compute what is missing."""
    todo = {tile: pairs for tile in work.cut.tiles() if (pairs := work.missing(tile))}
    total = work.cut.pairs()
    with metered(progress, total - sum(todo.values()), total) as advance:
        for tile in _completed(work, todo, client):
            advance(todo[tile])


def _completed(work: Work, todo: Iterable[Tile], client: Client | None) -> Iterator[Tile]:
    """Complete tiles, here or on the workers of a client; yields each when it is done."""
    if client is None or not isinstance(work.tiles, ZarrTiles):
        for tile in todo:
            work.complete(tile)
            yield tile
        return
    x = work.tiles.with_inputs("x", work.x)
    z = None if work.z is None else work.tiles.with_inputs("z", work.z)
    yield from completed_by(client, dataclasses.replace(work, x=x, z=z), todo)
