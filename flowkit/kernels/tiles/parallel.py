"""Pairs of images whose angles the tiles blur: those that are nearly, and not exactly, parallel.

In float64 the tiles count angles below some 4e-8 as 0: right for parallel images, and for others
that near wrong by as much, so that a Gram matrix would not be positive semidefinite to rounding.
The maths of one pair knows such angles (`flowkit.kernels.angles`). An image that is nearly parallel
to another takes that way with itself and with its exact copies too, lest two accuracies meet.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

NEAR = 1e-6  # of 1 - |cosine|: above, tiles know an angle to 1e-13 of a radian
PARALLEL = 1e-30  # below, its angle is rounding of the images
_AT_ONCE = 2**22  # numbers of a chunk of differences

Rows = Float[np.ndarray, "x *axes"]
Columns = Float[np.ndarray, "z *axes"]
Indices = Int[np.ndarray, " pairs"]


def nearly_parallel(x: Rows, z: Columns, *, symmetric: bool) -> tuple[Indices, Indices]:
    """The pairs, up to their signs, by their numbers in both arrays.

    Args:
        x: Images.
        z: Others.
        symmetric: Whether one triangle, with its diagonal, is enough.

    Returns:
        Rows and columns.
    """
    units_x, units_z = _units(x), _units(z)
    cosines = units_x @ units_z.T
    rows, columns = np.nonzero(1 - np.abs(cosines) < NEAR)
    if symmetric:
        upper = rows <= columns
        rows, columns = rows[upper], columns[upper]
    near = _apart(units_x, units_z, rows, columns) > PARALLEL
    if symmetric:
        met = np.union1d(rows[near], columns[near])
        chosen = np.isin(rows, met)
    else:
        chosen = np.isin(rows, rows[near]) | np.isin(columns, columns[near])
    return rows[chosen], columns[chosen]


def each_nearly_parallel(x: Rows, z: Rows) -> Indices:
    """The numbers i of the pairs (x[i], z[i]) that are nearly parallel."""
    units_x, units_z = _units(x), _units(z)
    cosines = np.einsum("ip,ip->i", units_x, units_z)
    (places,) = np.nonzero(1 - np.abs(cosines) < NEAR)
    return places[_apart(units_x, units_z, places, places) > PARALLEL]


def _apart(
    units_x: Float[np.ndarray, "x pixels"],
    units_z: Float[np.ndarray, "z pixels"],
    rows: Indices,
    columns: Indices,
) -> Float[np.ndarray, " pairs"]:
    """The differences 1 - |cosine|, to rounding however small."""
    found = np.empty(len(rows))
    for part in _chunks(len(rows), units_x.shape[1]):
        a, b = units_x[rows[part]], units_z[columns[part]]
        sign = np.where(np.einsum("ip,ip->i", a, b) < 0, -1, 1)
        found[part] = np.sum((a - sign[:, None] * b) ** 2, axis=1) / 2
    return found


def _chunks(count: int, width: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // width)
    return (slice(start, start + step) for start in range(0, count, step))


def not_finite(values: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Where a value of any kind is no number."""
    return np.any(~np.isfinite(values).reshape(-1, *values.shape[-2:]), axis=0)


def _units(images: Rows) -> Float[np.ndarray, "x pixels"]:
    """Images as unit vectors; 0 where they are."""
    vectors = images.reshape(len(images), -1)
    vectors = vectors / np.maximum(np.abs(vectors).max(1, keepdims=True), np.finfo(float).tiny)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0)
