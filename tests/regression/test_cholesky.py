"""The Cholesky path gives the end of the flow, and says so where the kernel is singular."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from flowkit.regression import CholeskyRegression, fit

EXACT = 1e-10  # two dense solves in float64 at condition numbers below 1e4
TRAIN, TEST = 8, 3


def problem(outputs=2):
    draw = np.random.default_rng(0).standard_normal
    features = draw((TRAIN + TEST, 20))
    full = features @ features.T / 20
    return (
        full[:TRAIN, :TRAIN],
        full[TRAIN:, :TRAIN],
        draw((TRAIN, outputs)),
        draw((TRAIN, outputs)),
    )


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_it_is_a_linear_solve(ridge):
    K, K_test, y, start = problem()
    model = fit(K, y, ridge=ridge, start=start, solver="cholesky")
    assert isinstance(model, CholeskyRegression)
    weights = np.linalg.solve(K + ridge * np.eye(TRAIN), y - start)
    predicted = model.predict(K_test, start=start[:TEST])
    np.testing.assert_allclose(predicted, start[:TEST] + K_test @ weights, atol=EXACT)


def test_it_is_scikit_learns_kernel_ridge():
    K, K_test, y, _ = problem()
    expected = KernelRidge(alpha=0.3, kernel="precomputed").fit(K, y).predict(K_test)
    for solver in ("eigen", "cholesky"):
        predicted = fit(K, y, ridge=0.3, solver=solver).predict(K_test)
        np.testing.assert_allclose(predicted, expected, atol=EXACT)


@pytest.mark.parametrize("axes", [1, 2])
def test_leave_one_out_is_refitting(axes):
    K, _, y, start = problem()
    y, start = (y, start) if axes == 2 else (y[:, 0], start[:, 0])
    model = fit(K, y, ridge=0.1, start=start, solver="cholesky")
    for i, left_out in enumerate(model.leave_one_out()):
        rest = np.delete(np.arange(TRAIN), i)
        A = K[np.ix_(rest, rest)] + 0.1 * np.eye(TRAIN - 1)
        expected = start[i] + K[i, rest] @ np.linalg.solve(A, (y - start)[rest])
        np.testing.assert_allclose(left_out, expected, atol=EXACT)


def test_a_singular_kernel_is_refused_and_a_ridge_helps():
    K = np.diag([1.0, 0.0])
    with pytest.raises(ValueError, match=r"`K` must be positive definite .* `solver='eigen'`"):
        fit(K, np.ones(2), solver="cholesky")
    predicted = fit(K, np.ones(2), ridge=1.0, solver="cholesky").predict(np.eye(2))
    np.testing.assert_allclose(predicted, [0.5, 1.0], rtol=EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_a_kernel_of_equal_points_is_refused(seed):
    """Whatever the sign that rounding gives the pivot that ought to be zero."""
    points = np.random.default_rng(seed).normal(size=(6, 5))
    points[3] = points[0]
    products = points @ points.T
    with pytest.raises(ValueError, match="`K` must be positive definite"):
        fit(products + products**3 / 20, np.eye(6), solver="cholesky")


def test_the_test_kernel_is_checked():
    model = fit(np.eye(2), np.ones(2), solver="cholesky")
    with pytest.raises(ValueError, match="`K_test_train` must be test points by 2"):
        model.predict(np.ones((2, 3)))
