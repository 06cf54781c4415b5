"""The imputer is the flow of a factorization, stopped early, and obeys scikit-learn's contract."""

import pickle
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from flowkit import FactorFlow, MatrixCompletion, initial, integrate
from flowkit.estimators import DeepMatrixFactorization, NTKRegressor, early_stopping
from flowkit.observables import end_to_end

SHAPE, RANK = (24, 10), 2
FLOW = 2e-2  # of the entries: the estimator integrates at a relative tolerance of 1e-3
EXACT = 1e-10
nan = np.nan


def _low_rank(seed=0, rows=SHAPE[0]):
    """Rows of one row space, whatever the seed."""
    space = np.random.default_rng(99).normal(size=(RANK, SHAPE[1]))
    return np.random.default_rng(seed).normal(size=(rows, RANK)) @ space


def _hidden(matrix, part, seed=1):
    hide = np.random.default_rng(seed).random(matrix.shape) < part
    return np.where(hide, nan, matrix), hide


@pytest.fixture(scope="module")
def model():
    X, _ = _hidden(_low_rank(), 0.3)
    return DeepMatrixFactorization(standardise="matrix", random_state=0).fit(X)


NOISY, _ = _hidden(_low_rank() + 0.5 * np.random.default_rng(5).normal(size=SHAPE), 0.3)


@pytest.fixture(scope="module")
def noisy():
    return DeepMatrixFactorization(standardise="matrix", random_state=0).fit(NOISY)


