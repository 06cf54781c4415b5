"""What a figure of a study shows is in its results, in numbers."""

import json
from dataclasses import dataclass

import numpy as np

from flowkit.claim import Curves, Dots, Panels, StackedDots
from flowkit.studies.drawn import drawn
from flowkit.studies.study import Study

TIMES, LOSSES = np.array([1, 10, 100]), [1.0, 1 / 3, float("nan")]


@dataclass(frozen=True)
class Settings:
    seeds: int = 1


def test_results_hold_the_numbers_of_all_panels_and_each_list_has_a_line(tmp_path):
    first = Curves("loss", "t", "", {"a": (TIMES, LOSSES)}, log_x=True, least_y=0.0)
    bars = {"b": ([1], [0.5], np.array([0.1], "f4"))}
    second = Curves("[ 1 ]", "t", "y", {"b": ([1], [2])}, points={"p": ([], [])}, intervals=bars)
    chart = Panels("both", (first, second), columns=2)
    Study("s", "A study", Settings(), ({"x": 1},), chart).write(tmp_path)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text)["figure"] == {
        "title": "both",
        "panels": [
            {
                "title": "loss",
                "x_label": "t",
                "lines": {"a": [[1, 10, 100], [1.0, 0.333333, None]]},
                "log_x": True,
                "least_y": 0.0,
            },
            {
                "title": "[ 1 ]",
                "x_label": "t",
                "y_label": "y",
                "lines": {"b": [[1], [2]]},
                "points": {"p": [[], []]},
                "intervals": {"b": [[1], [0.5], [0.1]]},
            },
        ],
        "columns": 2,
    }
    assert "[1, 10, 100],\n" in text
    assert "[1.0, 0.333333, null]\n" in text


def test_rows_of_dots_are_told_as_well():
    dots = Dots("one", "error", {"ours": np.array([[1e-9, 2.0]])[0]}, emphasised=("ours",))
    assert drawn(StackedDots("both", (dots,)))["charts"] == [
        {
            "title": "one",
            "x_label": "error",
            "groups": {"ours": [1e-9, 2.0]},
            "emphasised": ["ours"],
        }
    ]
