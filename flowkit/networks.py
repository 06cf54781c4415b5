"""Finite networks in NTK parametrization, whose infinitely wide limits are the exact kernels.

Weights are drawn from N(0, 1), and the scale stands in the forward pass: it is this that keeps the
tangent kernel finite and fixed as the width grows.
"""

import itertools
import math
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from flowkit.lowering import lower, lower_activation
from flowkit.symbolic.duals import Activation, dual

Batch = Float[Array, "batch outputs"]

READOUTS = ("gap", "flatten")


@final
class FullyConnectedNetwork(eqx.Module):
    """A fully connected network without biases: f(x) = W_L s_L(.. W_2 s_1(W_1 x)), L = depth.

    Each hidden layer is s_h(u) = sqrt(c / width) s(u) with c = 1 / E[s(x)^2] of a standard normal
    x (2 for the ReLU); inputs are taken as they are. The covariance of one output is, for wide
    layers, the NNGP of `flowkit.kernels.FullyConnected(depth, activation)`, and
    `flowkit.kernels.empirical` its NTK.

    Attributes:
        weights: W_1 .. W_L, the layer's outputs by its inputs; all that is trained.
        activation: s: what `flowkit.symbolic.dual` takes.
        scale: c.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3. Checked by tests/test_networks.py.
    """

    weights: tuple[Float[Array, "_out _in"], ...]
    activation: Activation = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        depth: int,
        width: int,
        inputs: int,
        outputs: int = 1,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights.

        Args:
            depth: The number of weight layers, depth - 1 of them followed by the activation.
            width: The size of every hidden layer.
            inputs: The number of input features.
            outputs: The number of outputs.
            activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function.
            key: Draws the weights.

        Raises:
            ValueError: a number is not a positive integer, or `activation` is unknown.
        """
        _check_positive(depth=depth, width=width, inputs=inputs, outputs=outputs)
        sizes = (inputs, *(width,) * (depth - 1), outputs)
        self.weights = _draw(key, [(after, before) for before, after in itertools.pairwise(sizes)])
        self.activation, self.scale = activation, _scale(activation)

    def __call__(self, x: Float[Array, "batch inputs"]) -> Batch:
        """The outputs at a batch of inputs."""
        *hidden, last = self.weights
        activate = lower_activation(self.activation)
        for W in hidden:
            x = (self.scale / len(W)) ** 0.5 * activate(x @ W.T)
        return x @ last.T


@final
class ConvolutionalNetwork(eqx.Module):
    """A convolutional network without biases: q x q filters, zero padding, a linear read-out.

    Each of the depth - 1 convolutions is followed by sqrt(c / (q^2 channels)) s(u), c as for
    `FullyConnectedNetwork`; images are taken as they are. "flatten" reads out all positions and
    channels, "gap" the mean over positions. For many channels the kernels are those of
    `flowkit.kernels.Convolutional` with the same arguments.

    Attributes:
        filters: One array for each convolution.
        readout: The weights of the linear read-out.
        activation: s: what `flowkit.symbolic.dual` takes.
        scale: c.
        pooled: Whether the read-out is "gap".
        train_ends: Whether the first convolution and the read-out have gradients; without, they
            keep their values under any gradient flow.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 4. Checked by tests/test_networks.py.
    """

    filters: tuple[Float[Array, "size size _in channels"], ...]
    readout: Float[Array, "outputs features"]
    activation: Activation = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    pooled: bool = eqx.field(static=True)
    train_ends: bool = eqx.field(static=True)

    def __init__(
        self,
        depth: int,
        channels: int,
        image_shape: tuple[int, int, int],
        outputs: int = 1,
        activation: Activation = "relu",
        *,
        filter_size: int = 3,
        readout: str = "gap",
        train_ends: bool | None = None,
        key: PRNGKeyArray,
    ):
        """Draw the weights.

        Args:
            depth: The number of weight layers, at least 2: depth - 1 convolutions and a read-out.
            channels: The number of channels of every convolution.
            image_shape: Height, width and channels of an image.
            outputs: The number of outputs.
            activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function.
            filter_size: q, odd.
            readout: "gap" or "flatten".
            train_ends: Whether the first and the last layer are trained; where omitted, true for
                "flatten" and false for "gap", as published.
            key: Draws the weights.

        Raises:
            ValueError: an argument is out of its range or unknown.
        """
        _check_positive(channels=channels, outputs=outputs, filter_size=filter_size)
        height, width, colours = _checked_image_shape(image_shape)
        _check_convolutional(depth, filter_size, readout)
        features = channels if readout == "gap" else height * width * channels
        layers = (colours, *(channels,) * (depth - 1))
        shapes = [(filter_size, filter_size, *pair) for pair in itertools.pairwise(layers)]
        *filters, self.readout = _draw(key, [*shapes, (outputs, features)])
        self.filters = tuple(filters)
        self.activation, self.scale = activation, _scale(activation)
        self.pooled = readout == "gap"
        self.train_ends = not self.pooled if train_ends is None else train_ends

    def __call__(self, x: Float[Array, "batch height width colours"]) -> Batch:
        """The outputs at a batch of images."""
        activate, end = lower_activation(self.activation), self._end
        first, *others = self.filters
        for W in (end(first), *others):
            size, _, _, channels = W.shape
            x = (self.scale / (size**2 * channels)) ** 0.5 * activate(_convolve(x, W))
        features = x.mean((1, 2)) if self.pooled else x.reshape(len(x), -1)
        return features @ end(self.readout).T

    def _end(self, weights: Float[Array, "..."]) -> Float[Array, "..."]:
        return weights if self.train_ends else jax.lax.stop_gradient(weights)


def _convolve(
    x: Float[Array, "batch height width channels"], W: Float[Array, "size size channels out"]
) -> Float[Array, "batch height width out"]:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, W, (1, 1), "SAME", dimension_numbers=dimensions)


def _draw(key: PRNGKeyArray, shapes: list[tuple[int, ...]]) -> tuple[Float[Array, "..."], ...]:
    """All weights in one draw, which is compiled several times faster than one for each."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(jax.random.normal(key, (ends[-1],)), ends[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def _scale(activation: Activation) -> float:
    """The number c = 1 / E[s(x)^2], also where the caller is traced."""
    function = lower(dual(activation))
    with jax.ensure_compile_time_eval():
        return 1 / float(function(1.0, 1.0, 1.0)[0])


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"Argument `{name}` must be an integer of at least 1, but it is `{value!r}`."
            )


def _checked_image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise ValueError(
            "Argument `image_shape` must be height, width and channels, all at least 1, but it is "
            f"`{shape}`."
        )
    height, width, channels = shape
    return height, width, channels


def _check_convolutional(depth: int, filter_size: int, readout: str) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 2:
        raise ValueError(f"Argument `depth` must be an integer of at least 2, but it is `{depth}`.")
    if filter_size % 2 == 0:
        raise ValueError(f"Argument `filter_size` must be odd, but it is `{filter_size}`.")
    if readout not in READOUTS:
        raise ValueError(f"Argument `readout` must be `gap` or `flatten`, but it is `{readout!r}`.")
