"""Two modes that share one measurement: from depth 3 on the strong one starves the weak one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from flowkit import initial, until
from flowkit.claim import Curves
from flowkit.claims.implicit_bias import succeeded
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow
from flowkit.lowering import lower_expression
from flowkit.observables import end_to_end
from flowkit.problems import MatrixSensing
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.recovery import WANTED
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work
from flowkit.symbolic import two_coordinates
from flowkit.symbolic.saturation import (
    PUBLISHED_LIMITS,
    PUBLISHED_RATIO,
    PUBLISHED_START,
    RATIO,
    STRONG,
    STRONG_START,
    WEAK_START,
)

VERSION = 1
VALUES = np.geomspace(1.0, 1e6, 7)  # of the measurement: the strong value nearly reaches it
LATEST = 1e9  # of flow time
REACHED = 1e-12  # loss at which training stops, as a share of the squared value
RTOL = 1e-10
TOLERANCE = 1e-6  # relative, of the integrated path from the closed one
LINE_POINTS = 120

Part = dict[str, float]
Case = dict[str, int | float]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Numbers of factors.
        scales: The equal starts of the two singular values.
        ratio: The ratio of their gradients, weak over strong.
    """

    depths: tuple[int, ...] = (1, 2, 3, 4)
    scales: tuple[float, ...] = (float(PUBLISHED_START),)
    ratio: float = float(PUBLISHED_RATIO)

    def __post_init__(self):
        check_numbers(self, "depths", least=1)
        check_numbers(self, "scales", "ratio")
        if self.ratio >= 1:
            raise ValueError(
                f"Argument `ratio` must be below 1, the weak over the strong gradient, but it is "
                f"`{self.ratio}`."
            )


def saturation(settings: Settings, work: Work) -> Study:
    """Measure only <diag(1, a), W>, and let the strong singular value grow.

    Args:
        settings: Depths, starts, and the ratio a of the gradients.
        work: Where parts are kept.

    Returns:
        A row per depth, start and size of the strong value: the weak one along the factor flow,
        and on the closed path of `symbolic.two_coordinates`.

    Source:
        arXiv:1905.13655, on two singular values of stationary vectors.
    """
    cases: list[Case] = [
        {"depth": depth, "start": scale, "ratio": settings.ratio, "value": float(value)}
        for depth in settings.depths
        for scale in settings.scales
        for value in VALUES
    ]
    parts = work.parts("flow", _train, cases, version=VERSION)
    found = list(zip(cases, parts, strict=True))
    return Study(
        name="saturation",
        title=f"The weak singular value as the strong one grows, gradients in the ratio "
        f"{settings.ratio:g}",
        settings=settings,
        rows=tuple(_row(case, part) for case, part in found),
        chart=_chart(settings, found),
        notes=(
            "Only <diag(1, a), W> is measured, once; each row is training to another value of it.",
            "The closed path is derived by flowkit.symbolic.two_coordinates.",
            "Limits to compare with are calculated from the published law; none is printed.",
        ),
        comparisons=tuple(_comparisons(settings, found)),
    )


def _train(depth: int, start: float, ratio: float, value: float) -> Part:
    """Both singular values where the measurement is met, from factors start^(1/N) I."""
    problem = MatrixSensing(np.diag([1.0, ratio])[None], [value])
    trajectory = integrate(
        FactorFlow(problem),
        initial.identity(problem, depth, start),
        [0.0, LATEST],
        until=until.train_loss(REACHED * value**2),
        rtol=RTOL,
    )
    product = np.asarray(end_to_end(succeeded(trajectory).final))
    return {
        "strong": float(product[0, 0]),
        "weak": float(product[1, 1]),
        "off_diagonal": float(np.abs(product - np.diag(np.diag(product))).max()),
    }


