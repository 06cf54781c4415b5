"""When the Gram matrix of a convolutional kernel goes through the tiles, without being asked."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from flowkit.kernels.base import Kind, fast_gram
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.gram import can_tile, tiled_gram

# Pairs of positions over all pairs of images: below, compiling the tiles takes longer than they
# save.
LEAST_WORK = 2**22

Images = Float[Array, "images height width channels"]


@fast_gram.register
def _(kernel: Convolutional, x: Images, z: Images | None, kind: Kind) -> Float[Array, "x z"] | None:
    if not can_tile(kernel) or not _on_the_host((kernel, x, z)):
        return None
    work = len(x) * len(x if z is None else z) * math.prod(x.shape[1:3]) ** 2
    if work < LEAST_WORK or x.dtype not in (jnp.float32, jnp.float64):
        return None
    other = None if z is None else np.asarray(z)
    return jnp.asarray(tiled_gram(kernel, np.asarray(x), other, kind=kind))


def _on_the_host(tree: object) -> bool:
    """Whether all arrays hold numbers, in the memory of CPUs: nothing is traced or elsewhere."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    if any(isinstance(array, Tracer) for array in arrays):
        return False
    return all(device.platform == "cpu" for array in arrays for device in array.devices())
