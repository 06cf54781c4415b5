"""A completion where the flow prefers a low rank to a small nuclear norm."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.baselines import minimum_nuclear_norm
from flowkit.claim import Curves, Panels
from flowkit.claims.implicit_bias import (
    NUCLEAR_NORMS,
    RANK_ONE_ENTRY,
    SCALES,
    greedy_example,
    greedy_limit,
)
from flowkit.observables import effective_rank, nuclear_norm, singular_values
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 1
SOURCE = "2012.09839"
LEAST, RANK_ONE = 4 * RANK_ONE_ENTRY, 2 + 2 * RANK_ONE_ENTRY**2  # as published, in R
SEEN_TOLERANCE = 1e-3  # of what was seen before from this start


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Numbers of factors.
        scales: Scales of the product at the start, a multiple of the identity.
    """

    depths: tuple[int, ...] = (2, 3)
    scales: tuple[float, ...] = (*SCALES, 1e-8, 1e-12, 1e-16, 1e-20, 1e-24)

    def __post_init__(self):
        check_numbers(self, "depths", least=2)
        check_numbers(self, "scales")


def greedy_rank(settings: Settings, work: Work) -> Study:
    """Complete a symmetric 4 x 4 matrix, whose rank-one solution has a large nuclear norm.

    Observed are (1, 3) = 1, (1, 4) = (2, 3) = R, R = 3, and their mirror images. The least nuclear
    norm of a completion is 4 R; the rank-one completion has 2 + 2 R^2.

    Args:
        settings: Depths and scales.
        work: Where parts are kept.

    Returns:
        A row per depth and scale.

    Source:
        Li, Luo, Lyu 2021, arXiv:2012.09839, on greedy low-rank learning.
    """
    cases = [{"depth": d, "scale": s} for d in settings.depths for s in settings.scales]
    found = work.parts("flow", _limit, cases, version=VERSION)
    (least,) = work.parts("least nuclear norm", _least, [{}], version=VERSION)
    rows = tuple(
        {"depth": case["depth"], "scale": f"{case['scale']:g}", **_row(part)}
        for case, part in zip(cases, found, strict=True)
    )
    by_depth = {
        depth: [part for case, part in zip(cases, found, strict=True) if case["depth"] == depth]
        for depth in settings.depths
    }
    return Study(
        name="greedy-rank",
        title="Rank against nuclear norm: where the flow ends, by the scale of its start",
        settings=settings,
        rows=rows,
        chart=_chart(settings, by_depth),
        notes=("Published for infinitesimal starts; the values on the way depend on their form.",),
        comparisons=tuple(_comparisons(settings, by_depth, least["nuclear_norm"])),
    )


def _limit(depth: int, scale: float) -> dict[str, Any]:
    trajectory = greedy_limit(depth, scale)
    product = trajectory.final
    return {
        "nuclear_norm": float(nuclear_norm(product)),
        "effective_rank": float(effective_rank(product)),
        "singular_values": [float(s) for s in singular_values(product)],
        "flow_time": trajectory.final_time,
    }


def _least() -> dict[str, float]:
    found = minimum_nuclear_norm(greedy_example())
    return {"nuclear_norm": float(np.linalg.norm(found.matrix, "nuc"))}


def _row(part: dict[str, Any]) -> dict[str, Any]:
    first, second, *_ = part["singular_values"]
    return {
        "nuclear_norm": part["nuclear_norm"],
        "effective_rank": part["effective_rank"],
        "largest_s": first,
        "second_s": second,
        "flow_time": f"{part['flow_time']:.3g}",
    }


def _comparisons(
    settings: Settings, by_depth: dict[int, list[dict[str, Any]]], least: float
) -> list[Comparison]:
    rows = [Comparison("least nuclear norm, 4 R", [least], LEAST, SOURCE, tolerance=1e-5)]
    smallest = settings.scales.index(min(settings.scales))
    for depth, parts in by_depth.items():
        norms = [part["nuclear_norm"] for part in parts]
        name = f"depth {depth}, scale {min(settings.scales):g}"
        rows += [
            Comparison(f"{name}: nuclear norm", [norms[smallest]], RANK_ONE, SOURCE, 0.01),
            Comparison(
                f"{name}: effective rank", [parts[smallest]["effective_rank"]], 1.0, SOURCE, 0.01
            ),
        ]
    if 2 in by_depth:
        seen = dict(zip(SCALES, NUCLEAR_NORMS, strict=True))
        rows += [
            Comparison(
                f"depth 2, scale {scale:g}: nuclear norm",
                [part["nuclear_norm"]],
                seen[scale],
                "seen before",
                SEEN_TOLERANCE,
            )
            for scale, part in zip(settings.scales, by_depth[2], strict=True)
            if scale in seen
        ]
    return rows


def _chart(settings: Settings, by_depth: dict[int, list[dict[str, Any]]]) -> Panels:
    scales = sorted(settings.scales)
    order = [settings.scales.index(scale) for scale in scales]
    flat = lambda value: (scales, [value] * len(scales))
    names = {"least, 4 R": LEAST, "rank one, 2 + 2 R^2": RANK_ONE}
    of = lambda name: {
        f"depth {depth}": (scales, [parts[i][name] for i in order])
        for depth, parts in by_depth.items()
    }
    panel = lambda label, lines: Curves(
        title=label,
        x_label="scale of the product at the start",
        y_label=label,
        lines=lines,
        references=tuple(names),
        marked=True,
        log_x=True,
        reverse_x=True,
    )
    return Panels(
        title="A 4 x 4 completion, R = 3: where the flow ends, by the scale of its start",
        panels=(
            panel("nuclear norm", of("nuclear_norm") | {n: flat(v) for n, v in names.items()}),
            panel("effective rank", of("effective_rank")),
        ),
        columns=2,
        caption="Lines: ends of the flow from a multiple of the identity. Grey: the least nuclear "
        "norm of a completion, and that of the rank-one completion.",
    )


STUDY = Reproducible(
    run=greedy_rank,
    settings=Settings(),
    quick=Settings(scales=(*SCALES, 1e-12)),
)
