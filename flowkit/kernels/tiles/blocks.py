"""The values of one block: a few images against those in the lanes, offset by offset."""

from dataclasses import replace
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from flowkit.kernels.tiles.geometry import continued
from flowkit.kernels.tiles.recursion import Grid, Images, Network, Sums

Offsets = Int[Array, "offsets 2"]


@final
class Block(eqx.Module):
    """What a block needs besides its images.

    Attributes:
        network: Its scales are in float64.
        grid: Masks and weights in float64.
        offsets: All that may be asked for.
        dtype: The type of numbers in the tiles; variances are computed in float64.
    """

    network: Network
    grid: Grid
    offsets: Offsets
    dtype: DTypeLike = eqx.field(static=True)

    def with_dtype(self, dtype: DTypeLike) -> "Block":
        """The same with tiles of another type."""
        return replace(self, dtype=dtype)

    def sums(
        self,
        rows: Float[Array, "rows height width channels"],
        lanes: Float[Array, "lanes height width channels"],
        span: tuple[Int[Array, ""], Int[Array, ""]],
    ) -> Sums:
        """The sums over the offsets of a span, for each row and lane, in float64."""
        wide = lambda images: self.network.prepare(
            jnp.moveaxis(images, 0, -1).transpose(2, 0, 1, 3).astype(float)
        )
        narrow = lambda tree: jax.tree.map(self._narrow, tree)
        network, grid = narrow(self.network), narrow(self.grid)
        periods = (len(grid.inside[0]), len(grid.inside[1]))
        z = narrow(wide(lanes))
        z = Images(*jax.tree.map(lambda a: jax.vmap(lambda b: continued(b, periods))(a), z))

        def of_row(image: Float[Array, "height width channels"]) -> Sums:
            x = narrow(wide(image[None]))

            def add(n: Int[Array, ""], total: Sums) -> Sums:
                tile = network.tile(x, z, grid, self.offsets[n])
                return jax.tree.map(lambda a, b: a + b.astype(float), total, tile)

            zero = jnp.zeros(len(lanes))
            return lax.fori_loop(*span, add, Sums(zero, zero))

        return lax.map(of_row, rows)

    def _narrow(self, values: Array) -> Array:
        return values.astype(self.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else values
