"""The whole depth of one tile, for one image against many, which lie in the lanes."""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from flowkit.kernels.convolutions import Pair
from flowkit.kernels.layers import LayerScales
from flowkit.kernels.tiles.activations import AbstractTileDual, Inside, Norms, Values
from flowkit.kernels.tiles.box import box

Tile = Float[Array, "height width lanes"]
Boxed = tuple[Values, Values | None]


class Images(NamedTuple):
    """Images with what the tiles need of their variances in each layer.

    Attributes:
        pixels: Their values; the images come last.
        norms: What the dual knows of the variances before each activation.
    """

    pixels: Float[Array, "channels height width images"]
    norms: tuple[Float[Array, "layers height width images"], ...]


class Grid(NamedTuple):
    """Masks and read-out weights of each offset, along both sides, as in `geometry.Side`."""

    inside: tuple[Bool[Array, "..."], Bool[Array, "..."]]
    weights: tuple[Float[Array, "..."], Float[Array, "..."]]


class Sums(NamedTuple):
    """What the read-out takes of a tile.

    Attributes:
        nngp: Of the covariances of the last activation.
        theta: Of M' o Theta.
        blurred: Of the entries whose first angle the numbers cannot tell from 0: their weights.
    """

    nngp: Float[Array, "..."]
    theta: Float[Array, "..."]
    blurred: Float[Array, "..."]


@final
class Network(eqx.Module):
    """What of a network decides about a tile.

    Attributes:
        dual: The activation.
        filter_size: Height and width of the filter.
        circular: Whether images are continued periodically.
        tangent: Whether Theta is computed; it counts as 0 otherwise.
        plain: Whether covariances are the filter's sums times weights that are not 0: no biases.
        scales: Of the convolutions, an entry each; those of all but the first multiplied by the
            dual's factor.
        layers: The number of convolutions. A number that the compiler knew would let it unroll
            the loop, and compute each layer anew for every shift of the filter.
    """

    dual: AbstractTileDual
    filter_size: Pair = eqx.field(static=True)
    circular: bool = eqx.field(static=True)
    tangent: bool = eqx.field(static=True)
    plain: bool = eqx.field(static=True)
    scales: LayerScales
    layers: Int[Array, ""]

    def prepare(self, pixels: Float[Array, "channels height width images"]) -> Images:
        """The variances of images, layer by layer."""

        def layer(variance: Tile, scale: LayerScales) -> tuple[Tile, Norms]:
            variance = scale.weight * self._box(variance) + scale.bias
            return self.dual.variance(variance), self.dual.norms(variance)

        return Images(pixels, lax.scan(layer, jnp.sum(pixels**2, axis=0), self.scales)[1])

    def tile(self, x: Images, z: Images, grid: Grid, offset: Int[Array, " 2"]) -> Sums:
        """The read-out's sums over one tile.

        Args:
            x: One image, in a single lane.
            z: Images in the lanes, continued as by `geometry.continued`.
            grid: Masks and weights.
            offset: That of the tile.

        Returns:
            The sums, before the scales of the read-out.
        """
        height, width = x.pixels.shape[1:3]
        rows, columns = (m[offset[axis]] for axis, m in enumerate(grid.inside))
        inside = (rows[:, None] & columns[None])[:, :, None]

        def seen(values: Float[Array, "rows columns lanes"]) -> Tile:
            part = lax.dynamic_slice_in_dim(values, offset[0], height, 0)
            return lax.dynamic_slice_in_dim(part, offset[1], width, 1)

        def layer(h: Int[Array, ""] | int, state: Sums, *, first: bool) -> Sums:
            scale = jax.tree.map(lambda values: values[h], self.scales)
            norms_x, norms_z = (tuple(a[h] for a in images.norms) for images in (x, z))
            norms = norms_x, tuple(seen(a) for a in norms_z)
            boxed = self._box(state.nngp), None
            if self.tangent and not first:
                boxed = boxed[0], self._box(state.theta)
            found = self.step(scale, norms, boxed, inside, first=first)
            return found if first else found._replace(blurred=state.blurred)

        products = jnp.zeros((height, width, z.pixels.shape[-1]), z.pixels.dtype)
        for of_x, of_z in zip(x.pixels, z.pixels, strict=True):
            products = products + of_x * seen(of_z)
        none = jnp.zeros_like(products)
        state = layer(0, Sums(products, none, none), first=True)
        blurred = self._read(state.blurred, grid, offset)
        further = lambda h, state: layer(h, state, first=False)
        state = lax.fori_loop(1, self.layers, further, state._replace(blurred=none[:0]))
        m, theta = (self._read(values, grid, offset) for values in state[:2])
        return Sums(m, theta, blurred)

    def step(
        self,
        scale: LayerScales,
        norms: tuple[Norms, Norms],
        boxed: Boxed,
        inside: Inside,
        *,
        first: bool,
    ) -> Sums:
        """One layer, from the filter's sums to the moments of the activation.

        Args:
            scale: Of the convolution.
            norms: Of both images.
            boxed: M and M' o Theta summed over the filter's shifts; the latter not in the first
                layer, nor without a tangent.
            inside: Where both positions lie in their images.
            first: Whether no activation has gone before.

        Returns:
            The new M, M' o Theta, and in the first layer of float32 tiles which angles are blurred.
        """
        m, theta = boxed
        none = jnp.zeros_like(m)
        cov = scale.weight * m + scale.bias
        cov, m_new, k = self.dual(*norms, cov, inside, first=first)
        if not self.tangent:
            return Sums(m_new, none, none)
        if first or not self.plain:
            own = scale.weight_rate * m + scale.bias_rate
        else:
            own = (scale.weight_rate / scale.weight) * cov
        theta = self.dual.back(k, own if theta is None else scale.weight * theta + own, inside)
        if first and cov.dtype != jnp.float64:
            return Sums(m_new, theta, self.dual.blurred(*norms, cov))
        return Sums(m_new, theta, none)

    def _box(self, values: Tile) -> Tile:
        return box(values, self.filter_size, circular=self.circular)

    def _read(self, values: Tile, grid: Grid, offset: Int[Array, " 2"]) -> Float[Array, " lanes"]:
        """The weighted sum, along the width and then along the height."""
        rows, columns = (w[offset[axis]] for axis, w in enumerate(grid.weights))
        by_row = jnp.sum(columns[None, :, None] * values, axis=1)
        return jnp.sum(rows[:, None] * by_row, axis=0)
