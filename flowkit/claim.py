"""Claims and verdicts: what the theory states, and how a check of it ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Numbers = Sequence[int | float] | np.ndarray
Series = tuple[Numbers, Numbers]
Intervals = tuple[Numbers, Numbers, Numbers]


@dataclass(frozen=True)
class Curves:
    """A line chart as data; only the report room draws it.

    Attributes:
        title: One line above the chart.
        x_label: Label of the horizontal axis, with its unit.
        y_label: Label of the vertical axis, with its unit.
        lines: Label to (xs, ys), drawn as lines in this order; dashed and grey where it is in
            `references`.
        points: Label to (xs, ys), drawn as separate marks over the lines.
        intervals: Label of a line to (xs, lows, highs), at the places of that line: drawn as bars.
        log_x: Logarithmic horizontal axis.
        log_y: Logarithmic vertical axis.
        reverse_x: Let the horizontal axis fall from left to right, as a training error does.
        least_y: Lower end of the vertical axis, where what lies below is of no interest.
        marked: Whether lines show the places that they go through, where these are few.
        integer_x: Ticks of the horizontal axis at integers only.
        references: Labels of lines to compare with.
        caption: What a reader should see in it.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Series] = field(default_factory=dict)
    points: Mapping[str, Series] = field(default_factory=dict)
    intervals: Mapping[str, Intervals] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    reverse_x: bool = False
    least_y: float | None = None
    marked: bool = False
    integer_x: bool = False
    references: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Heatmaps:
    """Matrices side by side on one colour scale; rows of numbers, `nan` where unknown."""

    title: str
    x_label: str
    y_label: str
    matrices: Mapping[str, Sequence[Numbers] | np.ndarray]
    colour_label: str
    caption: str = ""


@dataclass(frozen=True)
class Panels:
    """Line charts in a grid under one title; a label has one colour in all of them.

    Attributes:
        title: One line above all.
        panels: The charts, row by row.
        columns: How many stand side by side.
        caption: What a reader should see in it.
    """

    title: str
    panels: tuple[Curves, ...]
    columns: int
    caption: str = ""


@dataclass(frozen=True)
class Dots:
    """A row of marks for each group, from top to bottom, with a bar at their mean.

    Attributes:
        title: One line above the chart.
        x_label: Label of the horizontal axis, with its unit.
        groups: Label to the values of a row.
        emphasised: Labels of the rows that the chart is about.
        log_x: Logarithmic horizontal axis.
        caption: What a reader should see in it.
    """

    title: str
    x_label: str
    groups: Mapping[str, Numbers]
    emphasised: tuple[str, ...] = ()
    log_x: bool = False
    caption: str = ""


@dataclass(frozen=True)
class StackedDots:
    """Charts of dots below one another on one horizontal axis, each with rows of its own.

    Attributes:
        title: One line above all.
        charts: From top to bottom; the axis is labelled and scaled as that of the first says.
        caption: What a reader should see in it.
    """

    title: str
    charts: tuple[Dots, ...]
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """Images in a grid under one title.

    Attributes:
        title: One line above all.
        images: Label to values in [0, 1], grey with two axes or in colour with three; `nan` where
            nothing is known.
        columns: How many stand side by side.
        caption: What a reader should see in it.
    """

    title: str
    images: Mapping[str, np.ndarray]
    columns: int
    caption: str = ""


Chart = Curves | Heatmaps | Panels | Dots | StackedDots | Pictures


@dataclass(frozen=True)
class Verdict:
    """How one check ended.

    Attributes:
        passed: Whether what was measured is what the claim expects.
        kind: "proved" (an exact symbolic identity) or "measured" (a number within a bound).
        measured: What was found, in words a reader can hold against `expected`.
        expected: What the claim requires.
        numbers: Every figure behind `measured`, by name.
        charts: Pictures of the same.
    """

    passed: bool
    kind: Literal["proved", "measured"]
    measured: str
    expected: str
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One statement of the theory with a check that can fail.

    Attributes:
        name: A short identifier, unique in its catalogue.
        statement: The statement in a sentence.
        source: The paper and theorem or equation that states it.
        check: Runs the check.
        formulas: The statement's equations as presentation MathML, where it has any.
    """

    name: str
    statement: str
    source: str
    check: Callable[[], Verdict]
    formulas: tuple[str, ...] = ()
