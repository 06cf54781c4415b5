"""The sum over a filter's shifts within a tile."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flowkit.kernels.convolutions import Pair

Tile = Float[Array, "height width lanes"]


def box(values: Tile, filter_size: Pair, *, circular: bool) -> Tile:
    """Sum over all positions within the filter, along the height and then along the width."""
    mode = "wrap" if circular else "constant"
    reach = [(size // 2, size // 2) for size in filter_size]
    height, width, _ = values.shape
    padded = jnp.pad(values, [*reach, (0, 0)], mode)
    rows = sum((padded[a : a + height] for a in range(1, filter_size[0])), start=padded[:height])
    return sum((rows[:, b : b + width] for b in range(1, filter_size[1])), start=rows[:, :width])
