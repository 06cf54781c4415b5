"""Accuracies by depth and by number of training images, as rows and as a chart."""

import dataclasses
from collections.abc import Callable, Sequence

from flowkit.claim import Curves, Intervals, Series


@dataclasses.dataclass(frozen=True)
class CurveRow:
    """How well a method does, in percent of the test images.

    Attributes:
        method: What it is called.
        depth: Weight layers; None of a baseline.
        train: Training images.
        accuracy, standard_error, low, high: As measured, with the 95 % interval.
        minus_RBF, margin: The difference to the baseline, and half its 95 % interval.
        published: The accuracy in print.
    """

    method: str
    depth: int | None
    train: int
    accuracy: float
    standard_error: float
    low: float
    high: float
    minus_RBF: float | None = None
    margin: float | None = None
    published: float | None = None

    @property
    def label(self) -> str:
        return self.method if self.depth is None else f"{self.method}, depth {self.depth}"


def curve_chart(name: str, rows: Sequence[CurveRow], test: int) -> Curves:
    """The chart of some rows: over depth where that alone varies, else over training images.

    Args:
        name: Of the data.
        rows: What is shown.
        test: The number of test images.
    """
    sizes = sorted({row.train for row in rows})
    depths = sorted({row.depth for row in rows if row.depth is not None})
    over_depth = len(sizes) == 1 and len(depths) > 1
    label = (lambda row: row.method) if over_depth else (lambda row: row.label)
    lines: dict[str, Series] = {}
    intervals: dict[str, Intervals] = {}
    points: dict[str, Series] = {}
    for text, own in _grouped(rows, label).items():
        xs: list[int] = [row.train for row in own]
        if over_depth:
            xs = [row.depth for row in own if row.depth is not None] or depths
            own = own if len(own) == len(xs) else own * len(xs)  # a baseline is a level line
        lines[text] = (xs, [row.accuracy for row in own])
        intervals[text] = (xs, [row.low for row in own], [row.high for row in own])
        known = [(x, row.published) for x, row in zip(xs, own, strict=True) if row.published]
        if known:
            points[f"{text}, published"] = ([x for x, _ in known], [y for _, y in known])
    fixed = f", {sizes[0]:,} training images" if over_depth else ""
    return Curves(
        title=f"{name}: kernel regression{fixed}, {test:,} test images",
        x_label="depth (weight layers)" if over_depth else "training images",
        y_label="accuracy (%), with 95 % intervals",
        lines=lines,
        points=points,
        intervals=intervals,
        log_x=len(sizes) > 1,
        integer_x=over_depth,
        caption="Bars: 95 % binomial intervals. The same test images for all: differences are "
        "known better than the bars suggest.",
    )


def _grouped(
    rows: Sequence[CurveRow], label: Callable[[CurveRow], str]
) -> dict[str, list[CurveRow]]:
    groups: dict[str, list[CurveRow]] = {}
    for row in rows:
        groups.setdefault(label(row), []).append(row)
    return groups
