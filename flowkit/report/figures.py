"""Charts drawn with Matplotlib, to PNG."""

import io
import itertools
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D, ScaledTranslation

from flowkit.claim import Chart, Curves, Dots, Heatmaps, Panels, Pictures, StackedDots

INK, SOFT_INK, GRID = "#222222", "#777777", "#dddddd"
# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKS = "osD^v*"
DASHES = ("--", ":", "-.")  # of lines to compare with
DOTS_PER_INCH = 130
FEW_DECADES, FEW_DECADES_IN_PANELS = 3, 1
WIDTH, WIDTH_WITH_BARS = 7.0, 8.4  # inches; the legend stands beside bars
PANEL_WIDTH, PANEL_HEIGHT = 3.6, 2.9  # inches
LEGEND_COLUMNS = (2, 3, 5)  # where as many panels stand side by side
POINTS_PER_INCH = 72
ROW_HEIGHT, PICTURE_WIDTH = 0.36, 3.0  # inches
UNKNOWN = 0.93  # the grey of what nobody knows
BAR_DISTANCE = 6.0  # points between the bars of two lines at one place


@singledispatch
def draw(chart: Chart) -> bytes:
    """Draw a chart and return it as a PNG image."""
    raise ValueError(
        f"Argument `chart` must be Curves, Panels, Heatmaps, Dots, StackedDots or Pictures, but "
        f"it is a `{type(chart).__name__}`."
    )


@draw.register
def _draw_curves(chart: Curves) -> bytes:
    width = WIDTH_WITH_BARS if chart.intervals else WIDTH
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    axes = figure.subplots()
    _draw_on(axes, chart, _styles((chart,)), FEW_DECADES)
    _draw_legend(axes, chart)
    return _png(figure)


@draw.register
def _draw_panels(chart: Panels) -> bytes:
    rows = -(-len(chart.panels) // chart.columns)
    size = (PANEL_WIDTH * chart.columns, PANEL_HEIGHT * rows + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, chart.columns, squeeze=False).ravel()
    styles = _styles(chart.panels)
    handles = {}
    for axes, panel in zip(grid, chart.panels, strict=False):
        _draw_on(axes, panel, styles, FEW_DECADES_IN_PANELS)
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    for axes in grid[len(chart.panels) :]:
        axes.set_axis_off()
    figure.suptitle(chart.title, fontsize=11, color=INK)
    references = {label for panel in chart.panels for label in panel.references}
    labels = sorted(handles, key=lambda label: label in references)  # those last
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=min(len(handles), LEGEND_COLUMNS[min(chart.columns, 3) - 1]),
        frameon=False,
        fontsize=9,
    )
    return _png(figure)


class _Style(NamedTuple):
    colour: str
    dashes: str
    width: float


def _styles(charts: Sequence[Curves]) -> dict[str, _Style]:
    """How the line of each label is drawn: grey and dashed where it is to compare with."""
    labels = dict.fromkeys(label for chart in charts for label in chart.lines)
    references = {label for chart in charts for label in chart.references}
    dashes = itertools.cycle(DASHES)
    # The palette again, dashed, where there are more lines than colours.
    plain = itertools.cycle(itertools.product(("-", "--"), COLOURS))
    styles = {}
    for label in labels:
        if label in references:
            styles[label] = _Style(SOFT_INK, next(dashes), 1.2)
        else:
            dash, colour = next(plain)
            styles[label] = _Style(colour, dash, 1.8)
    return styles


