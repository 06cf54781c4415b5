"""A report holds what was measured, as table, JSON, figures and one page without a network."""

import json
import re

import numpy as np
import pytest
from rich.console import Console

from flowkit.claim import Claim, Curves, Dots, Heatmaps, Panels, Pictures, StackedDots, Verdict
from flowkit.report import Entry, Report, figures
from flowkit.report.figures import draw

CURVES = Curves(
    title="A < B",
    x_label="x",
    y_label="y",
    lines={"line": ([1, 2, 3], [1.0, 10.0, 100.0])},
    points={"points": ([1, 2], [2.0, 3.0])},
    log_x=True,
    log_y=True,
    reverse_x=True,
    caption="what to see",
)
BARS = Curves(
    title="bars",
    x_label="depth",
    y_label="y",
    lines={"plain": ([2, 6], [1.0, 1.0]), "a": ([3, 5], [4.0, 5.0]), "b": ([3, 5], [2.0, 3.0])},
    points={"points": ([3], [4.5])},
    intervals={"a": ([3, 5], [3.0, 4.0], [9.0, 6.0]), "b": ([3, 5], [-2.0, 2.0], [3.0, 4.0])},
    integer_x=True,
)
PANELS = Panels(
    title="panels",
    panels=(
        Curves(
            "one",
            "x",
            "y",
            {"a": ([1, 2], [1, 2]), "known": ([1, 2], [3, 3])},
            references=("known",),
        ),
        Curves("two", "x", "y", {"b": ([1, 2], [2, 1])}),
    ),
    columns=3,
)
HEATMAPS = Heatmaps(
    title="maps",
    x_label="column",
    y_label="row",
    matrices={"full": np.eye(3), "holes": np.array([[1.0, np.nan], [0.0, 1.0]])},
    colour_label="value",
)
DOTS = Dots(
    title="dots",
    x_label="error",
    groups={"ours": [1.0, 3.0], "theirs": [10.0, 20.0, 60.0]},
    emphasised=("ours",),
    log_x=True,
)
STACKED = StackedDots(
    title="stacked", charts=(DOTS, Dots(title="lower", x_label="", groups={"one": [100.0]}))
)
PICTURES = Pictures(
    title="pictures",
    images={"grey": np.array([[0.0, np.nan], [2.0, 1.0]]), "colour": np.full((2, 2, 3), 0.5)},
    columns=3,
)


def _entry(name="a claim", *, passed=True, **changes):
    verdict = Verdict(
        **{
            "passed": passed,
            "kind": "measured",
            "measured": "1 < 2 [units]",
            "expected": "at most 2",
            "numbers": {"one": 1.0, "unbounded": float("inf")},
        }
        | changes
    )
    claim = Claim(name, "One is less than two.", "arithmetic", lambda: verdict, ("<math></math>",))
    return Entry(claim, verdict, 0.5)


def test_a_report_passes_when_every_claim_was_checked_and_holds():
    assert Report((_entry(), _entry("another"))).passed
    assert not Report((_entry(), _entry("another", passed=False))).passed
    assert not Report((_entry(),), remaining=("another",)).passed


def test_the_table_shows_claim_source_measured_expected_and_verdict():
    console = Console(record=True, width=160)
    console.print(Report((_entry(), _entry("wrong", passed=False))).table())
    text = console.export_text()
    for piece in ("a claim", "arithmetic", "1 < 2 [units]", "at most 2", "measured", "FAILED"):
        assert piece in text


def test_the_folder_holds_json_figures_and_a_page(tmp_path):
    report = Report((_entry(charts=(CURVES, HEATMAPS)), _entry("Wrong (it is)", passed=False)))
    page = report.write(tmp_path / "new" / "folder")
    names = {path.name for path in page.parent.iterdir()}
    assert names == {"index.html", "report.json", "a-claim-1.png", "a-claim-2.png"}

    data = json.loads((page.parent / "report.json").read_text())
    assert data["passed"] is False
    assert [claim["passed"] for claim in data["claims"]] == [True, False]
    assert data["claims"][0]["numbers"] == {"one": 1.0, "unbounded": "inf"}
    assert "jax" in data["versions"]


