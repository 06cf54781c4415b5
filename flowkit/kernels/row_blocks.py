"""Gram matrices kept on disk row block by row block, so that an interrupted run goes on.

A folder holds one matrix. While it is computed:
    gram.json: What the matrix is: kernel, kind, shape, type, and a hash of the inputs.
    rows-NNNNN.npy: The finished blocks of rows; of a symmetric matrix, up to the diagonal.
Afterwards `gram.npy` takes the place of the blocks. Each file is written whole or not at all.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from flowkit.kernels.base import AbstractKernel
from flowkit.storage.arrays import replacing

Inputs = Float[np.ndarray, "..."]
Progress = Callable[[int, int], None]  # tiles done, tiles in all

MATRIX, DESCRIPTION = "gram.npy", "gram.json"
FORMAT = "flowkit Gram matrix"


def gram_by_row_blocks(
    kernel: AbstractKernel,
    x: Inputs,
    z: Inputs | None = None,
    *,
    folder: Path,
    kind: str = "ntk",
    rows: int = 64,
    progress: Progress = lambda done, total: None,
) -> Float[np.ndarray, "x z"]:
    """Kernel values of all pairs; what an earlier run left in `folder` is not computed again.

    Args:
        kernel: The kernel.
        x: Inputs, along the first axis.
        z: Further inputs; x itself where omitted, and then only one triangle is computed.
        folder: Made if it does not exist; holds `gram.npy` and `gram.json` afterwards.
        kind: "ntk" or "nngp".
        rows: Rows of a block, and columns of a tile; an interrupted matrix keeps the number it was
            begun with.
        progress: Called with the number of tiles done and of all tiles.

    Returns:
        The Gram matrix, equal to `kernel.gram(x, z, kind=kind)` to rounding, in the type of x;
        exactly symmetric where z is omitted.

    Raises:
        ValueError: the folder holds another matrix, `rows` is less than 1, or the kernel refuses
            an argument.

    Source:
        Checked by tests/kernels/test_row_blocks.py.
    """
    if rows < 1:
        raise ValueError(f"Argument `rows` must be at least 1, but it is `{rows}`.")
    x, z = np.asarray(x), None if z is None else np.asarray(z)
    folder.mkdir(parents=True, exist_ok=True)
    rows = _claim_folder(folder, describe_gram(kernel, x, z, kind), rows)
    tiles = _Tiles(kernel, x, z, kind, rows)
    matrix = folder / MATRIX
    if matrix.exists():
        progress(tiles.total, tiles.total)
        return np.load(matrix, allow_pickle=False)
    gram = _assembled(tiles, list(_blocks(tiles, folder, progress)))
    _save(matrix, gram)
    for block in folder.glob("rows-*.npy"):
        block.unlink()
    return gram


def describe_gram(kernel: AbstractKernel, x: Inputs, z: Inputs | None, kind: str) -> dict[str, Any]:
    """What a Gram matrix is, as plain data: the content of `gram.json`."""
    hashed = lambda inputs: hashlib.sha256(np.ascontiguousarray(inputs).tobytes()).hexdigest()
    return {
        "format": FORMAT,
        "kernel": describe_kernel(kernel),
        "kind": kind,
        "shape": [len(x), len(x if z is None else z)],
        "dtype": str(x.dtype),
        "input_shape": list(x.shape[1:]),
        "rows_sha256": hashed(x),
        "columns_sha256": None if z is None else hashed(z),
    }


def describe_kernel(value: Any) -> Any:
    """A kernel, or a part of one, as plain data."""
    if isinstance(value, eqx.Module):
        fields = {
            f.name: describe_kernel(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, **fields}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe_kernel(part) for part in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """A Gram matrix cut into tiles of one shape, so that the kernel compiles once.

    No tile is larger than `rows`, and all are about equal. Those at the edge are filled up with
    repeats of the last input, which are cut off again.
    """

    kernel: AbstractKernel
    x: Inputs
    z: Inputs | None
    kind: str
    rows: int

    @property
    def count(self) -> int:
        """How many blocks of rows there are."""
        return _parts(len(self.x), self.rows)

    @property
    def height(self) -> int:
        """How many rows a block has."""
        return _parts(len(self.x), self.count)

    @property
    def total(self) -> int:
        return sum(self.columns(row) for row in range(self.count))

    def columns(self, row: int) -> int:
        """How many tiles the block of rows has."""
        return row + 1 if self.z is None else _parts(len(self.z), self.rows)

    def tile(self, row: int, column: int) -> Float[np.ndarray, "rows columns"]:
        rows = _part(self.x, row, self.height)
        if self.z is None and row == column:
            return np.asarray(self.kernel.gram(rows, kind=self.kind))
        if self.z is None:
            columns = _part(self.x, column, self.height)
        else:
            columns = _part(self.z, column, _parts(len(self.z), self.columns(row)))
        return np.asarray(self.kernel.gram(rows, columns, kind=self.kind))

    def block(
        self, row: int, tiles: list[Float[np.ndarray, "rows columns"]]
    ) -> Float[np.ndarray, "height width"]:
        """The tiles of a block side by side, without what they were filled up with."""
        last = min(len(self.x), (row + 1) * self.height)
        width = last if self.z is None else len(self.z)
        return np.concatenate(tiles, axis=1)[: last - row * self.height, :width]


def _parts(count: int, size: int) -> int:
    return -(-count // size)


def _part(inputs: Inputs, index: int, size: int) -> Float[jax.Array, "size ..."]:
    places = np.arange(index * size, (index + 1) * size)
    return jnp.asarray(inputs[np.minimum(places, len(inputs) - 1)])


def _blocks(tiles: _Tiles, folder: Path, progress: Progress) -> Iterator[np.ndarray]:
    """The blocks of rows in order, from the folder where they are there."""
    done = 0
    for row in range(tiles.count):
        path = folder / f"rows-{row:05d}.npy"
        if path.exists():
            done += tiles.columns(row)
            progress(done, tiles.total)
            yield np.load(path, allow_pickle=False)
            continue
        found = []
        for column in range(tiles.columns(row)):
            found.append(tiles.tile(row, column))
            done += 1
            progress(done, tiles.total)
        block = tiles.block(row, found)
        _save(path, block)
        yield block


def _assembled(tiles: _Tiles, blocks: list[np.ndarray]) -> Float[np.ndarray, "x z"]:
    if tiles.z is not None:
        return np.concatenate(blocks)
    count = len(tiles.x)
    gram = np.zeros((count, count), blocks[0].dtype)
    for row, block in enumerate(blocks):
        start, (height, width) = row * tiles.height, block.shape
        gram[start : start + height, :width] = block
        gram[:width, start : start + height] = block.T
    return gram


def _claim_folder(folder: Path, description: dict[str, Any], rows: int) -> int:
    """Write `gram.json`, or hold what is there against the description; the rows of a block."""
    path = folder / DESCRIPTION
    if path.exists():
        found = json.loads(path.read_text("utf-8"))
        rows = found.pop("rows_of_a_block", rows)
        different = [name for name in description if found.get(name) != description[name]]
        if different:
            raise ValueError(
                f"Folder `{folder}` must be empty or hold this Gram matrix, but it holds one that "
                f"differs in {', '.join(different)}; choose another folder."
            )
        return rows
    text = json.dumps(description | {"rows_of_a_block": rows}, indent=2)
    with replacing(path) as new:
        new.write_text(text + "\n", encoding="utf-8")
    return rows


def _save(path: Path, values: np.ndarray) -> None:
    with replacing(path) as new:
        np.save(new, values, allow_pickle=False)
