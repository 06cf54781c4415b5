"""Whether a GPU computes what it should: a few values are computed again, by the maths of one pair.

Warps rest on where Triton's compiler puts the numbers of a tensor, which no interface promises. So
the first result of every program on every device is probed before it is trusted.
"""

from collections.abc import Hashable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from flowkit.kernels.checks import Kinds
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.blocks import Device
from flowkit.kernels.tiles.warp import WARP

# Of a value: far above the rounding of deep networks, far below a number out of place.
TOLERANCES = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-6}
SMALL = 1e-2  # of the largest value of its kind: what is smaller is held against that

Images = Float[Array, "images height width channels"]
Places = Int[np.ndarray, " pairs"]
Values = Float[np.ndarray, "*kinds pairs"]

_verdicts: dict["Program", str | None] = {}


class Program(NamedTuple):
    """What runs on one device for one network, up to the number of images."""

    network: Hashable
    shape: tuple[int, ...]
    dtype: np.dtype
    kind: Kinds
    paired: bool
    device: Device

    @classmethod
    def of(
        cls, kernel: Convolutional, x: Images, kind: Kinds, device: Device, *, paired: bool
    ) -> "Program":
        """That of a kernel on images of the shape and type of x."""
        return cls(jax.tree.structure(kernel), x.shape[1:], x.dtype, kind, paired, device)

    @property
    def is_probed(self) -> bool:
        """Whether there is a verdict, of whatever kind."""
        return self in _verdicts

    @property
    def verdict(self) -> str | None:
        """Why it is not to be used; None where its values agreed or have not been probed."""
        return _verdicts.get(self)

    def judge(self, found: Values, expected: Values) -> str | None:
        """Compare its values with those of the maths of one pair; keep the verdict and return it.

        Where either is infinite or `nan` nothing is learnt, and where all are no verdict is kept.
        """
        known = np.isfinite(found) & np.isfinite(expected)
        if not known.any():
            return None
        sizes = np.abs(np.where(known, expected, 0.0))
        sizes = np.maximum(sizes, SMALL * sizes.max(axis=-1, keepdims=True))[known]
        off = np.abs(found[known] - expected[known])
        wrong = np.any(off > TOLERANCES[self.dtype] * sizes)
        worst = np.max(off / np.where(sizes, sizes, 1.0))
        _verdicts[self] = f"its values were wrong by {100 * worst:.2g} %" if wrong else None
        return _verdicts[self]


def places(rows: int, columns: int) -> tuple[Places, Places]:
    """Pairs to probe: the columns of the first warp, whose lanes may hold several images.

    Each but the first stands right of the diagonal, so that no two are mirrored.
    """
    each = np.arange(min(columns, WARP))
    return np.clip(each - 1, 0, rows - 1), each
