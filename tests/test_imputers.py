"""Next to other imputers on real matrices, paired over splits, settings chosen on known entries."""

from functools import partial

import numpy as np
import pytest

from flowkit.datasets import seattle_temperatures
from flowkit.studies import imputing
from flowkit.studies.imputing import DEFAULT, METHODS, PARTS, HeldBack, hidden, rmse, tuned

SPLITS = 3
SQUARES, NEIGHBOURS, SOFT = "least squares with offsets", "nearest neighbours", "soft-impute"
nan = np.nan


@pytest.fixture
def coarse(monkeypatch):
    """Grids of a few settings, around those that the whole grids lead to."""
    monkeypatch.setattr(imputing, "RANKS", (3, 4))
    monkeypatch.setattr(imputing, "RIDGES", (0.01, 0.1))
    monkeypatch.setattr(imputing, "OFFSET_RIDGES", (1e-2,))
    monkeypatch.setattr(imputing, "PENALTIES", (0.01, 3e-3, 1e-3))


def _errors(matrix, part, methods):
    """Root mean square errors at hidden entries, by method, averaged over splits."""
    errors = {name: [] for name in methods}
    for seed in range(SPLITS):
        X, hide = hidden(matrix, part, seed=seed)
        for name, values in errors.items():
            values.append(rmse(tuned(METHODS[name](seed), X, seed=seed).matrix, matrix, hide))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def test_a_part_of_the_known_entries_is_hidden():
    matrix = np.where(np.eye(40) > 0, nan, np.arange(1600.0).reshape(40, 40))
    X, hide = hidden(matrix, 0.7, seed=0)
    assert not hide.diagonal().any()
    assert np.isnan(X[hide]).all()
    np.testing.assert_array_equal(X[~hide], matrix[~hide])
    assert hide.sum() / 1560 == pytest.approx(0.7, abs=0.03)


def test_the_candidate_of_least_error_on_entries_held_back_fills_with_all():
    truth = np.add.outer(np.arange(20.0), np.arange(30.0))
    X, hide = hidden(truth, 0.5, seed=0)
    seen = []

    def knows(X, error):
        seen.append(int((~np.isnan(X)).sum()))
        return np.where(np.isnan(X), truth + error, X)

    candidates = {f"{error:g}": partial(knows, error=error) for error in (3.0, 1.0, 2.0)}
    found = tuned(candidates, X, seed=0)
    assert (found.setting, found.validation) == ("1", pytest.approx(1.0))
    assert rmse(found.matrix, truth, hide) == pytest.approx(1.0)
    known = int((~hide).sum())
    assert seen[-1] == known
    assert all(0.85 * known < count < 0.95 * known for count in seen[:-1])


def test_all_parts_choose_among_the_best_on_the_first():
    """The best on three parts are three; of these the second is best on the others."""
    truth, parts = np.zeros((30, 30)), {}
    X, _ = hidden(truth, 0.5, seed=0)

    def fill(name, first, others):
        def of(X):
            count = parts[name] = parts.get(name, 0) + 1
            return np.where(np.isnan(X), first if count <= 3 else others, X)

        return of

    errors = {"a": (1.0, 5.0), "b": (2.0, 3.0), "c": (3.0, 4.0), "late": (4.0, 0.1)}
    candidates = {name: fill(name, *pair) for name, pair in errors.items()}
    filling = {name: (lambda X, name=name: name) for name in errors}
    found = tuned(candidates, X, seed=0, filling=filling)
    assert (found.setting, found.matrix) == ("b", "b")
    assert found.validation == pytest.approx((0.3 * 4 + 0.7 * 9) ** 0.5, rel=0.05)
    assert parts == {"a": PARTS, "b": PARTS, "c": PARTS, "late": 3}
    parts.clear()
    found = tuned(candidates, X, seed=0, filling=filling, compared_on=3)
    assert (found.setting, found.validation) == ("a", pytest.approx(1.0))
    assert set(parts.values()) == {3}


def test_every_known_entry_is_held_back_once():
    X, hide = hidden(np.arange(600.0).reshape(20, 30), 0.5, seed=0)
    counts = np.zeros(X.shape)

    def fill(Y):
        counts[np.isnan(Y) & ~hide] += 1
        return np.where(np.isnan(Y), 0.0, Y)

    HeldBack.of(X, seed=1).squares(fill, range(PARTS))
    np.testing.assert_array_equal(counts, ~hide)


def test_held_back_entries_weigh_by_the_odds_that_their_likes_are_hidden():
    """Rows of which a quarter is known are wrong by 3, the others by 1: weights of 3 to 1/3."""
    known = (
        np.random.default_rng(0).random((200, 40))
        < np.where(np.arange(200) < 100, 0.25, 0.75)[:, None]
    )
    choice = HeldBack.of(np.where(known, 0.0, nan), seed=0)
    wrong = np.where(np.arange(200) < 100, 3.0, 1.0)[:, None]
    squares = choice.squares(lambda X: np.where(np.isnan(X), wrong, X), range(PARTS))
    # A quarter of the known entries weighs 3, the others weigh 1/3 each.
    expected = ((0.25 * 3 * 9 + 0.75 / 3 * 1) / (0.25 * 3 + 0.75 / 3)) ** 0.5
    assert (squares / choice.weights.sum()) ** 0.5 == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("coarse")
def test_temperatures_of_which_three_in_ten_are_known():
    """Degrees Fahrenheit; the study has five splits, whole grids and more imputers."""
    errors = _errors(seattle_temperatures(), 0.7, (DEFAULT, SQUARES, NEIGHBOURS, SOFT))
    ours = errors.pop(DEFAULT)
    assert ours < 0.5
    assert ours < 1.1 * min(errors.values())
    assert ours < 0.8 * errors[SOFT]
    assert ours < 0.8 * errors[NEIGHBOURS]
