"""One tile on a GPU: a warp keeps it in registers through all layers.

A row of the tile lies in the lanes of the warp, which hold as many images side by side as fit; each
lane holds its column. A move along the height is therefore no instruction but another name, one
along the width an exchange between lanes. The compiler places tensors of 32 columns that way so
long as it does not know that neighbouring lanes read neighbouring numbers.

Source: the recursion is `recursion.Network.step`, checked by tests/kernels/test_warps.py.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Scalar

from flowkit.kernels.layers import LayerScales
from flowkit.kernels.tiles.recursion import Network, Sums

try:
    from jax.experimental.pallas import triton
except ImportError:  # JAX announces, in 0.11, that a later version will be without it
    triton = None

WARP = 32

Tile = Float[Array, "rows 32"]
Integers = Int[Array, "rows 32"]

_MOVE = "shfl.sync.idx.b32 {0}, {1}, $2, 0x1f, 0xffffffff;"
_SPLIT = "{ .reg .b32 low, high; mov.b64 {low, high}, $1; %s %s mov.b64 $0, {low, high}; }"
_EXCHANGE = {  # by the type of numbers: of its registers, and instructions
    jnp.dtype("float32"): ("f", _MOVE.format("$0", "$1")),
    jnp.dtype("float64"): (
        "d",
        _SPLIT % (_MOVE.format("low", "low"), _MOVE.format("high", "high")),
    ),
}


class Layout(NamedTuple):
    """Images as a warp reads them, the first of `recursion.Images`' axes after the images."""

    pixels: Float[Array, "images channels rows width"]
    norms: tuple[Float[Array, "images layers rows width"], ...]


class Inputs(NamedTuple):
    """What a warp reads; within a kernel, references.

    Attributes:
        offsets: All that may be asked for, in the order of the programs.
        ends: The first program that has something to do, and the first after it that has not.
        scales: As of `Network`, a column each.
        x: One image, or as many as lie side by side.
        z: The images that lie side by side, their rows repeated.
        weights: The read-out's weights of each offset, along both sides.
    """

    offsets: Int[Array, "programs 2"]
    ends: Int[Array, " 2"]
    scales: Float[Array, "layers 4"]
    x: Layout
    z: Layout
    weights: tuple[Float[Array, "..."], Float[Array, "..."]]


class Places(NamedTuple):
    """What each lane holds in each of its registers.

    Attributes:
        row: The position along the height.
        column: The position along the width.
        image: Which of the images that lie side by side.
        used: Whether it is read; what is not does as some other place does.
    """

    row: Integers
    column: Integers
    image: Integers
    used: Bool[Array, "rows 32"]