def _draw_on(axes: Axes, chart: Curves, styles: Mapping[str, _Style], few_decades: int) -> None:
    """Everything but the legend."""
    for label, (xs, ys) in chart.lines.items():
        colour, dashes, width = styles[label]
        if label in chart.intervals:
            _draw_line_with_bars(axes, chart, label, colour)
        else:
            mark = "o" if chart.marked and label not in chart.references else ""
            axes.plot(xs, ys, dashes + mark, label=label, color=colour, linewidth=width, ms=4)
    for (label, (xs, ys)), mark, colour in zip(
        chart.points.items(), MARKS, _point_colours(chart), strict=False
    ):
        axes.plot(xs, ys, mark, label=label, color=colour, markersize=5, fillstyle="none")
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    axes.set_ylim(bottom=chart.least_y)
    for axis, logarithmic in ((axes.xaxis, chart.log_x), (axes.yaxis, chart.log_y)):
        if logarithmic:
            _label_logarithmic(axis, few_decades)
    if chart.integer_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_inverted(chart.reverse_x)
    axes.set_title(chart.title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_line_with_bars(axes: Axes, chart: Curves, label: str, colour: str) -> None:
    """A line with marks and bars, moved aside by some points so that no bar hides another."""
    ys = np.asarray(chart.lines[label][1], float)
    xs, lows, highs = (np.asarray(values, float) for values in chart.intervals[label])
    labels = list(chart.intervals)
    aside = BAR_DISTANCE * (labels.index(label) - (len(labels) - 1) / 2)
    moved = ScaledTranslation(aside / POINTS_PER_INCH, 0, Affine2D().scale(DOTS_PER_INCH))
    axes.errorbar(
        xs,
        ys,
        yerr=np.maximum(0.0, np.stack([ys - lows, highs - ys])),  # rounding aside
        fmt="o-",
        label=label,
        color=colour,
        linewidth=1.8,
        markersize=4,
        elinewidth=1.0,
        capsize=2.5,
        transform=axes.transData + moved,
    )
    for values in (lows, highs):  # what has a transform of its own does not count otherwise
        axes.update_datalim(np.stack([xs, values], axis=1))
    axes.autoscale_view()


def _draw_legend(axes: Axes, chart: Curves) -> None:
    """In the order of the chart; beside it where bars leave no room inside."""
    drawn = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [label for label in (*chart.lines, *chart.points) if label in drawn]
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if chart.intervals else {}
    handles = [drawn[label] for label in labels]
    axes.legend(handles, labels, frameon=False, fontsize=9, **beside)


@draw.register
def _draw_heatmaps(chart: Heatmaps) -> bytes:
    figure = Figure(figsize=(2.1 * len(chart.matrices) + 1.0, 4.4), layout="constrained")
    panels = figure.subplots(1, len(chart.matrices), sharey=True, squeeze=False)[0]
    first = np.asarray(next(iter(chart.matrices.values())))
    low, high = np.nanmin(first), np.nanmax(first)
    colours = ScalarMappable(Normalize(low, high), cmap="viridis")
    for axes, (label, matrix) in zip(panels, chart.matrices.items(), strict=True):
        axes.set_facecolor("#eeeeee")  # shows where nothing is known
        axes.imshow(
            np.asarray(matrix),
            aspect="auto",
            norm=colours.norm,
            cmap=colours.cmap,
            interpolation="nearest",
        )
        axes.set_title(label, fontsize=10, color=INK)
        axes.set_xlabel(chart.x_label)
    panels[0].set_ylabel(chart.y_label)
    figure.colorbar(colours, ax=panels, label=chart.colour_label, shrink=0.8)
    figure.suptitle(chart.title, fontsize=11, color=INK)
    return _png(figure)


@draw.register
def _draw_dots(chart: Dots) -> bytes:
    return _png(_figure_of_dots((chart,)))


@draw.register
def _draw_stacked_dots(chart: StackedDots) -> bytes:
    figure = _figure_of_dots(chart.charts)
    figure.suptitle(chart.title, fontsize=11, color=INK)
    return _png(figure)


def _figure_of_dots(charts: Sequence[Dots]) -> Figure:
    """Charts of dots below one another, heights by their rows, on the axis of the first."""
    rows = [len(chart.groups) for chart in charts]
    size = (WIDTH_WITH_BARS, 0.8 + 0.5 * len(charts) + ROW_HEIGHT * sum(rows))
    figure = Figure(figsize=size, layout="constrained")
    stacked = figure.subplots(len(charts), sharex=True, squeeze=False, height_ratios=rows).ravel()
    for axes, chart in zip(stacked, charts, strict=True):
        _draw_dots_on(axes, chart)
    first, lowest = charts[0], stacked[-1]
    lowest.set_xscale("log" if first.log_x else "linear")
    if first.log_x:
        _label_logarithmic(lowest.xaxis, FEW_DECADES)
    lowest.set_xlabel(first.x_label)
    return figure


def _draw_dots_on(axes: Axes, chart: Dots) -> None:
    """Everything but the horizontal axis."""
    for row, (label, values) in enumerate(chart.groups.items()):
        colour = COLOURS[0] if label in chart.emphasised else SOFT_INK
        axes.plot(values, np.full(len(values), row), "o", color=colour, markersize=5, alpha=0.6)
        axes.plot(np.mean(values), row, "|", color=colour, markersize=17, markeredgewidth=2.4)
    axes.set_yticks(range(len(chart.groups)), list(chart.groups))
    for tick, label in zip(axes.get_yticklabels(), chart.groups, strict=True):
        tick.set_fontweight("bold" if label in chart.emphasised else "normal")
    axes.set_ylim(len(chart.groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_title(chart.title, loc="left", fontsize=11, color=INK)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)


@draw.register
def _draw_pictures(chart: Pictures) -> bytes:
    rows = -(-len(chart.images) // chart.columns)
    height, width = next(iter(chart.images.values())).shape[:2]
    picture_height = PICTURE_WIDTH * height / width + 0.3
    size = (PICTURE_WIDTH * chart.columns, picture_height * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, chart.columns, squeeze=False).ravel()
    for axes, (label, image) in zip(grid, chart.images.items(), strict=False):
        shown = np.where(np.isnan(image), UNKNOWN, np.clip(image, 0.0, 1.0))
        axes.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set_title(label, fontsize=10, color=INK)
    for axes in grid:
        axes.set_axis_off()
    figure.suptitle(chart.title, fontsize=11, color=INK)
    return _png(figure)


def _label_logarithmic(axis: Axis, few_decades: int) -> None:
    """Readable labels for a logarithmic axis: in steps 1-2-5 where it spans few decades."""
    low, high = sorted(axis.get_view_interval())
    if high / low < 10**few_decades:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _point_colours(chart: Curves) -> tuple[str, ...]:
    """Points alone take the palette; points over lines are drawn in ink."""
    return COLOURS if len(chart.points) > 1 else (INK,)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
