"""Studies of real matrices: what they compare is measured on entries that nothing was told of."""

import json
import re
from functools import partial

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from flowkit import MatrixCompletion
from flowkit.cli import app
from flowkit.datasets import san_francisco_temperatures, seattle_temperatures
from flowkit.studies import movielens, temperatures
from flowkit.studies.imputing import DEFAULT, METHODS, STARTS, TUNED, hidden


def _run(*arguments):
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])


def _message(result):
    """What was refused, in one line, without the box around it."""
    assert result.exit_code == 2
    return " ".join(re.sub(r"[│\n]+", " ", result.output).split())


def _results(folder):
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "results.json").read_text())


def _write_ratings(path, seed=0):
    """Ratings of 3 plus or minus up to 2, of one taste and no offsets: half of 40 x 50 pairs."""
    random = np.random.default_rng(seed)
    ratings = 3 + np.outer(random.choice([-2, 2], 40), random.uniform(-1, 1, 50))
    rated = np.argwhere(random.random(ratings.shape) < 0.5)
    lines = [f"{i + 1}\t{j + 1}\t{ratings[i, j]:.3f}\t0" for i, j in rated]
    path.write_text("\n".join(lines) + "\n")


def test_the_most_active_users_and_most_rated_movies_are_kept_in_their_order():
    rows, cols = np.array([0, 0, 1, 2, 2, 2, 3, 3]), np.array([0, 3, 3, 0, 1, 3, 1, 3])
    ratings = MatrixCompletion(rows, cols, np.arange(8.0), (4, 4))
    part = movielens.largest(ratings, 2)
    matrix = np.full(part.shape, np.nan)
    matrix[np.asarray(part.rows), np.asarray(part.cols)] = np.asarray(part.values)
    # Users 0 and 2 (before 3, as often), movies 0 (before 1, as often) and 3.
    np.testing.assert_array_equal(matrix, [[0.0, 1.0], [3.0, 5.0]])
    assert movielens.largest(ratings, None) is ratings


@pytest.mark.slow
def test_ratings_of_one_taste_are_predicted_by_the_flow_and_not_by_biases(tmp_path, monkeypatch):
    _write_ratings(tmp_path / "u.data")
    command = ("movielens", "--data", tmp_path, "--depth", 2, "--size", 50, "--out", tmp_path)
    result = _run(*command)
    assert result.exit_code == 0, result.output
    found = _results(tmp_path)
    errors = {row["method"]: row["RMSE_(stars)"] for row in found["rows"]}
    assert list(errors) == [*movielens.RIVALS, "flow, depth 2"]
    biases = errors.pop(movielens.BIASES)
    assert biases > 1.0  # the taste's deviation is 1.15
    assert max(errors.values()) < 0.3 * biases
    gains = {row["method"]: row["below_biases_(%)"] for row in found["rows"]}
    assert gains["flow, depth 2"] == pytest.approx(100 * (1 - errors["flow, depth 2"] / biases))

    monkeypatch.setattr(movielens, "follow", None)  # what is there is not computed again
    assert _run(*command).exit_code == 0
    assert _results(tmp_path)["rows"] == found["rows"]
    _write_ratings(tmp_path / "u.data", seed=1)
    assert _run(*command).exit_code != 0  # other ratings are another case


def test_ratings_are_needed_and_refused_by_line(tmp_path):
    refused = _run("movielens", "--out", tmp_path / "out")
    assert "`u.data`" in _message(refused)
    (tmp_path / "u.data").write_text("1\t1\t9\t0\n")
    refused = _run("movielens", "--data", tmp_path, "--out", tmp_path / "out")
    assert "must hold a rating from 1 to 5, but it is '9'" in _message(refused)


def test_predictions_of_biases_are_those_of_ridge_regression():
    random = np.random.default_rng(0)
    known = random.random((12, 9)) < 0.6
    matrix = np.where(known, random.normal(3, 1, known.shape), np.nan)
    train = MatrixCompletion.from_matrix(matrix, observed=known)
    setting, predicted = movielens.biases(train, jax.random.key(0))
    ridge = float(setting.removeprefix("ridge "))
    rows, cols = np.nonzero(known)
    design = np.concatenate([np.eye(12)[rows], np.eye(9)[cols]], axis=1)
    mean = matrix[known].mean()
    normal = design.T @ design + ridge * np.eye(21)
    effects = np.linalg.solve(normal, design.T @ (matrix[known] - mean))
    np.testing.assert_allclose(predicted, mean + np.add.outer(effects[:12], effects[12:]))


CITIES = {"seattle": seattle_temperatures, "san-francisco": san_francisco_temperatures}


@pytest.mark.parametrize("city", CITIES)
def test_imputers_are_told_of_the_known_temperatures_alone(city, monkeypatch):
    """The errors are those at hidden entries, and the part that is hidden is the one asked for."""
    truth, told = CITIES[city](), []

    def make(seed):
        def off_by_two(X):
            told.append(np.nanmean(~np.isnan(X)))
            return np.where(np.isnan(X), truth + 2, X)

        return {"two": off_by_two}

    monkeypatch.setitem(METHODS, "off by two", make)
    found = temperatures.fill(city=city, method="off by two", seed=0, observed=0.3)
    assert found == {"rmse": pytest.approx(2.0), "validation": None, "setting": "two"}
    assert told == [pytest.approx(0.3, abs=0.02)]


