"""The estimators are kernel regression with the exact kernels, and obey scikit-learn's contract."""

import pickle

import numpy as np
import pytest
import scipy.linalg
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from flowkit.datasets import digits
from flowkit.estimators import CNTKClassifier, NTKClassifier, NTKRegressor
from flowkit.kernels import Convolutional, FullyConnected

EXACT = 1e-8  # two dense methods in float64, at condition numbers of these kernels below 1e6
TRAIN, TEST = 40, 20
CLASSES = np.array(["nought", "one", "two"])


@pytest.fixture(scope="module")
def images():
    """Digits 0, 1 and 2, at their full size."""
    pixels, labels = digits()
    few = np.flatnonzero(labels < len(CLASSES))[: TRAIN + TEST]
    return pixels[few], CLASSES[labels[few]]


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0).standard_normal
    return draw((TRAIN, 5)), draw((TEST, 5)), draw((TRAIN, 2))


def grams(kernel, train, test, kind="ntk"):
    return np.asarray(kernel.gram(train, kind=kind)), np.asarray(
        kernel.gram(test, train, kind=kind)
    )


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_the_regressor_is_kernel_ridge_regression(rows, kind):
    train, test, y = rows
    K, K_test = grams(FullyConnected(2, "erf"), train, test, kind)
    expected = KernelRidge(alpha=0.1, kernel="precomputed").fit(K, y).predict(K_test)
    model = NTKRegressor(2, "erf", ridge=0.1, kind=kind).fit(train, y)
    np.testing.assert_allclose(model.predict(test), expected, atol=EXACT)
    relative = NTKRegressor(
        2, "erf", kind=kind, ridge=0.1 * TRAIN / np.trace(K), relative_ridge=True
    )
    np.testing.assert_allclose(relative.fit(train, y).predict(test), expected, atol=EXACT)
    single = NTKRegressor(2, "erf", ridge=0.1, kind=kind).fit(train, y[:, 0]).predict(test)
    np.testing.assert_allclose(single, expected[:, 0], atol=EXACT)


@pytest.mark.parametrize("t", [0.0, 0.05, 3.0])
def test_outputs_at_time_t_are_those_of_the_flow(rows, t):
    train, test, y = rows
    K, K_test = grams(FullyConnected(2), train, test)
    learnt = np.linalg.solve(K, (np.eye(TRAIN) - scipy.linalg.expm(-t * K)) @ y)
    model = NTKRegressor(2, t=t).fit(train, y)
    np.testing.assert_allclose(model.predict(test), K_test @ learnt, atol=EXACT)


def test_classes_are_outputs_fitted_to_shifted_indicators(rows):
    train, test, y = rows
    index = y.sum(1).argsort().argsort() * len(CLASSES) // TRAIN
    K, K_test = grams(FullyConnected(3), train, test)
    indicators = np.eye(len(CLASSES))[index]
    outputs = K_test @ np.linalg.solve(K + np.eye(TRAIN), indicators - 0.1)
    model = NTKClassifier(3, ridge=1.0).fit(train, CLASSES[index])
    np.testing.assert_allclose(model.decision_function(test), outputs, atol=EXACT)
    assert list(model.classes_) == list(CLASSES)
    np.testing.assert_array_equal(model.predict(test), CLASSES[outputs.argmax(1)])
    without = K_test @ np.linalg.solve(K + np.eye(TRAIN), indicators)
    np.testing.assert_array_equal(without.argmax(1), outputs.argmax(1))
    assert np.abs(without - outputs).max() > 1e-3  # the offset is seen in the outputs


