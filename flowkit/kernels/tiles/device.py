"""A block on a GPU: a warp for each tile, by Pallas and Triton."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from flowkit.kernels.tiles.blocks import AbstractBlock, Batch, Chosen, Found
from flowkit.kernels.tiles.recursion import Sums
from flowkit.kernels.tiles.warp import WARP, Inputs, Layout, Warp, triton


@final
class WarpBlock(AbstractBlock):
    """A block on a GPU, whose warps run through all tiles of all pairs.

    Attributes:
        interpreted: Whether the kernel runs as plain JAX, on any device and slowly.
    """

    options: ClassVar[Mapping[str, str | int]] = {}
    at_once: ClassVar[int | None] = 2  # so that the device does not wait for the host

    interpreted: bool = eqx.field(static=True)

    def sums(self, rows: Batch, lanes: Batch, chosen: Chosen) -> Found:
        return self._run(rows, lanes, chosen, paired=False)

    def sums_of_each(self, x: Batch, z: Batch, chosen: Chosen) -> Found:
        return jax.tree.map(lambda a: a[0], self._run(x, z, chosen, paired=True))

    def _run(self, x: Batch, z: Batch, chosen: Chosen, *, paired: bool) -> Found:
        count, (height, width, channels) = len(z), z.shape[1:]
        together = min(WARP // width, count)
        groups = -(-count // together)
        filled = np.minimum(np.arange(groups * together), count - 1)
        x, z = x[filled] if paired else x, z[filled]
        warp = Warp(
            network=self.network,
            layers=len(self.network.scales.weight),
            height=height,
            width=width,
            channels=channels,
            together=together,
            paired=paired,
            dtype=self.dtype,
            interpreted=self.interpreted,
        )
        inputs = Inputs(
            offsets=self.offsets[chosen.order].astype(jnp.int32),
            ends=jnp.stack([chosen.start, chosen.stop]).astype(jnp.int32),
            scales=jnp.stack(self._narrow(self.network).scales, axis=1),
            x=self._layout(x),
            z=self._layout(z, twice=True),
            weights=self._narrow(self.grid).weights,
        )
        each = _tiles(warp, inputs, groups)
        each = jax.tree.map(lambda values: values[..., :count], each)
        total = jax.tree.map(lambda values: jnp.sum(values, axis=1, dtype=float), each)
        kept = 0 if self.dtype == np.float64 else None  # nothing is ever taken back from float64
        return Found(total, jax.tree.map(lambda values: values[:, :kept], each))

    def _layout(self, images: Batch, *, twice: bool = False) -> Layout:
        """What a warp reads of images, their rows repeated where offsets move them."""

        def ordered(values: Float[Array, "layers height width images"]) -> Float[Array, "..."]:
            rows = jnp.concatenate([values, values[:, :-1]], axis=1) if twice else values
            return jnp.moveaxis(rows, -1, 0)

        return Layout(*jax.tree.map(ordered, self._prepared(images)))


def _tiles(warp: Warp, inputs: Inputs, groups: int) -> Sums:
    """The sums of every tile that is asked for: x by offsets by z."""
    leaves, structure = jax.tree.flatten(inputs)
    count, rows = len(inputs.offsets), 1 if warp.paired else len(inputs.x.pixels)

    def kernel(*refs: Any) -> None:
        warp(jax.tree.unflatten(structure, refs[: len(leaves)]), Sums(*refs[len(leaves) :]))

    def whole(values: Array) -> pl.BlockSpec:
        return pl.BlockSpec(values.shape, lambda offset, group, row: (0,) * values.ndim)

    def of_x(values: Array) -> pl.BlockSpec:
        images = warp.together if warp.paired else 1
        first = lambda offset, group, row: (group if warp.paired else row, 0, 0, 0)
        return pl.BlockSpec((images, *values.shape[1:]), first)

    def of_z(values: Array) -> pl.BlockSpec:
        first = lambda offset, group, row: (group, 0, 0, 0)
        return pl.BlockSpec((warp.together, *values.shape[1:]), first)

    specs = jax.tree.map(whole, inputs)._replace(
        x=jax.tree.map(of_x, inputs.x), z=jax.tree.map(of_z, inputs.z)
    )
    found = jax.ShapeDtypeStruct((rows, count, groups * warp.together), warp.dtype)
    of_found = pl.BlockSpec((1, count, warp.together), lambda offset, group, row: (row, 0, group))
    call = pl.pallas_call(
        kernel,
        grid=(count, groups, rows),
        in_specs=jax.tree.leaves(specs),
        out_specs=[of_found] * len(Sums._fields),
        out_shape=[found] * len(Sums._fields),
        interpret=warp.interpreted,
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
        name="offset_tiles",
    )
    return Sums(*call(*leaves))
