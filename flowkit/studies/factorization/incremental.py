"""Modes are learnt one after another from a small start: how small it has to be."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import root_scalar

from flowkit.claim import Curves, Panels
from flowkit.claims.factorization import modes_along
from flowkit.lowering.mode_times import elapsed_time
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.recovery import WANTED
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 1
SOURCE = "1909.12051"
MODES = (4.0, 3.0, 2.0, 1.0)
TIMES = 240
SETTLED = 0.99  # share of the last mode at which the picture ends
LEARNT, UNTOUCHED = 0.9, 0.1  # shares of a strong mode and of a weak one that count as such
GAPS = np.geomspace(0.02, 1.0, 9)  # S_strong / S_weak - 1
FITTED = 4  # of the smallest gaps, where the law is asymptotic
LOG_SCALES = (-690.0, np.log(UNTOUCHED))  # of e, between which a critical scale is sought
SLOPE_TOLERANCE = 0.1
SHARE_TOLERANCE = 1e-3
LEAST_SHOWN = 1e-20
CHECKED_RATIO = 2.0  # at which the critical scale is tried by an integrated flow

Part = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Numbers of factors.
        scales: Starts of every mode, for the pictures of modes over time.
    """

    depths: tuple[int, ...] = (1, 2, 3, 4)
    scales: tuple[float, ...] = (1e-3,)

    def __post_init__(self):
        check_numbers(self, "depths", least=1)
        check_numbers(self, "scales")
        if max(self.scales) >= UNTOUCHED * MODES[-1]:
            raise ValueError(
                f"Argument `scales` must hold numbers below {UNTOUCHED * MODES[-1]:g}, a share "
                f"{UNTOUCHED:g} of the least mode, but it is {self.scales}."
            )


def incremental(settings: Settings, work: Work) -> Study:
    """Follow modes of one matrix, and find the scales from which they are learnt in turn.

    A start separates two modes if at some time the strong one has 90 % of its target and the weak
    one at most 10 %. The largest such start falls exponentially in 1/(r - 1) at depth 2, with r
    the ratio of the targets, and as (r - 1)^{N/(N-2)} at depth N >= 3.

    Args:
        settings: Depths, and starts of the pictures.
        work: Where parts are kept.

    Returns:
        A row per depth and mode: when it reaches half of its target, and how far the next one is.

    Source:
        Gissin, Shalev-Shwartz, Daniely 2020, arXiv:1909.12051.
    """
    cases = [{"depth": d, "start": s} for d in settings.depths for s in settings.scales]
    modes = list(zip(cases, work.parts("modes", _follow, cases, version=VERSION), strict=True))
    deep = [{"depth": depth} for depth in settings.depths if depth > 1]
    scales = work.parts("critical scales", _critical, deep, version=VERSION)
    critical = {case["depth"]: part for case, part in zip(deep, scales, strict=True)}
    return Study(
        name="incremental",
        title="When each mode is learnt, in flow time of 1/2 the sum of squares",
        settings=settings,
        rows=tuple(row for case, part in modes for row in _rows(case, part)),
        chart=_chart(settings, modes, critical),
        notes=(
            "Next: the share of the next mode's target that is there when this one has 90 %.",
            "Critical scales come from closed forms; an integrated flow is held against one each.",
        ),
        comparisons=tuple(_comparisons(modes, critical)),
    )


def _follow(depth: int, start: float) -> Part:
    """All modes along a factor flow until the last is learnt, in equal steps of time."""
    end = _time(SETTLED * MODES[-1], start, MODES[-1], depth)
    times = np.linspace(0.0, end, TIMES)
    return {"times": times.tolist(), "modes": modes_along(depth, start, MODES, times).T.tolist()}


_elapsed = jax.jit(elapsed_time)


def _time(s: float, start: float, target: float, depth: int) -> float:
    """The time of a mode by its closed form, of 1/2 the square."""
    return float(_elapsed(*map(jnp.asarray, (s, start, target, float(depth)))))


def critical_scale(depth: int, ratio: float) -> float:
    """The largest start that separates modes of targets `ratio` and 1, by their closed forms."""

    def lead(log_start: float) -> float:
        start = float(np.exp(log_start))
        strong = _time(LEARNT * ratio, start, ratio, depth)
        return _time(UNTOUCHED, start, 1.0, depth) - strong

    root = root_scalar(lead, bracket=(LOG_SCALES[0], LOG_SCALES[1] - 1e-6)).root
    return float(np.exp(root))


