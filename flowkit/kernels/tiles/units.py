"""The units in which a tile holds its layers, so that rounding moves no angle.

A factor such as 1 / 9 is rounded; in float32 all covariances of a layer are then wrong by one
factor that the variances, computed in float64, do not have, and every angle with them. A
homogeneous activation leaves the unit of each layer free: with one in which the factor is a power
of two, nothing is rounded.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.layers import LayerScales
from flowkit.kernels.tiles.activations import AbstractTileDual


class Scaled(NamedTuple):
    """The convolutions' scales, an entry each.

    Attributes:
        scales: In the units of a tile.
        unit: Of what the last activation leaves.
        plain: As in `recursion.Network`.
    """

    scales: LayerScales
    unit: float
    plain: bool


def scaled(kernel: Convolutional, dual: AbstractTileDual, channels: int) -> Scaled:
    """The scales of all convolutions in the units of a tile, the dual's factor in them."""
    rows, unit, factor = [], 1.0, 1.0
    for layer in range(1, kernel.depth):
        weight, bias, rate, bias_rate = map(float, kernel._scales(layer, channels, jnp.float64))
        weight, rate = factor * unit * weight, factor * unit * rate
        exact = _power_of_two(weight) if dual.homogeneous else weight
        new = weight / exact if exact else 1.0
        rows.append((exact, bias / new, rate / new, bias_rate / new))
        unit, factor = new, dual.factor
    columns = np.asarray(rows, float).T
    weights, biases, _, bias_rates = columns
    plain = bool(np.all(weights > 0) and not np.any(biases) and not np.any(bias_rates))
    return Scaled(LayerScales(*map(jnp.asarray, columns)), unit * dual.factor, plain)


def _power_of_two(value: float) -> float:
    return 2.0 ** round(math.log2(value)) if value > 0 else value
