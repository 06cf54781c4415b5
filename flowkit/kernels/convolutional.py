"""The kernels of infinitely wide convolutional networks."""

from collections.abc import Collection
from typing import ClassVar, final

import equinox as eqx

from flowkit.kernels.convolutions import (
    Pair,
    Size,
    Sizes,
    check_filter,
    check_padding,
    for_each_layer,
    pair_of,
)
from flowkit.kernels.layers import Layers, Variance, check_integer
from flowkit.kernels.position_pairs import AbstractPairsOfPositions
from flowkit.kernels.readouts import Readout, check_readout
from flowkit.symbolic.duals import Activation


@final
class Convolutional(AbstractPairsOfPositions):
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

    Scales of inputs are treated as in `FullyConnected`, and so are angles: Gram matrices of
    repeated, scaled and nearly parallel images are positive semidefinite to rounding. Only average
    pooling loses that: after it, angles below 6e-8 (1.4e-3 in float32) count as 0, and images
    that differ by 1e-8 to 1e-7 of their size leave eigenvalues down to -1e-9 of the largest.
    Without pooling a pair takes (height * width)^2 numbers, height * width for "flatten"; with
    pooling 3 (height * width)^2.

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
