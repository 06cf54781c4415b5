"""Tiles of pairs of positions: which positions an offset pairs, and what a read-out takes of it.

A convolution moves both positions alike, so that it mixes only pairs of equal offset p' - p. Along
one side of length P the pairs of offset d, position i with (i + d) mod Q, are a tile of P entries.
With zero padding the period Q is P + r, r the reach of the filter: the pairs of offset d and those
of offset d - Q share a tile, kept apart by r positions outside the image. Without such a gap, in a
tile of period P, the filter's shifts keep them apart by masks.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from flowkit.kernels.convolutions import Pair
from flowkit.kernels.readouts import Readout, overlaps


class Side(NamedTuple):
    """The offsets along one side of the images.

    Attributes:
        inside: For each offset and position, whether the other position lies in the image.
        weights: What the read-out makes of the pair: its weight, 0 outside.
    """

    inside: Bool[np.ndarray, "period length"]
    weights: Float[np.ndarray, "period length"]


def side(
    length: int, filter_size: int, readout: Readout, *, circular: bool, gap: bool = True
) -> Side:
    """The tiles along one side.

    Args:
        length: P, of the images.
        filter_size: q, of the filter.
        readout: The read-out.
        circular: Whether images are continued periodically.
        gap: Whether zero padding lies between the pairs that share a tile.

    Returns:
        A row for each offset from 0 to Q - 1.
    """
    period = length if circular or not gap else length + min(filter_size // 2, length - 1)
    other = (np.arange(period)[:, None] + np.arange(length)[None]) % period
    inside = other < length
    of_pairs = overlaps(length, readout, circular=circular)
    weights = of_pairs[np.arange(length)[None], np.where(inside, other, 0)]
    return Side(inside, np.where(inside, weights, 0.0))


def needed(rows: Side, columns: Side) -> Int[np.ndarray, "offsets 2"]:
    """The offsets that the read-out sees, offset zero first."""
    seen = [np.flatnonzero(s.weights.any(axis=1)) for s in (rows, columns)]
    return np.stack(np.meshgrid(*seen, indexing="ij"), axis=-1).reshape(-1, 2)


def continued(values: Float[Array, "height width ..."], periods: Pair) -> Float[Array, "..."]:
    """Images continued with their period, zeros between, as far as an offset may reach."""
    for axis, period in enumerate(periods):
        length = values.shape[axis]
        one = [(0, period - length if a == axis else 0) for a in range(values.ndim)]
        padded = jnp.pad(values, one)
        start = [slice(None)] * axis + [slice(0, length - 1)]
        values = jnp.concatenate([padded, padded[tuple(start)]], axis=axis)
    return values
