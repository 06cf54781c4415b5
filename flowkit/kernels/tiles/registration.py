"""When the Gram matrix of a convolutional kernel goes through the tiles, without being asked."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from flowkit.kernels.angles import has_angle
from flowkit.kernels.base import fast_gram, fast_pairs
from flowkit.kernels.checks import Kinds
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.gram import can_tile, tiled_gram, tiled_pairs
from flowkit.kernels.tiles.parallel import nearly_parallel

# Pairs of positions over all pairs of images: below, compiling the tiles takes longer than they
# save.
LEAST_WORK = 2**22

Rows = Float[Array, "x height width channels"]
Columns = Float[Array, "z height width channels"]


@fast_gram.register
def _(
    kernel: Convolutional, x: Rows, z: Columns, kind: Kinds, *, symmetric: bool
) -> Float[Array, "*kinds x z"] | None:
    if not _is_worth_it(kernel, x, z, pairs=len(x) * len(z)):
        return None
    on_host = np.asarray(x), np.asarray(z)
    found = tiled_gram(kernel, *on_host, kind=kind, symmetric=symmetric)
    if x.dtype == jnp.float64 and has_angle(kernel.activation):
        rows, columns = nearly_parallel(*on_host, symmetric=symmetric)
        if len(rows):
            found[..., rows, columns] = kernel._values(x, z, rows, columns, kind)
            if symmetric:
                found[..., columns, rows] = found[..., rows, columns]
    return _given_back(found, x)


@fast_pairs.register
def _(kernel: Convolutional, x: Rows, z: Rows, kind: Kinds) -> Float[Array, "*kinds x"] | None:
    if not _is_worth_it(kernel, x, z, pairs=len(x)):
        return None
    found = tiled_pairs(kernel, np.asarray(x), np.asarray(z), kind=kind)
    return _given_back(found, x)


def _is_worth_it(kernel: Convolutional, x: Rows, z: Columns, *, pairs: int) -> bool:
    """Whether tiles save time, and the arrays are numbers in the memory of one CPU device."""
    if not can_tile(kernel) or x.dtype not in (jnp.float32, jnp.float64):
        return False
    arrays = [leaf for leaf in jax.tree.leaves((kernel, x, z)) if isinstance(leaf, jax.Array)]
    if any(isinstance(array, Tracer) for array in arrays):
        return False
    places = {device for array in arrays for device in array.devices()}
    if len(places) != 1 or places.pop().platform != "cpu":
        return False
    return pairs * math.prod(x.shape[1:3]) ** 2 >= LEAST_WORK


def _given_back(found: Float[np.ndarray, "..."], x: Rows) -> Float[Array, "..."] | None:
    """Where the images are; None where numbers overflow, which has rules of its own."""
    return jnp.asarray(found, device=x.sharding) if np.isfinite(found).all() else None
