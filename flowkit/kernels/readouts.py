"""Read-outs of a convolutional network: what of the last activations a dense layer sees."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowkit.kernels.layers import check_integer

READOUTS = ("gap", "flatten")


@final
class LocalAverage(eqx.Module):
    """The read-out LAP(c): means over (2 c + 1)^2 positions around each, then all of them.

    Outside the image there are zeros, or its periodic continuation where the padding is circular.
    c = 0 is "flatten"; windows that hold the whole image leave a multiple of "gap".

    Attributes:
        reach: c.

    Source:
        Li et al. 2019, arXiv:1911.00809. Checked by tests/kernels/test_readouts.py.
    """

    reach: int = eqx.field(static=True)

    def __check_init__(self):
        check_integer("reach", self.reach, least=0)


Readout = str | LocalAverage


def check_readout(readout: Readout) -> None:
    """Refuse an unknown read-out."""
    if not isinstance(readout, LocalAverage) and readout not in READOUTS:
        raise ValueError(
            "Argument `readout` must be `gap`, `flatten` or a `LocalAverage`, but it is "
            f"`{readout!r}`."
        )


def read_out(
    values: Float[Array, "height width height width"], readout: Readout, *, circular: bool
) -> Float[Array, ""]:
    """Sum over the read-out's features of the covariance between both images.

    Args:
        values: T(p, p') of the last activations.
        readout: "gap", "flatten" or a `LocalAverage`.
        circular: Whether images are continued periodically.

    Returns:
        The mean over all (p, p'), the trace, or the sum over windows of the mean within each.
    """
    height, width = values.shape[:2]
    rows, columns = (
        jnp.asarray(overlaps(length, readout, circular=circular), values.dtype)
        for length in (height, width)
    )
    return jnp.einsum("abcd,ac,bd->", values, rows, columns, precision="highest")


def positions(readout: Readout, shape: tuple[int, int]) -> int:
    """The number of positions that the dense layer sees."""
    return 1 if readout == "gap" else shape[0] * shape[1]


def overlaps(
    length: int, readout: Readout, *, circular: bool
) -> Float[np.ndarray, "length length"]:
    """The weight of each pair of positions along one side: of the windows that hold both."""
    if readout == "gap":
        windows = np.full((1, length), 1 / length)
    elif isinstance(readout, LocalAverage):
        windows = _windows(length, readout.reach, circular=circular)
    else:
        windows = np.eye(length)
    return windows.T @ windows


def _windows(length: int, reach: int, *, circular: bool) -> Float[np.ndarray, "windows length"]:
    """The mean of each window, a row for each; a period may come more than once."""
    offsets = np.subtract.outer(np.arange(length), np.arange(length))
    around = range(-reach // length - 1, reach // length + 2) if circular else (0,)
    inside = sum((abs(offsets + turn * length) <= reach).astype(float) for turn in around)
    return np.asarray(inside) / (2 * reach + 1)
