"""The studies of factorization at sizes of a few seconds: what they measure and refuse."""

import json

import numpy as np
import pytest

from flowkit.studies import run_study, settings_of
from flowkit.studies.factorization import (
    by_scale,
    incremental,
    optimizers,
    saturation,
    singular_values,
    training,
)
from flowkit.studies.factorization.norms_diverge import lower_bound


def _run(name, folder, **settings):
    chosen = type(settings_of(name, quick=True))(**settings)
    study = run_study(name, chosen, out=folder)
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "results.json").read_text())["study"] == name
    return study


def test_trained_pairs_lie_on_the_path_and_saturate(tmp_path):
    study = _run("saturation", tmp_path, depths=(3,))
    assert len(study.rows) == len(saturation.VALUES)
    assert max(row["relative_error"] for row in study.rows) < 1e-6
    assert study.rows[0]["limit"] == pytest.approx(1.5625)  # 0.1 / (1 - 0.6)^3
    assert all(comparison.within for comparison in study.comparisons)
    assert any(c.published == 1.5625 and c.tolerance == 1e-6 for c in study.comparisons)


def test_a_ratio_of_one_or_more_is_refused():
    with pytest.raises(ValueError, match="`ratio` must be below 1"):
        saturation.Settings(ratio=1.0)


def test_critical_scales_by_hand():
    """Depth 2: s / (S - s) grows as e^{2 S t}; the weak mode has a tenth at that time."""
    start = incremental.critical_scale(2, 2.0)
    odds = start / (2.0 - start)
    learnt = np.log(9 / odds) / 4  # the strong mode, S = 2, has nine tenths
    weak = start / (1 - start) * np.exp(2 * learnt)
    assert weak / (1 + weak) == pytest.approx(0.1, rel=1e-6)


def test_exponents_are_those_of_the_data():
    gaps = incremental.GAPS
    assert incremental.exponent(3, (2 * gaps**3).tolist()) == pytest.approx(3)
    assert incremental.exponent(2, np.exp(-2 / gaps).tolist()) == pytest.approx(1)


def test_the_bound_of_the_entry():
    assert lower_bound(1e-4) == pytest.approx(68.7248, abs=1e-4)


def test_training_is_read_between_saves():
    series = {
        "loss": np.array([1.0, 1e-4, 1e-6]),
        "error": np.array([3.0, 2.0, 1.0]),
        "values": np.array([[9.0, 9.0], [4.0, 3.0], [6.0, 1.0]]),
    }
    found = training.where_trained(series)
    assert found is not None
    assert found["error"] == pytest.approx(1.5)
    assert found["values"] == pytest.approx([5.0, 2.0])
    assert training.where_trained({"loss": np.array([1.0, 0.1])}) is None


def test_the_singular_values_around_the_true_rank_are_shown():
    part = {
        "loss": [1.0, 0.5, 0.1],
        "values": [[0.0, i, 10 * i] for i in range(1, 8)],
        "true_values": [11.0, 21.0, 31.0, 41.0, 0.0, 0.0, 0.0],
    }
    panels = {panel.title[:3]: panel for panel in optimizers._spectrum(4, {"Adam": part})}
    assert list(panels) == ["s_2", "s_3", "s_4", "s_5", "s_6"]
    assert panels["s_3"].lines["Adam"] == ([0.5, 0.1], [3, 30])
    assert panels["s_4"].lines[optimizers.TRUTH] == ([0.5, 0.1], [41.0, 41.0])
    assert optimizers.TRUTH not in panels["s_5"].lines


def test_rates_of_descent_keep_curvature_times_rate():
    """At depth 2 curvatures go as the size over the number of entries, at depth 1 without it."""
    rates = singular_values.LEARNING_RATES
    assert singular_values.learning_rate(1, 50, 1000) == pytest.approx(rates[1] / 2)
    assert singular_values.learning_rate(2, 50, 1000) == pytest.approx(rates[2])
    assert singular_values.learning_rate(3, 100, 2000) == rates[3]


def test_a_rising_loss_of_descent_is_refused():
    singular_values.check_falling(np.array([1.0, 0.5, 0.5, 0.1]), 2, 4.0)
    with pytest.raises(ArithmeticError, match=r"rose from 0\.5 to 0\.6 at depth 2"):
        singular_values.check_falling(np.array([1.0, 0.5, 0.6, 0.1]), 2, 4.0)


def test_unknown_optimisers_are_refused():
    with pytest.raises(ValueError, match="`optimisers` must hold names of gd, sgd"):
        optimizers.Settings(optimisers=("gd", "newton"))


def test_small_completion_beside_the_least_norm(tmp_path):
    pytest.importorskip("cvxpy")
    settings = {"depths": (2,), "scales": (1e-2,), "observed": (90,), "seeds": 1}
    study = _run("depth-vs-nuclear", tmp_path, size=12, rank=1, **settings)
    least, flow = study.rows
    assert least["method"] == by_scale.NUCLEAR
    assert flow["error"] < 1e-2
    assert least["nuclear_norm"] <= flow["nuclear_norm"] * (1 + 1e-3)
    assert study.comparisons == ()  # nothing is published of this size


@pytest.mark.slow
def test_optimisers_follow_their_flows(tmp_path):
    settings = {"optimisers": ("gd", "normalised"), "seeds": 1, "size": 20, "rank": 2}
    study = _run("optimizers", tmp_path, observed=200, scale=1e-2, **settings)
    parts = [json.loads(path.read_text()) for path in (tmp_path / "parts").glob("descent-*")]
    assert [part["case"]["seed"] for part in parts] == [1, 1]
    for part in (part["result"] for part in parts):
        values = np.array(part["values"])
        assert values.shape == (settings["rank"] + training.BEYOND, len(part["loss"]))
        assert np.all(np.diff(values, axis=0) <= 0)
        np.testing.assert_allclose(values[:, -1], part["true_values"], rtol=0.01, atol=0.1)
    plain, normalised = study.rows
    assert plain["trained"] == normalised["trained"] == "1 / 1"
    assert plain["flow"] == pytest.approx(normalised["flow"], rel=1e-3)  # one path at two speeds
    assert plain["error"] == pytest.approx(plain["flow"], rel=0.3)  # its steps are the longer
    assert normalised["error"] == pytest.approx(normalised["flow"], rel=0.03)
    assert plain["next_s"] == pytest.approx(normalised["next_s"], rel=0.2)


@pytest.mark.slow
def test_greedy_rank_ends_between_the_norms(tmp_path):
    pytest.importorskip("cvxpy")
    study = _run("greedy-rank", tmp_path, depths=(2,), scales=(1e-1, 1e-4))
    assert [row["nuclear_norm"] for row in study.rows] == pytest.approx([12.01, 12.84], abs=0.01)