def _critical(depth: int) -> Part:
    """Critical scales by gap, and the weak mode's share along a flow from one of them."""
    scales = [critical_scale(depth, 1 + gap) for gap in GAPS]
    start = critical_scale(depth, CHECKED_RATIO)
    learnt = _time(LEARNT * CHECKED_RATIO, start, CHECKED_RATIO, depth)
    strong, weak = modes_along(depth, start, (CHECKED_RATIO, 1.0), np.array([0.0, learnt]))[-1]
    return {
        "scales": scales,
        "strong_share": float(strong / CHECKED_RATIO),
        "weak_share": float(weak),
    }


def _reached(part: Part, mode: int, share: float) -> float:
    """When a mode has a share of its target, between saved times."""
    return float(np.interp(share * MODES[mode], part["modes"][mode], part["times"]))


def _rows(case: dict[str, Any], part: Part) -> list[dict[str, Any]]:
    rows = []
    for i, target in enumerate(MODES):
        learnt = _reached(part, i, LEARNT)
        after = part["modes"][i + 1] if i + 1 < len(MODES) else None
        share = None
        if after is not None:
            share = float(np.interp(learnt, part["times"], after)) / MODES[i + 1]
        rows.append(
            {
                "depth": case["depth"],
                "start": f"{case['start']:g}",
                "target": target,
                "half_at": _reached(part, i, 0.5),
                "90_%_at": learnt,
                "next": share,
            }
        )
    return rows


def exponent(depth: int, scales: Sequence[float]) -> float:
    """The power of the gap by which log(1/scale), at depth 2, or else the scale goes."""
    logs = np.log(scales[:FITTED])
    heights = -np.log(-logs) if depth == 2 else logs
    return float(np.polyfit(np.log(GAPS[:FITTED]), heights, 1)[0])


def _comparisons(
    modes: list[tuple[dict[str, Any], Part]], critical: dict[int, Part]
) -> list[Comparison]:
    rows = []
    for case, part in modes:
        halves = [_reached(part, i, 0.5) for i in range(len(MODES))]
        if case["depth"] > 1:
            ratios = [later / earlier for earlier, later in itertools.pairwise(halves)]
            name = f"depth {case['depth']}: time of half, a mode's over its stronger neighbour's"
            rows.append(Comparison(name, ratios, (1.0, None), SOURCE))
        else:
            spread = [max(halves) / min(halves)]
            rows.append(
                Comparison("depth 1: time of half, last over first", spread, 1.0, SOURCE, 0.01)
            )
    for depth, part in critical.items():
        slope = exponent(depth, part["scales"])
        published, name = (
            (1.0, "log(1/critical scale) ~ (r-1)^-p: p")
            if depth == 2
            else (depth / (depth - 2), "critical scale ~ (r-1)^p: p")
        )
        rows += [
            Comparison(f"depth {depth}: {name}", [slope], published, SOURCE, SLOPE_TOLERANCE),
            Comparison(
                f"depth {depth}: weak share at the critical scale, r = {CHECKED_RATIO:g}",
                [part["weak_share"]],
                UNTOUCHED,
                WANTED,
                SHARE_TOLERANCE,
            ),
        ]
    return rows


def _chart(
    settings: Settings,
    modes: list[tuple[dict[str, Any], Part]],
    critical: dict[int, Part],
) -> Panels:
    pictures = tuple(_modes_panel(case, part) for case, part in modes)
    scales = Curves(
        title="largest start that separates two modes",
        x_label="ratio of their targets, less 1",
        y_label="critical scale",
        points={f"depth {depth}": (GAPS, part["scales"]) for depth, part in critical.items()},
        log_x=True,
        log_y=True,
        least_y=LEAST_SHOWN,
    )
    return Panels(
        title="Modes of one matrix along the flow",
        panels=(*pictures, scales) if critical else pictures,
        columns=2 if len(pictures) < 4 else 3,
        caption="Lines: modes by flow time, all of a panel from one start. Marks, if any: the "
        f"largest start from which the stronger of two modes has {100 * LEARNT:g} % of its target "
        "before the weaker has "
        f"{100 * UNTOUCHED:g} %; those below {LEAST_SHOWN:g} are left out.",
    )


def _modes_panel(case: dict[str, Any], part: Part) -> Curves:
    return Curves(
        title=f"depth {case['depth']}, from {case['start']:g}",
        x_label="flow time (1/2 sum of squares)",
        y_label="mode",
        lines={
            f"target {target:g}": (part["times"], part["modes"][i])
            for i, target in enumerate(MODES)
        },
    )


STUDY = Reproducible(
    run=incremental,
    settings=Settings(),
    quick=Settings(depths=(1, 2, 3)),
)
