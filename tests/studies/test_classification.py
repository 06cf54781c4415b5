"""Regression and baselines of the studies, against other ways to compute them."""

import numpy as np
import pytest
from rich.progress import Progress as Bar

from flowkit.kernels import FullyConnected
from flowkit.regression import CholeskyRegression, KernelRegression, fit
from flowkit.studies.classification import (
    Data,
    Grams,
    end_of_training,
    linear_hits,
    rbf_hits,
    regression_hits,
    targets,
)

CONDITIONED = 1e-6  # rounding, times the condition number of the Gram matrix


@pytest.fixture
def data():
    """Two rings of points, which no line separates; labels 0 and 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    angles = rng.uniform(0, 2 * np.pi, 120)
    points = (1 + 2 * labels)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = points + 0.2 * rng.normal(size=points.shape)
    images = points.reshape(-1, 2, 1, 1)
    return Data(images[:60], labels[:60], images[60:], labels[60:])


def test_targets_are_published_ones():
    expected = np.full((2, 10), -0.1)
    expected[0, 3] = expected[1, 0] = 0.9
    np.testing.assert_allclose(targets(np.array([3, 0]), np.dtype(float)), expected)


def test_regression_is_a_linear_solve(data, tmp_path):
    flat = data.flat()
    gram, test = Grams(tmp_path, Bar(disable=True)).of("ntk", FullyConnected(3), flat)
    solved = test @ np.linalg.solve(gram, targets(data.labels, gram.dtype))
    hits = regression_hits(gram, test, data)
    assert hits.tolist() == (solved.argmax(1) == data.test_labels).tolist()
    assert hits.mean() > 0.5


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_factorization_gives_what_the_eigenbasis_gives(data, ridge):
    flat, kernel = data.flat(), FullyConnected(3)
    gram = np.asarray(kernel.gram(flat.images))
    test = np.asarray(kernel.gram(flat.test_images, flat.images))
    wanted = targets(data.labels, gram.dtype)
    found = end_of_training(gram, wanted, ridge)
    assert isinstance(found, CholeskyRegression)
    expected = fit(gram, wanted, ridge=ridge).predict(test)
    np.testing.assert_allclose(found.predict(test), expected, atol=CONDITIONED)


def test_a_singular_matrix_leaves_out_its_zero_eigenvalues():
    gram, wanted = np.diag([2.0, 1.0, 0.0]), np.arange(6.0).reshape(3, 2)
    found = end_of_training(gram, wanted)
    assert isinstance(found, KernelRegression)
    np.testing.assert_allclose(found.predict(np.ones((1, 3))), [[2.0, 3.5]])


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_equal_images_are_averaged(seed):
    """The pivot that ought to be zero comes out positive for some of them, negative for others."""
    images = np.random.default_rng(seed).normal(size=(6, 5))
    images[3] = images[0]
    gram = np.asarray(FullyConnected(3).gram(images))
    found = end_of_training(gram, np.eye(6))
    np.testing.assert_allclose(found.predict(gram), fit(gram, np.eye(6)).predict(gram))
    averaged = np.eye(6)
    averaged[[0, 3]] = averaged[[0, 3]].mean(0)
    np.testing.assert_allclose(found.predict(gram), averaged, atol=CONDITIONED)


def test_baselines_do_what_their_function_class_allows(data):
    assert rbf_hits(data, 0).mean() > 0.95
    assert linear_hits(data, 0).mean() < 0.8