def test_of_two_classes_the_decision_is_one_number(rows):
    train, test, y = rows
    labels = np.where(y[:, 0] > 0, "yes", "no")
    model = NTKClassifier(ridge=0.1).fit(train, labels)
    decision = model.decision_function(test)
    assert decision.shape == (TEST,)
    np.testing.assert_array_equal(model.predict(test), np.where(decision > 0, "yes", "no"))
    np.testing.assert_allclose(
        decision, NTKRegressor(ridge=0.1).fit(train, np.sign(y[:, 0])).predict(test), atol=EXACT
    )


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_images_are_the_same_flattened(images, readout):
    pixels, labels = images
    small = pixels[:, ::2, 1:7:2]  # 4 x 3 x 1
    split = lambda values: (values[:TRAIN], values[TRAIN:])
    (train, test), (y, _) = split(small), split(labels)
    K, K_test = grams(Convolutional(3, readout=readout), train, test)
    indicators = (y[:, None] == CLASSES).astype(float) - 0.1
    expected = K_test @ np.linalg.solve(K + 0.1 * np.eye(TRAIN), indicators)
    model = CNTKClassifier(readout=readout, ridge=0.1).fit(train, y)
    assert model.image_shape_ == (4, 3, 1)
    assert model.n_features_in_ == 12
    np.testing.assert_allclose(model.decision_function(test), expected, atol=EXACT)
    flat = lambda array: array.reshape(len(array), -1)
    for shape in ((4, 3, 1), (4, -1, 1)):
        folded = CNTKClassifier(readout=readout, ridge=0.1, image_shape=shape).fit(flat(train), y)
        np.testing.assert_array_equal(
            folded.decision_function(flat(test)), folded.decision_function(test)
        )
        np.testing.assert_allclose(folded.decision_function(test), expected, atol=EXACT)


def test_unseen_digits_are_recognised(images):
    pixels, labels = images
    train, test = pixels[:TRAIN], pixels[TRAIN:]
    assert (
        CNTKClassifier(readout="flatten").fit(train, labels[:TRAIN]).score(test, labels[TRAIN:])
        >= 0.9
    )
    K, K_test = grams(Convolutional(3, readout="flatten"), train, test)
    vectors = SVC(kernel="precomputed", C=1e4).fit(K, labels[:TRAIN])
    assert vectors.score(K_test, labels[TRAIN:]) >= 0.9


def test_a_grid_search_takes_a_precomputed_kernel(rows):
    """Its folds cut rows and columns of the Gram matrix, and find what the inputs give."""
    train, test, y = rows
    K, K_test = grams(FullyConnected(3), train, test)
    grid = {"t": [0.01, 1.0, np.inf], "ridge": [0.0, 0.1]}
    search = lambda model: GridSearchCV(model, grid, cv=KFold(4), scoring="neg_mean_squared_error")
    by_inputs = search(NTKRegressor()).fit(train, y)
    by_gram = search(NTKRegressor(kernel="precomputed")).fit(K, y)
    scores = "mean_test_score"
    np.testing.assert_allclose(
        by_gram.cv_results_[scores], by_inputs.cv_results_[scores], atol=EXACT
    )
    assert len(np.unique(by_gram.cv_results_[scores])) == 6
    np.testing.assert_allclose(by_gram.predict(K_test), by_inputs.predict(test), atol=EXACT)


def test_early_stopping_is_chosen_where_targets_are_noisy():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 2))
    truth = np.abs(x[:, 0])  # what a ReLU network without biases can say
    pipeline = make_pipeline(StandardScaler(with_mean=False), NTKRegressor())
    search = GridSearchCV(pipeline, {"ntkregressor__t": [1e-4, 0.1, np.inf]}, cv=KFold(3))
    noisy = search.fit(x, truth + 0.5 * rng.standard_normal(60))
    assert noisy.best_params_ == {"ntkregressor__t": 0.1}
    assert search.fit(x, truth).best_params_ == {"ntkregressor__t": np.inf}


