"""How long Gram matrices will take on this machine, from a short calibration."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from flowkit.gramian.descriptions import Inputs
from flowkit.gramian.geometry import usual_tile
from flowkit.kernels import AbstractKernel

SECONDS = 10.0
FIRST = 2  # columns of the first sample, which has one row


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
    run = lambda rows, columns, allowed: _seconds(
        lambda: kernel.gram(images[:rows], images[-columns:], kind=kind), allowed
    )
    few = min(FIRST, largest)
    # Some columns may cost no more than one: kernels work on many at once.
    columns = min(max(few, int(few * seconds / run(1, few, seconds / 8))), largest)
    each = run(1, columns, seconds / 8)
    rows = min(max(1, int(seconds / 4 / each)), largest)
    return Estimate(pairs, rows * columns / (run(rows, columns, seconds / 2) if rows > 1 else each))


def _seconds(run: Callable[[], Any], allowed: float) -> float:
    """What a run takes after one that compiles, the median of what fits the time."""
    jax.block_until_ready(run())
    spans, end = [], time.perf_counter() + allowed
    while not spans or time.perf_counter() < end:
        start = time.perf_counter()
        jax.block_until_ready(run())
        spans.append(time.perf_counter() - start)
    return float(np.median(spans))
