"""The recursion of convolutional kernels over pairs of positions of two images."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Scalar

from flowkit.kernels import angles
from flowkit.kernels.base import AbstractPairKernel, equal_inputs
from flowkit.kernels.convolutions import (
    Pair,
    Size,
    filtered,
    of_each_position,
    pair_of,
    patches,
    pooled,
)
from flowkit.kernels.duals import back, entries
from flowkit.kernels.layers import Layers, LayerScales
from flowkit.kernels.readouts import Readout, positions, read_out
from flowkit.lowering.gaps import guarded_root, power_of_two
from flowkit.symbolic.duals import Activation

Image = Float[Array, "height width channels"]
Covariances = Float[Array, "..."]
Layer = int | Int[Array, ""]  # known, or the counter of a loop


class _State(NamedTuple):
    """Before or after an activation.

    Pairs of positions, "height width height width", or single positions of both images, "height
    width", where no more is needed: `own` where nothing pools, the others where nothing mixes.

    Attributes:
        theta: The NTK.
        sigma: The covariance.
        own: The covariances of each image with itself.
        apart: 1 - |correlation|, while it is known better than from these. What enters the first
            convolution has that which leaves it.
    """

    theta: Covariances
    sigma: Covariances
    own: tuple[Covariances, Covariances]
    apart: Covariances | None


class AbstractPairsOfPositions(AbstractPairKernel):
    """Convolutions and activations, layer by layer; a subclass says which."""

    depth: eqx.AbstractVar[int]
    activation: eqx.AbstractVar[Activation]
    filter_size: eqx.AbstractVar[Size]
    readout: eqx.AbstractVar[Readout]
    padding: eqx.AbstractVar[str]
    strides: eqx.AbstractVar[tuple[Pair, ...]]
    pooling: eqx.AbstractVar[tuple[Pair, ...]]
    dense: eqx.AbstractVar[bool]
    layers: eqx.AbstractVar[Layers]

    @property
    def _filter(self) -> Pair:
        return pair_of("filter_size", self.filter_size)

    @property
    def _area(self) -> int:
        return self._filter[0] * self._filter[1]

    def _pair(self, x: Image, z: Image) -> tuple[Scalar, Scalar]:
        same = equal_inputs(x, z)

        # An activation after its convolution, and both in a loop: otherwise XLA would compute the
        # activation anew for each term of the filter's sum.
        def layer(h: Layer, state: _State) -> _State:
            scales = self._scales(h, x.shape[-1], x.dtype)
            return self._activate(h, self._convolve(h, scales, state), same)

        state = self._inputs(x, z)
        for start, stop in self._runs():
            if stop == start + 1:  # the only one that may change the number of positions
                state = layer(start, state)
            else:
                state = jax.lax.fori_loop(start, stop, layer, state)
        return self._read(state)

    def _inputs(self, x: Image, z: Image) -> _State:
        """What enters the first convolution."""
        sigma = self._products(x, z, pairs=self._needs_pairs)
        own_x, own_z = (self._products(image, image, pairs=self._pools) for image in (x, z))
        return _State(jnp.zeros_like(sigma), sigma, (own_x, own_z), self._first_angles(x, z))

    def _first_angles(self, x: Image, z: Image) -> Covariances | None:
        """Those between the patches of both images."""
        if not angles.has_angle(self.activation):
            return None
        scales = self._scales(1, x.shape[-1], x.dtype)
        a, b = (self._seen(1, scales, image) for image in (x, z))
        a, b = (angles.unit(seen, jnp.sum(seen**2, axis=-1)) for seen in (a, b))
        products = self._products(a, b, pairs=self._needs_pairs)
        return angles.between(*self._spread(a, b), products)

    def _products(self, x: Image, z: Image, *, pairs: bool) -> Covariances:
        """Inner products of all pairs of pixels, or of those at the same position."""
        axes = "abc,dec->abde" if pairs else "abc,abc->ab"
        return jnp.einsum(axes, x, z, precision="highest")

    @property
    def _needs_pairs(self) -> bool:
        """Whether pairs of different positions reach the read-out."""
        return self._pools or self.readout != "flatten"

    @property
    def _pools(self) -> bool:
        return any(window != (1, 1) for window in self.pooling)

    def _spread(self, of_x: Array, of_z: Array) -> tuple[Array, Array]:
        """Values by position of each image, to be broadcast over pairs where these are needed."""
        return (of_x[:, :, None, None], of_z[None, None]) if self._needs_pairs else (of_x, of_z)

    def _activate(self, h: Layer, state: _State, same: Bool[Array, ""]) -> _State:
        """The activation of convolution h, and its pooling: M' o Theta, M, and M of each image."""
        theta, sigma, own, apart = state
        var_x, var_z = (jnp.where(same, of_each_position(sigma), of_each_position(a)) for a in own)
        moments, spread = self.layers.moments, self._spread(var_x, var_z)
        m, m_dot = moments(*spread, sigma, None if apart is None else angles.squared_sine(apart))
        if apart is not None:
            apart = angles.after_activation(self.activation, apart, sigma)
        if not self._pools:
            m_x, m_z = (moments(var, var, var)[0] for var in (var_x, var_z))
            return _State(back(m_dot, theta), m, (m_x, m_z), apart)
        of_pairs = lambda var, a: moments(var[..., None, None], var[None, None], a)[0]
        m_x, m_z = map(of_pairs, (var_x, var_z), own)
        window = self.pooling[h - 1] if isinstance(h, int) else (1, 1)
        theta, m, m_x, m_z = (pooled(a, window) for a in (back(m_dot, theta), m, m_x, m_z))
        return _State(theta, m, (m_x, m_z), apart if window == (1, 1) else None)

    def _convolve(self, h: Layer, scales: LayerScales, state: _State) -> _State:
        """Convolution h."""
        box = lambda values: self._box(values, h)
        affine = lambda values: scales.weight * box(values) + scales.bias
        after = _State(
            box(scales.weight * state.theta + scales.weight_rate * state.sigma) + scales.bias_rate,
            affine(state.sigma),
            (affine(state.own[0]), affine(state.own[1])),
            None,
        )
        return after._replace(apart=self._angles(h, scales, state, after))

    def _angles(
        self, h: Layer, scales: LayerScales, before: _State, after: _State
    ) -> Covariances | None:
        """Those after a sum over patches."""
        if before.apart is None or (isinstance(h, int) and h == 1):
            return before.apart
        roots = [guarded_root(of_each_position(own), 0.0) for own in before.own]
        variances = list(map(of_each_position, after.own))
        units = (
            angles.unit(self._seen(h, scales, root[..., None]), var)
            for root, var in zip(roots, variances, strict=True)
        )
        # In units of the largest deviation, or slopes in single precision would overflow.
        size = [power_of_two(var.max()) for var in variances]
        roots = [root / s for root, s in zip(roots, size, strict=True)]
        inverse = [angles.inverse_root(var / s / s) for var, s in zip(variances, size, strict=True)]
        below = angles.below_one(before.apart, before.sigma)
        within = self._box(math.prod(self._spread(*roots)) * below, h)
        within = scales.weight * math.prod(self._spread(*inverse)) * within
        apart = angles.after_sum(*self._spread(*units), within)
        return apart if isinstance(h, int) else jnp.where(h == 1, before.apart, apart)

    def _seen(
        self, h: Layer, scales: LayerScales, values: Image
    ) -> Float[Array, "rows columns patch"]:
        """What convolution h sees at each of its places, as the features of a sum of squares."""
        strides = self.strides[h - 1] if isinstance(h, int) else (1, 1)
        seen = jnp.sqrt(scales.weight) * patches(values, self._filter, strides, self.padding)
        if self.layers.bias_variance is None:
            return seen
        bias = jnp.broadcast_to(guarded_root(scales.bias, 0.0), (*seen.shape[:2], 1))
        return jnp.concatenate([seen, bias], axis=-1)

    def _scales(self, h: Layer, channels: int, dtype: DTypeLike) -> LayerScales:
        """The scales of convolution h."""
        first = self.layers.first(self._area * channels, dtype)
        further = self.layers.next(h, dtype, divisor=self._area)
        return jax.tree.map(lambda a, b: jnp.where(h == 1, a, b), first, further)

    def _box(self, values: Covariances, h: Layer) -> Covariances:
        strides = self.strides[h - 1] if isinstance(h, int) else (1, 1)
        return filtered(values, self._filter, strides, self.padding)

    def _runs(self) -> Iterator[tuple[int, int]]:
        """The layers 1 .. L, alone or, where none changes the number of positions, in a run."""
        keeps = self.padding != "valid" or self._filter == (1, 1)
        plain = lambda h: keeps and self.strides[h - 1] == self.pooling[h - 1] == (1, 1)
        for is_plain, layers in itertools.groupby(range(1, self.depth), plain):
            run = list(layers)
            if is_plain:
                yield run[0], run[-1] + 1
            else:
                yield from ((h, h + 1) for h in run)

    def _read(self, state: _State) -> tuple[Scalar, Scalar]:
        """NTK and NNGP of the outputs."""
        circular = self.padding == "circular"
        read = lambda values: read_out(values, self.readout, circular=circular)
        theta, m = (read(a) if self._needs_pairs else a.sum() for a in state[:2])
        scales = self._readout_scales(state.sigma)
        theta = scales.weight * theta + scales.weight_rate * m + scales.bias_rate
        return theta, scales.weight * m + scales.bias

    def _readout_scales(self, values: Covariances) -> LayerScales:
        height, width = values.shape[:2]
        places = positions(self.readout, (height, width))
        if not self.dense:
            zero = jnp.zeros((), values.dtype)
            return LayerScales(zero + 1 / places, zero, zero, zero)
        divisor = self._area if self.layers.convention == "arora" else places
        return self.layers.next(self.depth, values.dtype, divisor=divisor)

    def _pair_entries(self, shape: tuple[int, ...]) -> int:
        height, width, _ = shape
        pairs = (height * width) ** 2 if self._needs_pairs else height * width
        return pairs * entries(self.activation) * (3 if self._pools else 1)
