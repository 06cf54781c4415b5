"""How long Gram matrices will take on this machine, from a short calibration."""

import dataclasses
import math
import time

import jax
import numpy as np

from flowkit.gramian.descriptions import Inputs
from flowkit.gramian.geometry import usual_tile
from flowkit.kernels import AbstractKernel

SECONDS = 10.0
FIRST = 2  # images along a side of the first sample


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is to be computed, and how fast it goes.

    Attributes:
        pairs: Kernel values, those that are not there yet.
        pairs_per_second: As measured, without compilation.
    """

    pairs: int
    pairs_per_second: float

    @property
    def hours(self) -> float:
        return self.pairs / self.pairs_per_second / 3600

    def __str__(self) -> str:
        if not self.pairs:
            return "Nothing is left to compute."
        rate = f"{self.pairs_per_second:,.0f}" if self.pairs_per_second >= 10 else "under 10"
        return f"About {self.hours:.2g} hours: {self.pairs:,} pairs at {rate} pairs/s."


def estimate(
    kernel: AbstractKernel,
    images: Inputs,
    pairs: int,
    *,
    kind: str = "ntk",
    tile: int | None = None,
    seconds: float | None = None,
) -> Estimate:
    """Time a tile, or as much of one as fits the time given.

    Args:
        kernel: The kernel.
        images: Training images.
        pairs: How many kernel values are to be computed; without any nothing is timed.
        kind: "ntk" or "nngp".
        tile: Images along a side of a tile, at most; as usual where omitted.
        seconds: To calibrate for, about 10 where omitted; compilation comes on top.

    Returns:
        The estimate.
    """
    if not pairs:
        return Estimate(pairs, math.inf)
    seconds = SECONDS if seconds is None else seconds
    largest = min(tile or usual_tile(len(images)), len(images))
    rate = _pairs_per_second(kernel, images, min(FIRST, largest), kind, seconds / 4)
    side = min(max(FIRST, math.isqrt(int(rate * seconds / 4))), largest)
    if side > FIRST:
        rate = _pairs_per_second(kernel, images, side, kind, seconds / 2)
    return Estimate(pairs, rate)


def _pairs_per_second(
    kernel: AbstractKernel, images: Inputs, side: int, kind: str, seconds: float
) -> float:
    """Pairs per second of a tile, the median of what fits the time."""
    x, z = images[:side], images[-side:]
    run = lambda: jax.block_until_ready(kernel.gram(x, z, kind=kind))
    run()  # compiles
    spans, end = [], time.perf_counter() + seconds
    while not spans or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        spans.append(time.perf_counter() - start)
    return side**2 / float(np.median(spans))
