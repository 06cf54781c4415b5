"""The kernels of infinitely wide convolutional networks."""

import itertools
from collections.abc import Collection, Iterator
from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Scalar

from flowkit.kernels.base import AbstractPairKernel, equal_inputs
from flowkit.kernels.convolutions import (
    Pair,
    Size,
    Sizes,
    check_filter,
    check_padding,
    filtered,
    for_each_layer,
    of_each_position,
    pair_of,
    pooled,
)
from flowkit.kernels.duals import back, entries
from flowkit.kernels.layers import Layers, LayerScales, Variance, check_integer
from flowkit.kernels.readouts import Readout, check_readout, positions, read_out
from flowkit.symbolic.duals import Activation

Image = Float[Array, "height width channels"]
Covariances = Float[Array, "..."]
Layer = int | Int[Array, ""]  # known, or the counter of a loop


class _State(NamedTuple):
    """Theta, Sigma, and Sigma of each image with itself, before or after an activation.

    All hold pairs of positions, "height width height width", or single positions of both images,
    "height width", where no more is needed: the first two where nothing mixes positions, the
    latter where pooling does not.
    """

    theta: Covariances
    sigma: Covariances
    own: tuple[Covariances, Covariances]


@final
class Convolutional(AbstractPairKernel):
    """NTK and NNGP of a convolutional network (CNTK); by default q x q, zero padding, no biases.

    With L = depth - 1 convolutions, c = 1 / E[s(x)^2] of a standard normal x (2 for the ReLU),
    positions p, p' of the two images, (u, v) ~ N(0, Lambda_{h-1}(p, p')), o the entry-wise product
    and box[T](p, p') the sum of T(p + a, p' + a) over the q^2 EQUAL shifts a, zero outside,

        Sigma_0 = box[sum over channels of x(p) z(p')],    Sigma_h = box[K_h],
        K_h = (c / q^2) E[s(u) s(v)],    K'_h = (c / q^2) E[s'(u) s'(v)],
        Theta_0 = Sigma_0 (0 without ends),  Theta_h = box[K'_h o Theta_{h-1} + K_h] for h < L,
        Theta_L = K'_L o Theta_{L-1} + K_L (no K_L without ends).

    "flatten" reads out the sum over p = p' (the trace), "gap" (global average pooling) the mean
    over all (p, p'), `LocalAverage` what lies between; of Theta_L for the NTK, of K_L for the
    NNGP. There is no 1 / q^2 in Sigma_0, and no 1 / (height * width) in the trace. The defaults are
    the published CNTK-V (flatten, all layers trained) and CNTK-GAP (gap, first and last layer
    fixed). The NTK drives du/dt = -K (u - y) under 1/2 the sum of squares. `flowkit.kernels` has
    the table of conventions and parametrizations.

    Scales of inputs are treated as in `FullyConnected`. Angles between positions below
    6e-8 (1.4e-3 in float32) count as 0, so that Gram matrices of repeated and scaled images are
    positive semidefinite to rounding; images that differ by 1e-8 to 1e-7 of their size, which some
    digits of the angles tell apart, leave eigenvalues down to -1e-9 of the largest. Without
    pooling a pair takes (height * width)^2 numbers, height * width for "flatten"; with pooling
    3 (height * width)^2.

    Attributes:
        depth: The number of weight layers: depth - 1 convolutions and a linear read-out.
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        filter_size: Height and width of the filters.
        readout: "gap", "flatten" or a `LocalAverage`.
        train_ends: Whether the first and the last layer are trained.
        padding: "zero", "circular" or "valid".
        strides: Those of each convolution.
        pooling: The window of average pooling after each convolution's activation.
        layers: Variances, biases and trained layers.
        dense: Whether a dense layer follows the read-out.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 4; the scales are those of the
        authors' program. Checked by tests/kernels/test_convolutional*.py.
    """

    axes: ClassVar[tuple[str, ...]] = ("height", "width", "channels")

    depth: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    filter_size: int | Pair = eqx.field(static=True)
    readout: Readout = eqx.field(static=True)
    train_ends: bool = eqx.field(static=True)
    padding: str = eqx.field(static=True)
    strides: tuple[Pair, ...] = eqx.field(static=True)
    pooling: tuple[Pair, ...] = eqx.field(static=True)
    dense: bool = eqx.field(static=True)
    layers: Layers

    def __init__(
        self,
        depth: int,
        activation: Activation = "relu",
        *,
        filter_size: Size = 3,
        readout: Readout = "gap",
        train_ends: bool | None = None,
        convention: str = "arora",
        padding: str = "zero",
        strides: Sizes = 1,
        pooling: Sizes = 1,
        weight_variance: Variance = None,
        bias_variance: Variance = 0.0,
        parametrization: str = "ntk",
        width: int | None = None,
        train: Collection[int] | None = None,
        train_biases: Collection[int] | None = None,
    ):
        """Describe the network.

        Args:
            depth: The number of weight layers, at least 2.
            activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function.
            filter_size: An odd number q, or height and width, both odd.
            readout: "gap", "flatten" or a `LocalAverage`.
            train_ends: Whether the first and the last layer are trained; where omitted, false for
                "gap" in the convention "arora", as published, and true elsewhere. False in the
                convention "neural-tangents" drops the dense layer instead of fixing it. Without
                ends depth 2 has nothing to train, and its NTK is 0.
            convention: "arora"; or "neural-tangents", where all layers, the first and the read-out
                included, divide the variance by their fan-in, so that "flatten" is a mean too.
            padding: What is outside an image: "zero", "circular" (its continuation), or "valid"
                (filters stay inside).
            strides: A number or one each for height and width; of all convolutions, or a mapping
                of layers, from 1 to depth - 1, to theirs. Filters lie as in `jax.lax`.
            pooling: Likewise the windows of average pooling, side by side, after the activation.
            weight_variance: sigma_w^2 of one unit's sum over its inputs; c where omitted.
            bias_variance: sigma_b^2; the number 0 means that there are no biases.
            parametrization: "ntk", parameters N(0, 1) with their deviations as factors in the
                forward pass; or "standard", parameters drawn with these deviations.
            width: The number N of channels that the standard parametrization counts.
            train: The layers, from 1 to depth, whose weights are trained, in place of
                `train_ends`.
            train_biases: The layers whose biases are trained; those of `train` where omitted.

        Raises:
            ValueError: an argument is out of its range or unknown.
        """
        check_integer("depth", depth, least=2)
        check_readout(readout)
        if train is not None and train_ends is not None:
            raise ValueError(
                f"Argument `train` must not come with `train_ends`, but they are `{train}` and "
                f"`{train_ends}`."
            )
        if train_ends is None and train is None:
            train_ends = readout != "gap" or convention != "arora"
        fixed = train_ends is False
        self.depth, self.activation = depth, activation
        pair = pair_of("filter_size", filter_size)
        self.filter_size = filter_size if isinstance(filter_size, int) else pair
        self.readout, self.padding = readout, padding
        self.strides = for_each_layer("strides", strides, depth - 1)
        self.pooling = for_each_layer("pooling", pooling, depth - 1)
        self.dense = not (fixed and convention == "neural-tangents")
        self.layers = Layers(
            depth,
            activation,
            convention=convention,
            parametrization=parametrization,
            width=width,
            weight_variance=weight_variance,
            bias_variance=bias_variance,
            train=range(2, depth) if fixed else train,
            train_biases=train_biases,
        )
        self.train_ends = {1, depth} <= set(self.layers.train)

    def __check_init__(self):
        check_filter(self.filter_size)
        check_padding(self.padding)

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
        layer = lambda h, state: self._activate(h, self._convolve(h, state, x.shape[-1]), same)
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
        return _State(jnp.zeros_like(sigma), sigma, (own_x, own_z))

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

    def _activate(self, h: Layer, state: _State, same: Bool[Array, ""]) -> _State:
        """The activation of convolution h, and its pooling: M' o Theta, M, and M of each image."""
        theta, sigma, own = state
        var_x, var_z = (jnp.where(same, of_each_position(sigma), of_each_position(a)) for a in own)
        moments = self.layers.moments
        first, second = (..., None, None), (None, None)
        spread = (var_x[first], var_z[second]) if self._needs_pairs else (var_x, var_z)
        m, m_dot = moments(*spread, sigma)
        if not self._pools:
            m_x, m_z = (moments(var, var, var)[0] for var in (var_x, var_z))
            return _State(back(m_dot, theta), m, (m_x, m_z))
        of_pairs = lambda var, a: moments(var[first], var[second], a)[0]
        m_x, m_z = map(of_pairs, (var_x, var_z), own)
        window = self.pooling[h - 1] if isinstance(h, int) else (1, 1)
        theta, m, m_x, m_z = (pooled(a, window) for a in (back(m_dot, theta), m, m_x, m_z))
        return _State(theta, m, (m_x, m_z))

    def _convolve(self, h: Layer, state: _State, channels: int) -> _State:
        """Convolution h."""
        scales = self._scales(h, channels, state.sigma.dtype)
        box = lambda values: self._box(values, h)
        affine = lambda values: scales.weight * box(values) + scales.bias
        return _State(
            box(scales.weight * state.theta + scales.weight_rate * state.sigma) + scales.bias_rate,
            affine(state.sigma),
            (affine(state.own[0]), affine(state.own[1])),
        )

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
