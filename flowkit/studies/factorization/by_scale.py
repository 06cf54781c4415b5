"""Flows of several depths and the least nuclear norm, by the scale of the start."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from flowkit.claim import Curves, Panels
from flowkit.datasets import LowRank, low_rank
from flowkit.problems import MatrixCompletion, MatrixSensing
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.recovery import (
    TRAIN_LOSS,
    least_nuclear_norm,
    recovered,
    values,
)
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Cell, Study
from flowkit.studies.work import Work

VERSION = 1
NUCLEAR = "least nuclear norm"
PUBLISHED_SIZE, PUBLISHED_RANK = 100, 5
LARGEST_SCALE = 1e-3  # published scales run from here down to 1e-6
ERROR_OF_ZERO = 1.0  # the mean square of the true matrix
ROOM_BELOW = 5  # factor below the least error of a flow that is shown
SHOWN = {
    "error": "reconstruction error",
    "nuclear_norm": "nuclear norm",
    "effective_rank": "effective rank",
}

Part = Mapping[str, float]
Observe = Callable[[LowRank, int], MatrixCompletion | MatrixSensing]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Numbers of factors.
        scales: Scales of the product at the start.
        observed: Numbers of observed entries, or of measurements.
        seeds: How many draws of matrix, observations and start.
        size: Rows and columns of the matrix.
        rank: Its rank.
    """

    depths: tuple[int, ...]
    scales: tuple[float, ...]
    observed: tuple[int, ...]
    seeds: int
    size: int = PUBLISHED_SIZE
    rank: int = PUBLISHED_RANK

    def __post_init__(self):
        check_numbers(self, "depths", "observed", "seeds", "size", "rank", least=1)
        check_numbers(self, "scales")

    @property
    def published(self) -> bool:
        """Whether the matrix is as in the paper."""
        return (self.size, self.rank) == (PUBLISHED_SIZE, PUBLISHED_RANK)


@dataclass(frozen=True)
class Found:
    """Parts of a study, one per seed, by number of observations.

    Attributes:
        settings: Of the study.
        flows: By observations, depth and scale.
        least: Of the least nuclear norm, by observations.
    """

    settings: Settings
    flows: Mapping[tuple[int, int, float], list[Part]]
    least: Mapping[int, list[Part]]

    def of_depth(self, observed: int, depth: int, *, most: float = np.inf) -> list[Part]:
        """The parts of a depth at all scales up to `most`."""
        scales = [scale for scale in self.settings.scales if scale <= most]
        return [part for scale in scales for part in self.flows[observed, depth, scale]]


def study(
    settings: Settings,
    work: Work,
    *,
    name: str,
    task: str,
    counted: str,
    observe: Observe,
    compare: Callable[[Found], Sequence[Comparison]],
    notes: tuple[str, ...],
) -> Study:
    """The study of one way to observe a matrix.

    Args:
        settings: Depths, scales, numbers of observations, seeds.
        work: Where parts are kept.
        name: The name on the command line.
        task: What is done with the matrix, for the title.
        counted: What is counted by the number of observations.
        observe: Observes a matrix, so many times.
        compare: Holds what was found of the published matrix against published numbers.
        notes: What a reader has to know of this way to observe, and of what is published.

    Returns:
        A row per number of observations, method and scale.

    Raises:
        ValueError: more is to be observed than there is, or the rank exceeds the size.
    """
    found = _find(settings, work, observe)
    matrix = f"a rank-{settings.rank} matrix, {settings.size} x {settings.size}"
    title = f"{task} of {matrix}: mean and range, seeds: {settings.seeds}"
    comparisons = compare(found) if settings.published else ()
    return Study(
        name=name,
        title=title,
        settings=settings,
        rows=_rows(found),
        chart=_panels(found, title, counted),
        notes=(
            "The error is the mean of squares over all entries, its mean and range over seeds.",
            f"Flows stop at a training loss (mean of squares) of {TRAIN_LOSS:g}.",
            *notes,
            *_strays(found),
        ),
        comparisons=tuple(row for row in comparisons if row.measured),
    )


