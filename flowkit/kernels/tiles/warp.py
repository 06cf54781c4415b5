"""One tile on a GPU: a warp keeps it in registers through all layers.

A row of the tile lies in the lanes of the warp, which hold as many images side by side as fit. Rows
are moved along the height by naming another one, along the width by exchanging lanes.

Source: the recursion is `recursion.Network.step`, checked by tests/kernels/test_warps.py.
"""

from collections.abc import Callable
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
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

Row = Float[Array, " 32"]
Rows = tuple[Row, ...]

_MOVE = "shfl.sync.idx.b32 {0}, {1}, $2, 0x1f, 0xffffffff;"
_SPLIT = "{ .reg .b32 low, high; mov.b64 {low, high}, $1; %s %s mov.b64 $0, {low, high}; }"
_EXCHANGE = {  # constraints and instructions by the type of numbers
    jnp.dtype("float32"): ("=f,f,r", _MOVE.format("$0", "$1")),
    jnp.dtype("float64"): (
        "=d,d,r",
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


class Lanes(NamedTuple):
    """What each lane of a warp holds.

    Attributes:
        column: The position along the width.
        image: Which of the images that lie side by side.
        used: Whether it is read; a lane that is not does what one of the first image does.
    """

    column: Int[Array, " 32"]
    image: Int[Array, " 32"]
    used: Bool[Array, " 32"]


class Shift(NamedTuple):
    """A move along the width: the lane to take from, and 0 where that is outside."""

    lane: Int[Array, " 32"]
    mask: Row


@final
class Warp(eqx.Module):
    """The program of a warp.

    Attributes:
        network: Its scales are left out: they are read.
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

    def __call__(self, inputs: Inputs, found: Sums) -> None:
        """Write the sums of one tile; 0 where there is nothing to do."""
        place = pl.program_id(0)
        asked = (place >= inputs.ends[0]) & (place < inputs.ends[1])

        @pl.when(asked)
        def _():
            sums = self._tile(inputs, inputs.offsets[place, 0], inputs.offsets[place, 1])
            for ref, values in zip(found, sums, strict=True):
                for n, value in enumerate(values):
                    ref[0, place, n] = value

        @pl.when(jnp.logical_not(asked))
        def _():
            for ref in found:
                for n in range(self.together):
                    ref[0, place, n] = jnp.zeros((), ref.dtype)

    def _tile(self, inputs: Inputs, down: Scalar, right: Scalar) -> Sums:
        lanes = self._lanes()
        other = lanes.column + right
        other = jnp.where(other >= self.width, other - self.width, other)
        of_x = lanes.image if self.paired else jnp.zeros_like(lanes.image)
        box = self._box(lanes, down, right)
        everywhere = jnp.ones(WARP, bool)

        def scale(h: Scalar | int) -> LayerScales:
            return LayerScales(*(inputs.scales[h, n] for n in range(4)))

        def norms(h: Scalar | int, i: int) -> tuple[Rows, Rows]:
            return (
                tuple(a[of_x, h, i, lanes.column] for a in inputs.x.norms),
                tuple(a[lanes.image, h, down + i, other] for a in inputs.z.norms),
            )

        def product(c: Scalar, i: int) -> Row:
            x, z = inputs.x.pixels, inputs.z.pixels
            return x[of_x, c, i, lanes.column] * z[lanes.image, c, down + i, other]

        def layer(h: Scalar | int, m: Rows, theta: Rows | None, *, first: bool) -> list[Sums]:
            boxed = box(m), theta and box(theta)
            of_layer = scale(h)
            rows = zip(boxed[0], boxed[1] or [None] * self.height, strict=True)
            step = self.network.step
            return [
                step(of_layer, norms(h, i), row, everywhere, first=first)
                for i, row in enumerate(rows)
            ]

        def further(h: Scalar, state: tuple[Rows, Rows | None]) -> tuple[Rows, Rows | None]:
            new = layer(h, *state, first=False)
            return tuple(s.nngp for s in new), state[1] and tuple(s.theta for s in new)

        zeros = (jnp.zeros(WARP, self.dtype),) * self.height
        add = lambda c, rows: tuple(row + product(c, i) for i, row in enumerate(rows))
        products = lax.fori_loop(0, self.channels, add, zeros)
        begun = layer(0, products, None, first=True)
        read = self._read(inputs.weights, lanes, down, right)
        theta = tuple(s.theta for s in begun) if self.network.tangent else None
        m, theta = lax.fori_loop(1, self.layers, further, (tuple(s.nngp for s in begun), theta))
        return Sums(read(m), read(theta or zeros), read(tuple(s.blurred for s in begun)))

    def _lanes(self) -> Lanes:
        lane = lax.broadcasted_iota(jnp.int32, (WARP,), 0)
        width = jnp.int32(self.width)
        image = lax.div(lane, width)
        used = image < self.together
        return Lanes(lax.rem(lane, width), jnp.where(used, image, 0), used)

    def _box(self, lanes: Lanes, down: Scalar, right: Scalar) -> Callable[[Rows], Rows]:
        """The sum over the filter's shifts, along the height and then along the width."""
        reach = [size // 2 for size in self.network.filter_size]
        joined = [self._joined(i, down) for i in range(self.height)]
        steps = [s for s in range(-reach[1], reach[1] + 1) if s]
        shifts = [shift for s in steps if (shift := self._shift(lanes, right, s))]

        def along_height(rows: Rows, i: int) -> Row:
            total = rows[i]
            for sign in (-1, 1):
                mask = jnp.ones((), self.dtype)
                for s in range(1, reach[0] + 1):
                    there = i + sign * s
                    if self.network.circular:
                        total = total + rows[there % self.height]
                    elif 0 <= there < self.height:
                        crossed = joined[there + 1 if sign < 0 else there]
                        mask = crossed if s == 1 else mask * crossed
                        total = total + mask * rows[there]
            return total

        def along_width(row: Row) -> Row:
            moved = (shift.mask * self._exchanged(row, shift.lane) for shift in shifts)
            return sum(moved, start=row)

        return lambda rows: tuple(along_width(along_height(rows, i)) for i in range(self.height))

    def _joined(self, i: int, down: Scalar) -> Scalar:
        """1 where the partners of rows i - 1 and i are neighbours, 0 where images end between."""
        return jnp.where(down == self.height - i, 0, 1).astype(self.dtype)

    def _shift(self, lanes: Lanes, right: Scalar, step: int) -> Shift | None:
        """The move by some positions; None where it leaves the image from everywhere."""
        there = lanes.column + step
        if self.network.circular:
            there = lax.rem(there + self.width * -(-abs(step) // self.width), jnp.int32(self.width))
            inside = jnp.ones_like(lanes.used)
        elif abs(step) >= self.width:
            return None
        else:
            inside = (there >= 0) & (there < self.width)
            wrapped = lambda column: column + right >= self.width
            inside = inside & (wrapped(there) == wrapped(lanes.column))
        there = jnp.where(inside, there, lanes.column)
        return Shift(lanes.image * self.width + there, inside.astype(self.dtype))

    def _exchanged(self, row: Row, lane: Int[Array, " 32"]) -> Row:
        if self.interpreted:
            return jnp.take(row, lane)
        constraints, asm = _EXCHANGE[jnp.dtype(self.dtype)]
        (moved,) = triton.elementwise_inline_asm(
            asm,
            args=[row, lane],
            constraints=constraints,
            pack=1,
            result_shape_dtypes=[jax.ShapeDtypeStruct(row.shape, row.dtype)],
        )
        return moved

    def _read(
        self, weights: tuple[Array, Array], lanes: Lanes, down: Scalar, right: Scalar
    ) -> Callable[[Rows], list[Scalar]]:
        """The weighted sums of each image, along the height and then along the width."""
        of_rows = [weights[0][down, i] for i in range(self.height)]
        of_columns = weights[1][right, lanes.column]

        def read(rows: Rows) -> list[Scalar]:
            weighted = [weight * row for weight, row in zip(of_rows, rows, strict=True)]
            total = of_columns * sum(weighted[1:], start=weighted[0])
            return [
                jnp.sum(jnp.where(lanes.used & (lanes.image == n), total, 0.0))
                for n in range(self.together)
            ]

        return read
