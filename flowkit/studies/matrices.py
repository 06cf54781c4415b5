"""Gram matrices of studies and commands, kept in folders."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flowkit.gramian import gram, missing_pairs
from flowkit.gramian.descriptions import Inputs
from flowkit.gramian.meter import Report
from flowkit.kernels import AbstractKernel
from flowkit.storage.arrays import replacing

STORE, MATRIX = "gram.zarr", "gram.npy"
NO_STORE = (
    "Without `zarr` an interrupted matrix is computed again from its start: "
    "pip install 'gradient-flowkit[scale]'."
)


def kept_gram(
    kernel: AbstractKernel,
    x: Inputs,
    z: Inputs | None = None,
    *,
    folder: Path,
    kind: str = "ntk",
    tile: int | None = None,
    progress: Report,
) -> Float[np.ndarray, "x z"]:
    """Kernel values of all pairs; what an earlier run left in a folder is not computed again.

    Args:
        kernel: The kernel.
        x: Inputs, along the first axis.
        z: Further inputs; x itself where omitted.
        folder: Made if need be; holds `gram.zarr`, a store of `flowkit.gram`, and in the end
            `gram.npy`, the whole matrix.
        kind: "ntk" or "nngp".
        tile: As of `flowkit.gram`.
        progress: Called with pairs done and pairs in all.

    Returns:
        The Gram matrix.

    Raises:
        ValueError: as `flowkit.gram`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_zarr = find_spec("zarr") is not None
    if not has_zarr:
        warnings.warn(NO_STORE, stacklevel=2)
    store = folder / STORE if has_zarr else None
    found = gram(kernel, x, z, kind=kind, store=store, tile=tile, progress=progress)
    matrix = np.asarray(found)
    with replacing(folder / MATRIX) as new:
        np.save(new, matrix, allow_pickle=False)
    return matrix


def pairs_left(
    kernel: AbstractKernel,
    x: Inputs,
    z: Inputs | None = None,
    *,
    folder: Path,
    kind: str = "ntk",
    tile: int | None = None,
) -> int:
    """How many kernel values `kept_gram` would compute; the folder is only looked at.

    Raises:
        ValueError: as `flowkit.gram`.
    """
    if find_spec("zarr") is None:
        return len(x) * (len(x) + 1) // 2 if z is None else len(x) * len(z)
    return missing_pairs(kernel, x, z, kind=kind, store=folder / STORE, tile=tile)