def _find(settings: Settings, work: Work, observe: Observe) -> Found:
    """Solve every part that is not there yet."""
    draws = [
        {"size": settings.size, "rank": settings.rank, "observed": observed, "seed": seed}
        for observed, seed in itertools.product(settings.observed, range(settings.seeds))
    ]
    cases = [
        {"depth": depth, "scale": scale, **draw}
        for depth, scale, draw in itertools.product(settings.depths, settings.scales, draws)
    ]

    def drawn(size: int, rank: int, observed: int, seed: int):
        matrix = low_rank(size, rank, key=jax.random.key(seed))
        return matrix, observe(matrix, observed)

    def solve_least(**draw: int) -> dict[str, float]:
        matrix, problem = drawn(**draw)
        return least_nuclear_norm(problem, matrix.matrix)

    def solve_flow(depth: int, scale: float, **draw: int) -> dict[str, float]:
        matrix, problem = drawn(**draw)
        start = {"depth": depth, "scale": scale, "key": matrix.start_key}
        return recovered(problem, matrix.matrix, **start)

    flows: dict[tuple[int, int, float], list[Part]] = {}
    least: dict[int, list[Part]] = {}
    parts = work.parts("flow", solve_flow, cases, version=VERSION)
    for case, part in zip(cases, parts, strict=True):
        flows.setdefault((case["observed"], case["depth"], case["scale"]), []).append(part)
    parts = work.parts(NUCLEAR, solve_least, draws, version=VERSION)
    for draw, part in zip(draws, parts, strict=True):
        least.setdefault(draw["observed"], []).append(part)
    return Found(settings, flows, least)


def _strays(found: Found) -> list[str]:
    """Which flows fit what is observed by a matrix that is further from the true one than zero."""
    strays = [
        f"depth {depth} from {scale:g}, {observed} observed, seed {seed}"
        for (observed, depth, scale), parts in found.flows.items()
        for seed, error in enumerate(values(parts, "error"))
        if error > ERROR_OF_ZERO
    ]
    return [f"Further from the true matrix than zero: {'; '.join(strays)}."] if strays else []


def _rows(found: Found) -> tuple[dict[str, Cell], ...]:
    """A row per number of observations, method and scale: means over seeds."""
    table = []
    for observed in found.settings.observed:
        table.append(_row(observed, NUCLEAR, None, found.least[observed]))
        table += [
            _row(observed, f"depth {depth}", scale, parts)
            for (count, depth, scale), parts in found.flows.items()
            if count == observed
        ]
    return tuple(table)


def _row(observed: int, method: str, scale: float | None, parts: list[Part]) -> dict[str, Cell]:
    errors = values(parts, "error")
    mean = lambda name: float(np.mean(values(parts, name)))
    return {
        "observed": observed,
        "method": method,
        "scale": None if scale is None else f"{scale:g}",
        "error": float(np.mean(errors)),
        "least": min(errors),
        "largest": max(errors),
        "nuclear_norm": mean("nuclear_norm"),
        "(true)": mean("true_nuclear_norm"),
        "effective_rank": mean("effective_rank"),
        "true": mean("true_effective_rank"),
    }


def _panels(found: Found, title: str, counted: str) -> Panels:
    """Error, nuclear norm and effective rank by scale; a row per number of observations."""
    return Panels(
        title=title,
        panels=tuple(
            _panel(found, observed, name, counted)
            for observed in found.settings.observed
            for name in SHOWN
        ),
        columns=len(SHOWN),
        caption="Lines: means over seeds, where the flow ends. Bars: range over seeds. Grey: the "
        "matrix of least nuclear norm, and the true one.",
    )


def _panel(found: Found, observed: int, name: str, counted: str) -> Curves:
    lines, intervals = {}, {}
    scales = sorted(found.settings.scales)
    for depth in found.settings.depths:
        by_scale = [values(found.flows[observed, depth, scale], name) for scale in scales]
        label = f"depth {depth}"
        lines[label] = (scales, [float(np.mean(v)) for v in by_scale])
        intervals[label] = (scales, [min(v) for v in by_scale], [max(v) for v in by_scale])
    lowest = min(min(lows) for _, lows, _ in intervals.values())
    least = found.least[observed]
    across = [min(scales) / 1.5, max(scales) * 1.5]
    flat = lambda name: (across, [float(np.mean(values(least, name)))] * 2)
    lines[NUCLEAR] = flat(name)
    if name != "error":
        lines["truth"] = flat(f"true_{name}")
    return Curves(
        title=f"{observed:,} {counted}",
        x_label="scale of the product at the start",
        y_label=SHOWN[name],
        lines=lines,
        intervals=intervals,
        references=(NUCLEAR, "truth"),
        log_x=True,
        log_y=name == "error",
        reverse_x=True,
        # The least nuclear norm may recover the matrix up to rounding, far below.
        least_y=lowest / ROOM_BELOW if name == "error" else None,
    )
