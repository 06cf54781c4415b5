"""Ridge and time are chosen by the predictions of points left out, as by explicit refits."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from sklearn.model_selection import KFold

from flowkit.regression import misclassification, select

EXACT = 1e-10  # two dense methods in float64
POINTS, OUTPUTS = 8, 3
RIDGES, TIMES = (0.0, 0.05, 1.0), (0.3, 3.0, np.inf)


@pytest.fixture
def problem():
    draw = np.random.default_rng(0).standard_normal
    features = draw((POINTS, 12))
    return features @ features.T / 12, draw((POINTS, OUTPUTS))


def refit(K, y, part, ridge, t):
    """Predictions of the points in `part` by the flow of all others, by the matrix exponential."""
    rest = np.setdiff1d(np.arange(POINTS), part)
    A = K[np.ix_(rest, rest)] + ridge * np.eye(len(rest))
    decay = 0 if np.isinf(t) else scipy.linalg.expm(-t * A)
    weights = np.linalg.solve(A, (np.eye(len(rest)) - decay) @ y[rest])
    return K[np.ix_(part, rest)] @ weights


def expected_scores(K, y, parts):
    order = np.concatenate(parts)
    left_out = lambda r, t: np.concatenate([refit(K, y, part, r, t) for part in parts])
    square = lambda r, t: np.mean((left_out(r, t) - y[order]) ** 2)
    return np.array([[square(r, t) for t in TIMES] for r in RIDGES])


FOLDS = {
    "each point": None,
    "four folds": [test for _, test in KFold(4, shuffle=True, random_state=0).split(range(POINTS))],
    "held out": [[1, 4, 6]],
}


@pytest.mark.parametrize("folds", FOLDS.values(), ids=FOLDS)
def test_scores_are_those_of_refits(problem, folds):
    K, y = problem
    selection = select(K, y, ridges=RIDGES, times=TIMES, folds=folds)
    parts = [[i] for i in range(POINTS)] if folds is None else folds
    expected = expected_scores(K, y, parts)
    np.testing.assert_allclose(selection.scores, expected, atol=EXACT)
    row, column = np.unravel_index(expected.argmin(), expected.shape)
    assert (selection.ridge, selection.t) == (RIDGES[row], TIMES[column])


def test_leave_one_out_of_the_limit_needs_no_refit(problem):
    K, y = problem
    selection = select(K, y, ridges=RIDGES)
    expected = expected_scores(K, y, [[i] for i in range(POINTS)])[:, -1:]
    np.testing.assert_allclose(selection.scores, expected, atol=EXACT)


def test_noise_asks_for_a_ridge_or_an_early_stop():
    x = np.linspace(-1, 1, 30)
    K = np.exp(-((x[:, None] - x) ** 2) / 0.1) + 1e-6 * np.eye(30)
    truth = np.sin(3 * x)
    noise = np.random.default_rng(1).standard_normal(30)
    ridges = (0.0, 1e-2, 1.0, 1e3)
    assert select(K, truth, ridges=ridges).ridge == 0
    assert select(K, truth + 0.5 * noise, ridges=ridges).ridge == 1.0
    times = (1e-3, 1.0, np.inf)
    folds = [list(range(i, 30, 3)) for i in range(3)]
    assert select(K, truth + 0.5 * noise, times=times, folds=folds).t == 1.0


def test_classes_are_scored_by_errors():
    K = np.kron(np.eye(2), np.full((4, 4), 0.5)) + 0.5 * np.eye(8)
    y = np.eye(2)[[0, 0, 0, 1, 1, 1, 1, 1]] - 0.1  # one label is wrong
    selection = select(K, y, ridges=(0.1, 0.2), score=misclassification)
    np.testing.assert_array_equal(selection.scores, [[1 / 8], [1 / 8]])
    assert selection.ridge == 0.2  # of equal scores, the smoothest model


REFUSED = {
    "no ridges": (dict(ridges=()), "`ridges` and `times` must not be empty"),
    "ridge": (dict(ridges=(-1.0,)), r"`ridge` must be .* `-1\.0`"),
    "time": (dict(times=(-1.0,)), r"`t` must be at least 0, but it is `-1\.0`"),
    "everything": (dict(folds=[[0, 1, 2]]), "one point in it and one outside it"),
    "nothing": (dict(folds=[]), "`folds` must be lists of points"),
    "outside": (dict(folds=[[3]]), "`folds` must hold indices from 0 to 2"),
    "twice": (dict(folds=[[0], [0, 1]]), "leave each point out at most once"),
    "loss": (dict(loss="sum"), "`loss` must be"),
    "nan": (dict(score=lambda a, b: np.float64(np.nan)), "`score` must be finite somewhere"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_select_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        select(np.eye(3), np.ones(3), **arguments)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("dtype", [np.float32, np.float64, int])
def test_the_share_of_wrong_classes_is_exact_in_the_type_of_the_predictions(dtype):
    targets = jnp.eye(2)[jnp.zeros(100, int)]
    predictions = jnp.asarray(np.eye(2)[(np.arange(100) < 51).astype(int)], dtype)
    share = misclassification(predictions, targets)
    assert float(share) == (0.51 if dtype is np.float64 else np.float32(0.51))
    for wrong in (predictions[:, 0], predictions[:, :1], predictions[:9]):
        with pytest.raises(ValueError, match="`predictions` and `targets` must hold an output for"):
            misclassification(wrong, targets)