def test_the_page_needs_no_network_and_escapes_text(tmp_path):
    text = Report((_entry(charts=(CURVES,)),)).write(tmp_path).read_text()
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert references
    assert all(reference.startswith(("data:image/png", "#")) for reference in references)
    assert "1 &lt; 2 [units]" in text
    assert "A &lt; B" in text
    assert "<math></math>" in text


@pytest.mark.parametrize("chart", [CURVES, BARS, HEATMAPS, PANELS, DOTS, STACKED, PICTURES])
def test_charts_are_drawn_as_png(chart):
    assert draw(chart).startswith(b"\x89PNG")


def test_bars_are_inside_the_axes_and_the_legend_keeps_the_order(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    draw(BARS)
    (axes,) = drawn[0].axes
    low, high = axes.get_ylim()
    assert low < -2
    assert high > 9
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["plain", "a", "b", "points"]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_label_has_one_colour_in_all_panels_and_one_line_in_the_legend(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    draw(PANELS)
    first, second, empty = drawn[0].axes[:3]
    colours = {line.get_label(): line.get_color() for line in (*first.lines, *second.lines)}
    assert colours == {"a": figures.COLOURS[0], "b": figures.COLOURS[1], "known": figures.SOFT_INK}
    assert second.lines[0].get_color() == figures.COLOURS[1]
    assert not empty.axison
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "known"]


def test_a_marked_line_shows_the_places_that_it_goes_through(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    lines = {"found": ([1, 2, 4], [3, 1, 2]), "known": ([1, 4], [2, 2])}
    for marked in (True, False):
        draw(Curves("title", "x", "y", lines, references=("known",), marked=marked))
    marks = [[line.get_marker() for line in figure.axes[0].lines] for figure in drawn]
    assert [first == "o" for first, _ in marks] == [True, False]
    assert not {"o"} & {second for _, second in marks}
    assert [line.get_linestyle() for line in drawn[0].axes[0].lines] == ["-", "--"]


def test_dots_stand_in_rows_from_the_top_with_a_bar_at_their_mean(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    draw(DOTS)
    (axes,) = drawn[0].axes
    marks = [(line.get_xdata().tolist(), line.get_ydata()[0]) for line in axes.lines]
    assert marks == [([1.0, 3.0], 0), ([2.0], 0), ([10.0, 20.0, 60.0], 1), ([30.0], 1)]
    assert axes.yaxis_inverted()
    names = [(label.get_text(), label.get_fontweight()) for label in axes.get_yticklabels()]
    assert names == [("ours", "bold"), ("theirs", "normal")]


def test_stacked_dots_share_an_axis_and_have_rows_of_their_own(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    draw(STACKED)
    upper, lower = drawn[0].axes
    assert (upper.get_title("left"), lower.get_title("left")) == ("dots", "lower")
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_xlim()[0] < 1 < 100 < upper.get_xlim()[1]
    assert (upper.get_xscale(), lower.get_xscale()) == ("log", "log")
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("", "error")
    rows = [[label.get_text() for label in axes.get_yticklabels()] for axes in (upper, lower)]
    assert rows == [["ours", "theirs"], ["one"]]


def test_pictures_are_cut_to_black_and_white_and_grey_where_nothing_is_known(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    draw(PICTURES)
    grey, colour, empty = drawn[0].axes
    np.testing.assert_array_equal(grey.images[0].get_array(), [[0.0, figures.UNKNOWN], [1.0, 1.0]])
    assert grey.images[0].norm.vmin == 0.0
    assert grey.images[0].norm.vmax == 1.0
    assert colour.images[0].get_array().shape == (2, 2, 3)
    assert not empty.images


@pytest.mark.usefixtures("as_a_user")
def test_only_charts_are_drawn():
    with pytest.raises(
        ValueError, match="`chart` must be Curves, Panels, Heatmaps, Dots, StackedDots or"
    ):
        draw("a picture")
