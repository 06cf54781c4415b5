"""Pairs of images whose angles the tiles blur: those that are nearly, and not exactly, parallel.

In float64 the tiles count angles below some 4e-8 as 0: right for parallel images, and for others
that near wrong by as much, so that a Gram matrix would not be positive semidefinite to rounding.
The maths of one pair knows such angles (`flowkit.kernels.angles`).
"""

import numpy as np
from jaxtyping import Float, Int

NEAR = 1e-6  # of 1 - |cosine|: above, tiles know an angle to 1e-13 of a radian
PARALLEL = 1e-30  # below, its angle is rounding of the images

Rows = Float[np.ndarray, "x *axes"]
Columns = Float[np.ndarray, "z *axes"]


def nearly_parallel(
    x: Rows, z: Columns, *, symmetric: bool
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """The pairs, up to their signs, by their numbers in both arrays.

    Args:
        x: Images.
        z: Others.
        symmetric: Whether one triangle is enough.

    Returns:
        Rows and columns.
    """
    units_x, units_z = _units(x), _units(z)
    cosines = units_x @ units_z.T
    rows, columns = np.nonzero(1 - np.abs(cosines) < NEAR)
    if symmetric:
        upper = rows < columns
        rows, columns = rows[upper], columns[upper]
    signs = np.sign(cosines[rows, columns])
    apart = np.asarray(
        [
            np.sum((units_x[i] - sign * units_z[j]) ** 2) / 2
            for i, j, sign in zip(rows, columns, signs, strict=True)
        ]
    )
    near = apart > PARALLEL
    return rows[near], columns[near]


def _units(images: Rows) -> Float[np.ndarray, "x features"]:
    """Images as unit vectors; 0 where they are."""
    vectors = images.reshape(len(images), -1)
    vectors = vectors / np.maximum(np.abs(vectors).max(1, keepdims=True), np.finfo(float).tiny)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0)