def closed_path(
    depth: int, start: float, ratio: float, strong: Float[np.ndarray, " values"]
) -> Float[np.ndarray, " values"]:
    """The weak singular value on the closed path from equal starts, where the strong one is."""
    arguments = (STRONG, STRONG_START, WEAK_START, RATIO)
    path = lower_expression(two_coordinates(depth).value, arguments)
    return np.array([float(path(s, start, start, ratio)) for s in strong])


def limit(depth: int, start: float, ratio: float) -> float:
    """Where the weak singular value ends on the closed path; infinite below depth 3."""
    at = {WEAK_START: start, STRONG_START: start, RATIO: ratio}
    return float(two_coordinates(depth).limit.subs(at))


def _row(case: Case, part: Part) -> dict[str, Any]:
    depth, start, ratio = int(case["depth"]), float(case["start"]), float(case["ratio"])
    end = limit(depth, start, ratio)
    (closed,) = closed_path(depth, start, ratio, np.array([part["strong"]]))
    return {
        "depth": depth,
        "start": f"{start:g}",
        "strong": f"{part['strong']:.4g}",
        "weak": part["weak"],
        "closed_path": float(closed),
        "relative_error": abs(part["weak"] / closed - 1),
        "limit": end if np.isfinite(end) else None,
    }


def _comparisons(settings: Settings, found: list[tuple[Case, Part]]) -> list[Comparison]:
    rows = []
    for depth in settings.depths:
        errors = [
            _row(case, part)["relative_error"] for case, part in found if case["depth"] == depth
        ]
        bound = (None, TOLERANCE)
        rows.append(
            Comparison(f"depth {depth}: relative distance to the path", errors, bound, WANTED)
        )
    published = (float(PUBLISHED_START), float(PUBLISHED_RATIO))
    for depth, known in PUBLISHED_LIMITS.items():
        own = [
            (case, part)
            for case, part in found
            if (case["depth"], case["start"], case["ratio"]) == (depth, *published)
        ]
        if own:
            weak, strong = (own[-1][1][name] for name in ("weak", "strong"))
            extrapolated = _extrapolated(depth, float(PUBLISHED_RATIO), weak, strong)
            rows += [
                Comparison(
                    f"depth {depth}: weak value at {strong:.3g}",
                    [weak],
                    (None, float(known)),
                    WANTED,
                ),
                Comparison(
                    f"depth {depth}: its limit, extrapolated",
                    [extrapolated],
                    float(known),
                    WANTED,
                    tolerance=TOLERANCE,
                ),
            ]
    return rows


def _extrapolated(depth: int, ratio: float, weak: float, strong: float) -> float:
    """The limit of the path through a point: s_r^{-p} - a s_q^{-p} is constant, p = 1 - 2/N."""
    power = 1 - 2 / depth
    return (weak**-power - ratio * strong**-power) ** (-1 / power)


def _chart(settings: Settings, found: list[tuple[Case, Part]]) -> Curves:
    lines, points = {}, {}
    several = len(settings.scales) > 1
    for depth in settings.depths:
        for scale in settings.scales:
            own = [part for case, part in found if (case["depth"], case["start"]) == (depth, scale)]
            label = f"depth {depth}" + (f", start {scale:g}" if several else "")
            strong = np.geomspace(scale, VALUES[-1], LINE_POINTS)
            lines[label] = (strong, closed_path(depth, scale, settings.ratio, strong))
            points[label] = ([p["strong"] for p in own], [p["weak"] for p in own])
    flow = tuple(np.concatenate([series[i] for series in points.values()]) for i in (0, 1))
    return Curves(
        title=f"Weak against strong singular value, gradients in the ratio {settings.ratio:g}",
        x_label="strong singular value",
        y_label="weak singular value",
        lines=lines,
        points={"factor flow": (flow[0], flow[1])},
        log_x=True,
        log_y=True,
        caption="Lines: closed paths from equal starts. Marks: trained factorizations, each to "
        "another value of the measurement.",
    )


STUDY = Reproducible(
    run=saturation,
    settings=Settings(),
    quick=Settings(depths=(2, 3)),
)