@final
class Warp(eqx.Module):
    """The program of a warp.

    Attributes:
        network: Its scales are not used: a warp reads them.
        layers: The number of convolutions.
        height: Of the images.
        width: Of the images, at most 32.
        channels: Of the images.
        together: Images in the lanes of a warp.
        paired: Whether each of them meets an image of its own, not all the same.
        dtype: The type of numbers in the tile.
        interpreted: Whether it runs as plain JAX, on any device.
    """

    network: Network
    layers: int = eqx.field(static=True)
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    together: int = eqx.field(static=True)
    paired: bool = eqx.field(static=True)
    dtype: DTypeLike = eqx.field(static=True)
    interpreted: bool = eqx.field(static=True)

    @property
    def rows(self) -> int:
        """The rows of a tile: a power of two."""
        return 1 << (self.height - 1).bit_length()

    def __call__(self, inputs: Inputs, found: Sums) -> None:
        """Write the sums of one tile; 0 where there is nothing to do."""
        program = pl.program_id(0)
        asked = (program >= inputs.ends[0]) & (program < inputs.ends[1])

        @pl.when(asked)
        def _():
            sums = self._tile(inputs, inputs.offsets[program, 0], inputs.offsets[program, 1])
            for ref, values in zip(found, sums, strict=True):
                for n, value in enumerate(values):
                    ref[0, program, n] = value

        @pl.when(jnp.logical_not(asked))
        def _():
            for ref in found:
                for n in range(self.together):
                    ref[0, program, n] = jnp.zeros((), ref.dtype)

    def _tile(self, inputs: Inputs, down: Scalar, right: Scalar) -> list[list[Scalar]]:
        """The read-out's sums, as of `Sums`, of each image."""
        places = self._places()
        row, column, image, _ = places
        of_x = image if self.paired else jnp.zeros_like(image)
        other = jnp.where(column + right >= self.width, column + right - self.width, column + right)
        box = self._box(places, down, right)
        everywhere = jnp.ones(row.shape, bool)

        def layer(h: Scalar | int, m: Tile, theta: Tile | None, *, first: bool) -> Sums:
            scale = LayerScales(*(inputs.scales[h, n] for n in range(4)))
            norms = (
                tuple(a[of_x, h, row, column] for a in inputs.x.norms),
                tuple(a[image, h, down + row, other] for a in inputs.z.norms),
            )
            boxed = box(m), None if theta is None else box(theta)
            return self.network.step(scale, norms, boxed, everywhere, first=first)

        def further(h: Scalar, state: tuple[Tile, Tile | None]) -> tuple[Tile, Tile | None]:
            new = layer(h, *state, first=False)
            return new.nngp, None if state[1] is None else new.theta

        def add(c: Scalar, products: Tile) -> Tile:
            x, z = inputs.x.pixels, inputs.z.pixels
            return products + x[of_x, c, row, column] * z[image, c, down + row, other]

        zeros = jnp.zeros(row.shape, self.dtype)
        begun = layer(0, lax.fori_loop(0, self.channels, add, zeros), None, first=True)
        state = begun.nngp, begun.theta if self.network.tangent else None
        m, theta = lax.fori_loop(1, self.layers, further, state)
        weight = inputs.weights[0][down, row] * inputs.weights[1][right, column]
        tiles = (m, zeros if theta is None else theta, begun.blurred)
        return [self._read(weight * values, places) for values in tiles]

    def _places(self) -> Places:
        shape = (self.rows, WARP)
        row, lane = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
        lane = self._opaque(lane)
        image = lax.div(lane, jnp.int32(self.width))
        used = (image < self.together) & (row < self.height)
        return Places(
            jnp.minimum(row, self.height - 1),
            lax.rem(lane, jnp.int32(self.width)),
            jnp.where(image < self.together, image, 0),
            used,
        )

    def _box(self, places: Places, down: Scalar, right: Scalar) -> Callable[[Tile], Tile]:
        """The sum over the filter's shifts, along the height and then along the width."""
        along_height = self._along(
            self.network.filter_size[0] // 2,
            self.height,
            lambda values, step: self._named(values, step),
            (places.row, down),
        )
        along_width = self._along(
            self.network.filter_size[1] // 2,
            self.width,
            self._exchanged(places),
            (places.column, right),
        )
        return lambda values: along_width(along_height(values))

    def _along(
        self,
        reach: int,
        length: int,
        moved: Callable[[Tile, int], Tile],
        pairs: tuple[Integers, Scalar],
    ) -> Callable[[Tile], Tile]:
        """The sum over shifts along one side.

        Args:
            reach: The largest shift.
            length: Of the side.
            moved: Takes values from places that are some steps further.
            pairs: The positions of the first image, and the offset of the second.

        Returns:
            A function of a tile.
        """
        steps = [step for s in range(1, reach + 1) for step in (-s, s)]
        if self.network.circular:
            return lambda values: sum((moved(values, step) for step in steps), start=values)
        here, offset = pairs
        wrapped = lambda place: place + offset >= length

        def mask(step: int) -> Tile:
            if step > 0:  # that of the way back, whose registers are there
                return jnp.where(here + step < length, moved(mask(-step), step), 0.0)
            inside = (here + step >= 0) & (wrapped(here + step) == wrapped(here))
            return jnp.where(inside, 1.0, 0.0).astype(self.dtype)

        masks = {step: mask(step) for step in steps if abs(step) < length}
        return lambda values: sum((m * moved(values, s) for s, m in masks.items()), start=values)

    def _named(self, values: Tile, step: int) -> Tile:
        """Moved along the height: the registers of other rows."""
        there = np.arange(self.rows) + step
        if self.network.circular:
            there = there % self.height
        there = np.clip(there, 0, self.rows - 1)
        if self.interpreted:
            return jnp.stack([values[n] for n in there.tolist()])
        letter, _ = _EXCHANGE[jnp.dtype(self.dtype)]
        bits = 8 * jnp.dtype(self.dtype).itemsize
        moves = (f"mov.b{bits} ${to}, ${self.rows + of};" for to, of in enumerate(there))
        constraints = [f"=&{letter}"] * self.rows + [letter] * self.rows
        return _asm(" ".join(moves), ",".join(constraints), self.rows, values)

    def _exchanged(self, places: Places) -> Callable[[Tile, int], Tile]:
        """Moved along the width: the registers of other lanes."""

        def moved(values: Tile, step: int) -> Tile:
            there = places.column + step
            if self.network.circular:
                turns = -(-abs(step) // self.width)
                there = lax.rem(there + turns * self.width, jnp.int32(self.width))
            lane = places.image * self.width + jnp.clip(there, 0, self.width - 1)
            if self.interpreted:
                return jnp.take_along_axis(values, lane, axis=1)
            letter, instructions = _EXCHANGE[jnp.dtype(self.dtype)]
            return _asm(instructions, f"={letter},{letter},r", 1, values, lane)

        return moved

    def _opaque(self, values: Integers) -> Integers:
        """The same, of which the compiler knows nothing."""
        return values if self.interpreted else _asm("mov.b32 $0, $1;", "=r,r", 1, values)

    def _read(self, values: Tile, places: Places) -> list[Scalar]:
        """The sums of each image."""
        return [
            jnp.sum(jnp.where(places.used & (places.image == n), values, 0.0))
            for n in range(self.together)
        ]


def _asm(instructions: str, constraints: str, together: int, *values: Array) -> Array:
    """Instructions of PTX upon so many registers of a lane together."""
    assert triton is not None  # `eligibility` has said so
    (found,) = triton.elementwise_inline_asm(
        instructions,
        args=values,
        constraints=constraints,
        pack=together,
        result_shape_dtypes=[jax.ShapeDtypeStruct(values[0].shape, values[0].dtype)],
    )
    return found
