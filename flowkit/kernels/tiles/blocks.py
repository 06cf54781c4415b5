"""The values of one block of a Gram matrix: a few images against many, offset by offset."""

import abc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from flowkit.kernels.tiles.geometry import continued
from flowkit.kernels.tiles.recursion import Grid, Images, Network, Sums

Offsets = Int[Array, "offsets 2"]
Batch = Float[Array, "_images height width channels"]
Tree = TypeVar("Tree")
Device = Any  # jax.Device, a variable in the eyes of type checkers


class Chosen(NamedTuple):
    """Offsets: those at the places of an order from a first to before a last."""

    order: Int[Array, " offsets"]
    start: Int[Array, ""]
    stop: Int[Array, ""]


class Found(NamedTuple):
    """Sums over the chosen tiles, in float64, and in float32 those of each tile by itself."""

    total: Sums
    each: Sums


class AbstractBlock(eqx.Module):
    """What a block needs besides its images.

    Attributes:
        options: The compiler's.
        at_once: How many blocks a device works on at once; as many as there are cores where None.
        network: Its scales are in float64.
        grid: Masks and weights in float64.
        offsets: All that may be asked for.
        dtype: The type of numbers in the tiles; variances are computed in float64.
        device: Where it is computed.
    """

    options: ClassVar[Mapping[str, str | int]]
    at_once: ClassVar[int | None]

    network: Network
    grid: Grid
    offsets: Offsets
    dtype: DTypeLike = eqx.field(static=True)
    device: Device = eqx.field(static=True)

    def with_dtype(self, dtype: DTypeLike) -> "AbstractBlock":
        """The same with tiles of another type."""
        return replace(self, dtype=dtype)

    @abc.abstractmethod
    def sums(self, rows: Batch, lanes: Batch, chosen: Chosen) -> Found:
        """The sums over chosen offsets, for each row and lane."""

    @abc.abstractmethod
    def sums_of_each(self, x: Batch, z: Batch, chosen: Chosen) -> Found:
        """The sums of the pairs (x[i], z[i])."""

    def _prepared(self, images: Batch) -> Images:
        """Their variances, computed in float64 with the scales that the tiles have."""
        pixels = jnp.moveaxis(jnp.moveaxis(images, 0, -1), 2, 0).astype(float)
        rounded = jax.tree.map(
            lambda a, b: a.astype(b.dtype), self._narrow(self.network), self.network
        )
        return self._narrow(rounded.prepare(pixels))

    def _narrow(self, tree: Tree) -> Tree:
        """With numbers of the tiles' type."""
        is_real = lambda values: jnp.issubdtype(values.dtype, jnp.floating)
        return jax.tree.map(lambda a: a.astype(self.dtype) if is_real(a) else a, tree)


@final
class CoreBlock(AbstractBlock):
    """A block on one core of a CPU, many images in the lanes of its vectors."""

    options: ClassVar[Mapping[str, str | int]] = {
        # Otherwise XLA would cut every small loop into tasks of its own; blocks keep cores busy.
        "xla_disable_hlo_passes": "cpu-parallel-task-assigner",
        # Whole vectors where a core has AVX-512: XLA's own choice is half of them.
        "xla_cpu_prefer_vector_width": 512,
    }
    at_once: ClassVar[int | None] = None

    def sums(self, rows: Batch, lanes: Batch, chosen: Chosen) -> Found:
        z = self._continued(lanes)
        return lax.map(lambda image: self._add_up(self._prepared(image[None]), z, chosen), rows)

    def sums_of_each(self, x: Batch, z: Batch, chosen: Chosen) -> Found:
        return self._add_up(self._prepared(x), self._continued(z), chosen)

    def _add_up(self, x: Images, z: Images, chosen: Chosen) -> Found:
        network, grid = self._narrow(self.network), self._narrow(self.grid)

        def add(n: Int[Array, ""], found: Found) -> Found:
            tile = network.tile(x, z, grid, self.offsets[chosen.order[n]])
            total = jax.tree.map(lambda a, b: a + b.astype(float), found.total, tile)
            if self.dtype == np.float64:
                return Found(total, found.each)
            return Found(total, jax.tree.map(lambda a, b: a.at[n].set(b), found.each, tile))

        lanes, count = z.pixels.shape[-1], len(self.offsets)
        kept = 0 if self.dtype == np.float64 else count  # nothing is ever taken back from float64
        zeros = lambda shape, dtype: Sums(*(jnp.zeros(shape, dtype) for _ in Sums._fields))
        none = Found(zeros(lanes, float), zeros((kept, lanes), self.dtype))
        return lax.fori_loop(chosen.start, chosen.stop, add, none)

    def _continued(self, images: Batch) -> Images:
        periods = (len(self.grid.inside[0]), len(self.grid.inside[1]))
        moves = len(self.offsets) > 1
        each = jax.vmap(lambda values: continued(values, periods) if moves else values)
        return jax.tree.map(each, self._prepared(images))