def _fake_imputers(errors):
    """Imputers by name that are off by a number, of the seed, in Seattle; by twice that elsewhere.

    Which city it is they tell by its known entries.
    """
    truths = [read() for read in CITIES.values()]

    def off(error):
        def fill(X, seed):
            known = ~np.isnan(X)
            which = [np.array_equal(truth[known], X[known]) for truth in truths].index(True)
            return np.where(known, X, truths[which] + (1 + which) * error(seed))

        return lambda seed: {"": partial(fill, seed=seed)}

    return {name: off(error) for name, error in errors.items()}


def test_a_study_of_temperatures_has_the_best_first_and_pairs_splits(tmp_path, monkeypatch):
    """Both cities and two splits; a miss of the best low-rank imputer on a split shows."""
    errors = {
        "soft-impute": lambda seed: 4.0,
        TUNED: lambda seed: 3.0 + seed,
        DEFAULT: lambda seed: 1.0 + seed,
        "least nuclear norm": lambda seed: 5.0 - 3.2 * seed,
        "least squares with offsets": lambda seed: 3.0,
        "column means": lambda seed: 0.5,
    }
    imputers = _fake_imputers(errors)
    monkeypatch.setattr(temperatures, "METHODS", imputers)
    as_tuned = lambda seed, depths, starts=1: imputers[TUNED](seed)
    monkeypatch.setattr(temperatures, "deep_factorization", as_tuned)
    done = _run("temperatures", "--seeds", 2, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    found = _results(tmp_path)
    rows = found["rows"]
    order = [
        "column means",
        DEFAULT,
        "least squares with offsets",
        "least nuclear norm",
        TUNED,
        "soft-impute",
    ]
    assert [row["city"] for row in rows] == ["Seattle"] * 6 + ["San Francisco"] * 6
    assert [row["imputer"] for row in rows] == order * 2
    means = np.array([0.5, 1.5, 3.0, 3.4, 3.5, 4.0])
    np.testing.assert_allclose([row["RMSE_(F)"] for row in rows], [*means, *2 * means])
    assert (rows[1]["least"], rows[1]["largest"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert rows[2]["ratio_to_default"] == pytest.approx((3 / 1 + 3 / 2) / 2)
    compared = {row.pop("quantity"): row for row in found["comparisons"]}
    assert len(compared) == 8
    best = np.array([3.0, 1.8])  # of three on a split; column means are none of them
    for city in ("Seattle", "San Francisco"):
        default, default_splits, tuned, tuned_splits = (
            compared[f"{city}, {method}: {what}"]
            for method in (DEFAULT, TUNED)
            for what in ("mean error / least mean", "on each split, error / best")
        )
        assert default["values"] == [pytest.approx(1.5 / 3.0)]
        assert tuned["values"] == [pytest.approx(3.5 / 3.0)]
        np.testing.assert_allclose(default_splits["values"], [1.0, 2.0] / best)
        np.testing.assert_allclose(tuned_splits["values"], [3.0, 4.0] / best)
        within = [row["inside"] for row in (default, default_splits, tuned, tuned_splits)]
        assert within == [1, 1, 0, 1]
        assert tuned["agrees_to"] == 1.1


def test_cities_are_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(temperatures, "METHODS", _fake_imputers({DEFAULT: lambda seed: 1.0}))
    monkeypatch.setattr(temperatures, "_compared", lambda city, errors: [])
    command = ("temperatures", "--seeds", 1, "--out", tmp_path, "--city")
    assert _run(*command, "san-francisco").exit_code == 0
    (row,) = _results(tmp_path)["rows"]
    assert (row["city"], row["RMSE_(F)"]) == ("San Francisco", pytest.approx(2.0))
    for wrong in ("boston", "seattle,seattle"):
        refused = _message(_run(*command, wrong))
        assert "'--city': must hold names of seattle, san-francisco, each once" in refused


def test_the_depths_of_the_settings_are_those_tuned_over(monkeypatch):
    """One start of each is compared, and several fill."""
    asked = []

    def make(seed, depths, *, starts=1):
        asked.append((depths, starts))
        return {"": lambda X: np.where(np.isnan(X), starts, X)}

    monkeypatch.setattr(temperatures, "deep_factorization", make)
    found = temperatures.fill(city="seattle", method=TUNED, seed=0, observed=0.5, depths="2,4")
    assert asked == [([2, 4], 1), ([2, 4], STARTS)]
    truth = seattle_temperatures()
    _, hide = hidden(truth, 0.5, seed=0)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((truth - STARTS)[hide] ** 2)))


@pytest.mark.parametrize("name", ["temperatures", "movielens"])
def test_shares_outside_of_zero_to_one_are_refused(name, tmp_path):
    data = ("--data", tmp_path) if name == "movielens" else ()
    refused = _run(name, *data, "--observed", "1.5", "--out", tmp_path)
    assert "must lie between 0 and 1, a share, but it is 1.5" in _message(refused)