def _rms(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.slow
def test_a_low_rank_matrix_is_recovered_and_known_entries_are_kept():
    target = _low_rank()
    X, hide = _hidden(target, 0.3)
    filled = DeepMatrixFactorization(standardise="matrix", random_state=0).fit_transform(X)
    np.testing.assert_array_equal(filled[~hide], target[~hide])
    assert _rms((filled - target)[hide]) < 0.1 * target.std()


def test_rows_of_the_same_space_are_filled_though_never_seen(model):
    target = _low_rank(seed=7, rows=15)
    X, hide = _hidden(target, 0.4, seed=8)
    filled = model.transform(X)
    np.testing.assert_array_equal(filled[~hide], target[~hide])
    assert _rms((filled - target)[hide]) < 0.25 * target.std()
    np.testing.assert_allclose(model.transform(X[::-1])[::-1], filled, atol=EXACT)


def test_what_is_learnt_is_the_flow_of_all_known_entries_at_the_stopping_time(noisy):
    """Integrated once more, of observations by index, without stops, to a tighter tolerance."""
    mean, deviation = np.nanmean(NOISY), np.nanstd(NOISY)
    problem = MatrixCompletion.from_matrix((NOISY - mean) / deviation, observed=~np.isnan(NOISY))
    seed = np.random.RandomState(0).randint(2**31 - 1)
    start, _ = jax.random.split(jax.random.key(seed))
    factors = initial.gaussian(problem, 3, 1e-3, key=start)
    final = integrate(FactorFlow(problem), factors, [0.0, noisy.time_]).final
    ours, expected = (np.asarray(end_to_end(state)) for state in (noisy.factors_, final))
    assert _rms(ours - expected) < FLOW


def test_the_refit_is_integrated_by_the_program_of_training(monkeypatch):
    """Compilation is most of a fit: the same number of times, and an end of the same kind."""
    kinds = set()

    def noted(field, state, ts, *, until, **options):
        kinds.add((len(ts), type(until)))
        return integrate(field, state, ts, until=until, **options)

    monkeypatch.setattr(early_stopping, "integrate", noted)
    DeepMatrixFactorization(standardise="matrix", random_state=0).fit(NOISY)
    assert len(kinds) == 1


def test_it_stops_where_held_out_entries_are_predicted_best(noisy):
    best = int(np.argmin(noisy.held_out_losses_))
    assert noisy.times_[best] == noisy.time_ < noisy.times_[-1]
    assert noisy.ridge_ == noisy.held_out_losses_[best] < noisy.held_out_losses_[-1]
    assert noisy.train_losses_[-1] < noisy.train_losses_[best] < 0.5 < noisy.train_losses_[0]
    assert (np.diff(noisy.times_) >= 0).all()


def test_the_stopping_point_does_not_know_what_is_held_out():
    """Held-out entries with a million added shape no offset, and so no training loss."""
    wild = NOISY.copy()
    known = MatrixCompletion.from_matrix(NOISY, observed=~np.isnan(NOISY))
    _, key = jax.random.split(jax.random.key(np.random.RandomState(0).randint(2**31 - 1)))
    held_out = known.split(0.1, key=key)[1].mask
    wild[held_out] += 1e6
    options = {"max_time": 30.0, "refit": False, "random_state": 0}
    one, other = (
        DeepMatrixFactorization(standardise="effects", **options).fit(X) for X in (NOISY, wild)
    )
    np.testing.assert_allclose(one.train_losses_, other.train_losses_, rtol=1e-6)
    assert other.held_out_losses_.min() > 1e6 * one.held_out_losses_.max()
    np.testing.assert_allclose(one.units_.column_offsets, other.units_.column_offsets)


def test_held_out_losses_are_in_the_units_that_were_taught():
    """Without a refit the product is that of the last time: its held-out error can be redone."""
    known = MatrixCompletion.from_matrix(NOISY, observed=~np.isnan(NOISY))
    _, key = jax.random.split(jax.random.key(np.random.RandomState(0).randint(2**31 - 1)))
    taught, held_out = (part.mask for part in known.split(0.1, key=key))
    options = {"standardise": "matrix", "max_time": 30.0, "random_state": 0}
    refitted = DeepMatrixFactorization(**options).fit(NOISY)
    stopped = DeepMatrixFactorization(refit=False, **options).fit(NOISY)
    assert refitted.taught_units_.scales[0] == pytest.approx(np.std(NOISY[taught]))
    assert refitted.units_.scales[0] == pytest.approx(np.std(NOISY[~np.isnan(NOISY)]))
    assert stopped.units_ is stopped.taught_units_
    product = stopped.units_.restore(np.asarray(end_to_end(stopped.factors_), float))
    error = _rms((product - NOISY)[held_out])
    star = refitted.taught_units_.scales[0]
    assert star * min(refitted.held_out_losses_) ** 0.5 == pytest.approx(error, rel=1e-3)


@pytest.mark.slow
def test_noise_is_not_learnt():
    """Trained to the end the noise is fitted too; stopped early the error is below it."""
    target = _low_rank()
    X, hide = _hidden(target + np.random.default_rng(5).normal(size=SHAPE), 0.3)
    early, late = (
        DeepMatrixFactorization(
            2, 0.1, standardise="matrix", validation=validation, random_state=0
        ).fit_transform(X)
        for validation in (0.1, 0.0)
    )
    assert _rms((early - target)[hide]) < 0.9 * _rms((late - target)[hide])


@pytest.mark.parametrize("options", [{}, {"refit": False}])
def test_several_starts_are_the_mean_of_what_each_leads_to(options):
    """The first start is that of a model of one; the others are of the draws that follow."""
    make = partial(DeepMatrixFactorization, standardise="effects", **options)
    random = np.random.RandomState(0)  # goes on from one model to the next
    alone = [make(random_state=random) for _ in range(2)]
    filled = [model.fit_transform(NOISY) for model in alone]
    model = make(starts=2, random_state=0)
    np.testing.assert_allclose(model.fit_transform(NOISY), np.mean(filled, axis=0), atol=EXACT)
    assert _rms(filled[0] - filled[1]) > 1e6 * EXACT
    assert [flow.time for flow in model.flows_] == [one.time_ for one in alone]
    assert model.ridge_ == pytest.approx(np.mean([one.ridge_ for one in alone]))
    assert (model.time_, len(model.flows_)) == (alone[0].time_, 2)
    np.testing.assert_array_equal(model.features_, model.units_.features(model.product_))


def test_transforming_is_ridge_regression_on_the_features(model):
    X, _ = _hidden(_low_rank(seed=3, rows=6), 0.4, seed=4)
    X[2] = nan
    filled = model.transform(X)
    mean, deviation = model.units_.column_offsets[0], model.units_.scales[0]
    for row, result in zip((X - mean) / deviation, (filled - mean) / deviation, strict=True):
        known = ~np.isnan(row)
        F = model.features_[known]
        normal = F.T @ F + model.ridge_ * np.eye(F.shape[1])
        expected = model.features_ @ np.linalg.solve(normal, F.T @ row[known])
        np.testing.assert_allclose(result[~known], expected[~known], atol=1e-7)
    np.testing.assert_allclose(filled[2], mean, atol=EXACT)


def test_the_score_leaves_every_known_entry_out_in_turn(model):
    X, _ = _hidden(_low_rank(seed=3, rows=6), 0.4, seed=4)
    deviation = model.units_.scales[0]
    residuals = []
    for i, j in np.argwhere(~np.isnan(X)):
        row = X[[i]].copy()
        row[0, j] = nan
        residuals.append((model.transform(row)[0, j] - X[i, j]) / deviation)
    assert model.score(X) == pytest.approx(-_rms(residuals), rel=1e-7)


def test_nothing_known_has_no_score(model):
    with pytest.raises(ValueError, match="`X` must have known entries"):
        model.score(np.full((2, SHAPE[1]), nan))


def test_effects_of_rows_are_found_in_rows_never_seen():
    """An additive matrix: nothing is left to factorize, and one known entry tells the row."""
    effects = 10 * np.random.default_rng(0).normal(size=SHAPE[0])[:, None] + np.arange(10.0)
    X, hide = _hidden(effects, 0.2)
    model = DeepMatrixFactorization(standardise="effects", random_state=0)
    filled = model.fit_transform(X)
    assert _rms((filled - effects)[hide]) < 0.25 * effects.std()
    row = np.where(np.arange(10) == 2, 22.0, nan)[None]
    assert _rms(model.transform(row)[0] - (20.0 + np.arange(10))) < 4


def test_empty_columns_rows_and_constants_are_filled_with_means():
    X, _ = _hidden(_low_rank(), 0.3)
    X[:, 3] = nan
    X[5] = nan
    filled = DeepMatrixFactorization(random_state=0, max_time=30.0).fit_transform(X)
    np.testing.assert_allclose(filled[:, 3], np.nanmean(X), atol=0.05)
    others = np.arange(SHAPE[1]) != 3
    np.testing.assert_allclose(filled[5, others], np.nanmean(X[:, others], axis=0), atol=0.1)
    constant = np.full((4, 3), 7.0)
    constant[1, 2] = nan
    model = DeepMatrixFactorization()
    np.testing.assert_allclose(model.fit_transform(constant), 7.0, atol=1e-2)
    np.testing.assert_allclose(model.transform(constant), 7.0, atol=1e-2)


def test_single_precision_stays_and_models_are_pickled(model):
    X, _ = _hidden(_low_rank(seed=3, rows=6), 0.4, seed=4)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert model.transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.slow
def test_it_imputes_in_a_pipeline_and_is_tuned_in_a_grid():
    target = _low_rank(rows=30)
    X, _ = _hidden(target, 0.2)
    y = target @ np.arange(10.0)
    imputer = DeepMatrixFactorization(max_time=300.0, refit=False, random_state=0)
    pipeline = make_pipeline(StandardScaler(), imputer, LinearRegression())
    grid = GridSearchCV(pipeline, {"deepmatrixfactorization__depth": [1, 3]}, cv=2).fit(X, y)
    assert grid.best_params_ == {"deepmatrixfactorization__depth": 3}
    alone = GridSearchCV(clone(imputer), {"depth": [1, 3]}, cv=2).fit(X)
    assert alone.best_params_ == {"depth": 3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depth": 0}, "`depth` must be a positive integer"),
        ({"scale": 0.0}, "`scale` must be positive"),
        ({"standardise": "rows"}, "`standardise` must be one of"),
        ({"validation": 1.0}, "`validation` must be at least 0 and below 1"),
        ({"patience": 1.0}, "`patience` must be above 1"),
        ({"tolerance": 0.0}, "`tolerance` must be positive"),
        ({"max_time": 0.0}, "`max_time` must be positive and finite, or None"),
        ({"max_time": float("inf")}, "`max_time` must be positive and finite, or None"),
        ({"validation": 0.999}, "`validation` must leave known entries to train on, but 0.999"),
        ({"starts": 0}, "`starts` must be a positive integer, but it is 0"),
        ({"ridge": -1.0}, "`ridge` must be at least 0, or None"),
        ({"scale": None}, "`scale` must be positive and finite, but it is None"),
        ({"validation": None}, "`validation` must be at least 0 and below 1, but it is None"),
        ({"patience": [2.0]}, r"`patience` must be above 1, but it is \[2.0\]"),
        ({"tolerance": None}, "`tolerance` must be positive, but it is None"),
        ({"max_time": "1"}, "`max_time` must be positive and finite, or None, but it is '1'"),
        ({"ridge": "a"}, "`ridge` must be at least 0, or None, but it is 'a'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        (model := DeepMatrixFactorization(**parameters)).fit(_low_rank())
    assert not [name for name in vars(model) if name.endswith("_") and name != "n_features_in_"]


def test_a_matrix_of_which_nothing_is_known_is_refused():
    with pytest.raises(ValueError, match="`X` must have known entries"):
        DeepMatrixFactorization().fit(np.full((3, 2), nan))


def test_what_a_mask_hides_is_missing(model):
    """The value behind the mask tells nothing, in training and in rows seen later."""
    hidden = [[False, False], [False, True]]
    ones = np.ma.array([[1.0, 1.0], [1.0, 99.0]], mask=hidden)
    learner = DeepMatrixFactorization(random_state=0)
    filled = learner.fit_transform(np.where(hidden, nan, 1.0))
    np.testing.assert_array_equal(learner.fit_transform(ones), filled)
    X, hide = _hidden(_low_rank(seed=3), 0.3)
    masked = np.ma.array(np.where(hide, 99.0, X), mask=hide)
    np.testing.assert_array_equal(model.transform(masked), model.transform(X))
    assert model.score(masked) == model.score(X)
    with pytest.raises(ValueError, match="contains NaN"):
        NTKRegressor().fit(ones, [0.0, 1.0])


SINGLE = """
import numpy as np, flowkit as fk
draw = np.random.default_rng(0).normal
target = draw(size=(24, 2)) @ draw(size=(2, 10))
X = np.where(np.random.default_rng(1).random((24, 10)) < 0.3, np.nan, target)
model = fk.estimators.DeepMatrixFactorization(standardise="matrix", random_state=0)
filled = model.fit_transform(X)
assert all(W.dtype == np.float32 for W in model.factors_)
assert filled.dtype == np.float64
print(np.sqrt(np.mean((filled - target)[np.isnan(X)] ** 2)) / target.std())
"""


@pytest.mark.slow
def test_it_works_in_jax_as_it_comes_in_single_precision():
    done = subprocess.run([sys.executable, "-c", SINGLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_user")  # the contract sets parameters of wrong types on purpose
def test_the_contract_of_scikit_learn_is_kept():
    """Every check that applies; only its array-API check needs a switch."""
    model = DeepMatrixFactorization(max_time=20.0, refit=False, starts=2)
    results = check_estimator(model, on_skip=None)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert all(result["status"] in ("passed", "skipped") for result in results)
    assert len(results) > 40