def test_any_kernel_may_be_given_and_everything_survives_clone_and_pickle(rows):
    train, test, y = rows
    kernel = FullyConnected(2, "erf")
    model = NTKRegressor(kernel=kernel, ridge=0.1, t=2.0)
    again = clone(model)
    assert again.get_params() == model.get_params()
    expected = NTKRegressor(2, "erf", ridge=0.1, t=2.0).fit(train, y).predict(test)
    np.testing.assert_array_equal(again.fit(train, y).predict(test), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict(test), expected)


def test_single_precision_stays(rows):
    train, test, y = rows
    single = NTKRegressor(ridge=0.1).fit(train.astype(np.float32), y).predict(test)
    assert single.dtype == np.float32
    double = NTKRegressor(ridge=0.1).fit(train, y).predict(test)
    np.testing.assert_allclose(single, double, atol=1e-4)


def test_parallel_inputs_are_no_obstacle():
    """Kernel values of parallel inputs are exact to the square root of the rounding unit only."""
    train = np.random.default_rng(3).standard_normal((15, 1))
    assert np.linalg.matrix_rank(FullyConnected(3).gram(train), tol=1e-5) == 2
    y = np.where(train[:, 0] > 0, 2.0, 3.0) * train[:, 0]  # what such a network can say
    model = NTKRegressor().fit(train, y)
    np.testing.assert_allclose(model.predict([[2.0], [-2.0]]), [4.0, -6.0], atol=1e-5)


IMAGE = np.ones((3, 2, 2, 1))
FLAT = IMAGE.reshape(3, 4)
LABELS = np.array([0, 1, 0])
REFUSED = {
    "a guess": (CNTKClassifier(), FLAT, "`X` must be images .* `image_shape` is None"),
    "wrong size": (
        CNTKClassifier(image_shape=(3, 2, 1)),
        FLAT,
        r"`image_shape` must .* 4 features",
    ),
    "two open": (CNTKClassifier(image_shape=(-1, -1, 1)), FLAT, "`image_shape` must be height"),
    "two axes": (CNTKClassifier(image_shape=(2, 2)), FLAT, "`image_shape` must be height"),
    "transposed": (CNTKClassifier(image_shape=(1, 4, 1)), IMAGE, r"`X` must .* \(1, 4, 1\)"),
    "kernel": (NTKClassifier(kernel="rbf"), FLAT, "`kernel` must be a kernel, .* `'rbf'`"),
    "kind": (NTKClassifier(kind="both"), FLAT, "`kind` must be"),
    "time": (NTKRegressor(t=-1.0), FLAT, r"`t` must be at least 0, but it is `-1\.0`"),
    "ridge": (NTKRegressor(ridge=-1.0), FLAT, r"`ridge` must be .* `-1\.0`"),
    "gram": (NTKRegressor(kernel="precomputed"), FLAT, "`K` must be a square matrix"),
}


@pytest.mark.parametrize(("model", "X", "message"), REFUSED.values(), ids=REFUSED)
def test_a_fit_refuses(model, X, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, LABELS)


def test_images_of_another_shape_are_refused_after_the_fit():
    model = CNTKClassifier(ridge=1.0).fit(IMAGE, LABELS)
    with pytest.raises(ValueError, match=r"images of shape \(2, 2, 1\), .* \(1, 4, 1\)"):
        model.predict(np.ones((1, 1, 4, 1)))


CONTRACTS = {
    "regressor": NTKRegressor(),
    "classifier": NTKClassifier(),
    "stopped": NTKClassifier(ridge=1e-2, t=50.0),
    "convolutional": CNTKClassifier(depth=2, readout="flatten", image_shape=(1, -1, 1)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_user")  # the contract sets parameters of wrong types on purpose
@pytest.mark.parametrize("model", CONTRACTS.values(), ids=CONTRACTS)
def test_scikit_learns_contract_holds(model):
    """Every check that applies, without an exception; only its array-API check needs a switch."""
    results = check_estimator(model, on_skip=None)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert all(result["status"] in ("passed", "skipped") for result in results)
    assert len(results) > 50
