"""A factorization in packed form is SciPy's of the whole matrix, read from a store by strips."""

import tracemalloc

import jax
import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve, lapack

import flowkit as fk
from flowkit.kernels import FullyConnected
from flowkit.regression import CholeskyRegression, PackedRegression, StoredMatrix, fit
from flowkit.regression.packed import MOST_POINTS, Triangle, _call

EXACT = 1e-10  # two dense solves in float64 at condition numbers below 1e4
KERNEL = FullyConnected(2)
RIDGE = 0.3


def points(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 5))


def stored(x, z=None, *, store, tile=4):
    return fk.gram(KERNEL, x, z, store=store, tile=tile, progress=False)


def targets(count, outputs=2):
    return np.random.default_rng(2).normal(size=(count, outputs))


@pytest.mark.parametrize("tile", [1, 3, 4, 100])
@pytest.mark.parametrize("count", [1, 2, 5, 6, 11, 12])
def test_the_order_of_the_numbers_is_that_of_lapack(count, tile):
    matrix = np.arange(1.0, count**2 + 1).reshape(count, count)
    matrix = matrix + matrix.T
    triangle = Triangle(count, np.full(count * (count + 1) // 2, np.nan))
    for first in range(0, count, tile):
        last = min(first + tile, count)
        triangle.put(first, last, matrix[:last, first:last])
    expected, info = lapack.dtrttf(np.asfortranarray(matrix), transr="N", uplo="L")
    assert info == 0
    np.testing.assert_array_equal(triangle.packed, expected)
    np.testing.assert_array_equal(triangle.diagonal(), np.diagonal(matrix))


@pytest.mark.parametrize("count", [12, 13])
@pytest.mark.parametrize("outputs", [None, 3])
def test_it_is_scipys_solve_of_the_whole_matrix(count, outputs, tmp_path):
    x, z = points(count), points(3, 1)
    K, K_test = stored(x, store=tmp_path / "train"), stored(z, x, store=tmp_path / "test")
    y = targets(count)[:, 0] if outputs is None else targets(count, outputs)
    found = fit(K, y, ridge=RIDGE, solver="cholesky")
    assert isinstance(found, PackedRegression)
    whole = np.asarray(KERNEL.gram(x)) + RIDGE * np.eye(count)
    weights = cho_solve(cho_factor(whole, lower=True), y)
    np.testing.assert_allclose(found.weights, weights, atol=EXACT)
    expected = np.asarray(KERNEL.gram(z, x)) @ weights
    for kernel in (K_test, np.asarray(K_test)):
        np.testing.assert_allclose(found.predict(kernel), expected, atol=EXACT)


def test_it_is_the_regression_of_the_same_matrix_in_memory(tmp_path):
    x = points(11)
    K, y, start = stored(x, store=tmp_path), targets(11), targets(11) / 3
    options = {"ridge": RIDGE, "relative_ridge": True, "start": start, "solver": "cholesky"}
    found, expected = fit(K, y, **options), fit(np.asarray(K), y, **options)
    assert isinstance(expected, CholeskyRegression)
    assert found.ridge == pytest.approx(float(expected.ridge))
    np.testing.assert_allclose(found.weights, expected.weights, atol=EXACT)
    np.testing.assert_allclose(found.leave_one_out(), expected.leave_one_out(), atol=EXACT)
    values = np.asarray(K)[:4]
    predicted, wanted = (model.predict(values, start=start[:4]) for model in (found, expected))
    np.testing.assert_allclose(predicted, wanted, atol=EXACT)


def test_single_precision_is_factored_in_double(tmp_path):
    x = points(9).astype(np.float32)
    K = stored(x, store=tmp_path)
    assert K.dtype == np.float32
    weights = fit(K, targets(9), ridge=RIDGE, solver="cholesky").weights
    whole = np.asarray(K).astype(float) + RIDGE * np.eye(9)
    np.testing.assert_allclose(weights, np.linalg.solve(whole, targets(9)), atol=EXACT)


def test_memory_is_that_of_a_triangle_and_a_strip(tmp_path):
    count, tile = 600, 20
    K = stored(points(count), store=tmp_path, tile=tile)
    y = targets(count)
    tracemalloc.start()
    fit(K, y, ridge=1.0, solver="cholesky")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    triangle, strip = 8 * count * (count + 1) // 2, 8 * count * tile
    assert peak < triangle + 6 * strip  # a square would be two triangles
    assert 6 * strip < triangle / 2


def test_equal_points_are_refused_and_a_ridge_helps(tmp_path):
    x = points(8)
    x[6] = x[1]
    K = stored(x, store=tmp_path)
    with pytest.raises(ValueError, match=r"`K` must be positive definite .*; raise the ridge\."):
        fit(K, targets(8), solver="cholesky")
    fit(K, targets(8), ridge=RIDGE, solver="cholesky")


def test_a_matrix_that_is_not_definite_says_where():
    class Indefinite:
        shape, dtype, symmetric = (3, 3), np.dtype(float), True

        def strips(self):
            yield 0, 3, np.diag([1.0, -2.0, 1.0])

    assert isinstance(Indefinite(), StoredMatrix)
    with pytest.raises(ValueError, match="the leading 2 rows are not"):
        fit(Indefinite(), np.ones(3), solver="cholesky")


def test_an_unfinished_matrix_is_refused(tmp_path):
    def stop(done, total):
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fk.gram(KERNEL, points(9), store=tmp_path, tile=4, progress=stop)
    K = fk.gramian.open_gram(tmp_path)
    with pytest.raises(ValueError, match="`K` must be finite, but rows 3 to 5 hold nan"):
        fit(K, targets(9), solver="cholesky")


def test_what_does_not_fit_is_refused(tmp_path):
    x = points(5)
    K = stored(x, store=tmp_path / "train")
    with pytest.raises(ValueError, match=r"`y` must have 5 rows, .* but it has shape \(4, 2\)"):
        fit(K, targets(4), solver="cholesky")
    with pytest.raises(ValueError, match="`ridge` must be finite and at least 0"):
        fit(K, targets(5), ridge=-1.0, solver="cholesky")
    with pytest.raises(ValueError, match="`start` must have shape"):
        fit(K, targets(5), start=targets(4), solver="cholesky")
    two = stored(x, x, store=tmp_path / "two")
    with pytest.raises(ValueError, match=r"`K` must be the matrix of one set of points, but"):
        fit(two, targets(5), solver="cholesky")


def test_more_points_than_lapack_counts_are_refused():
    class Large:
        shape, dtype, symmetric = (MOST_POINTS + 1,) * 2, np.dtype(float), True

        def strips(self):
            raise AssertionError("this was read before it was refused")

    assert (
        MOST_POINTS * (MOST_POINTS + 1) // 2 < 2**31 <= (MOST_POINTS + 1) * (MOST_POINTS + 2) // 2
    )
    with pytest.raises(ValueError, match="`K` must have at most 65535 rows, but it has 65536"):
        fit(Large(), np.ones(MOST_POINTS + 1), solver="cholesky")


@pytest.mark.parametrize("count", [46_341, MOST_POINTS])
def test_a_triangle_is_factored_beyond_what_scipy_counts(count, tmp_path):
    # Of a file without blocks the system reads and keeps only what is touched: the first columns.
    path = tmp_path / "triangle"
    with path.open("wb") as file:
        file.truncate(8 * (count * (count + 1) // 2))
    packed = np.memmap(path, dtype=float, mode="r+")
    packed[1 - count % 2] = 4.0  # the first entry of the diagonal; the second is 0
    assert _call("dpftrf", count, packed) == 2


def test_a_start_is_kept_in_double_precision_whatever_jax_computes_in(tmp_path):
    K, y = stored(points(6), store=tmp_path), targets(6)
    start = y * (1 + 1e-10)
    expected = np.linalg.solve(np.asarray(K) + RIDGE * np.eye(6), y - start)
    with jax.enable_x64(False):
        found = fit(K, y, start=start, ridge=RIDGE, solver="cholesky")
        with pytest.raises(ValueError, match="`start` must be finite"):
            fit(K, y, start=y * np.inf, ridge=RIDGE, solver="cholesky")
        assert fit(K, y, ridge=1e40, solver="cholesky").ridge == 1e40  # infinite in float32
    np.testing.assert_allclose(found.weights, expected, rtol=1e-4)


def test_an_eigendecomposition_reads_the_whole_matrix(tmp_path):
    K = stored(points(6), store=tmp_path)
    found = fit(K, targets(6), ridge=RIDGE)
    expected = fit(np.asarray(K), targets(6), ridge=RIDGE)
    np.testing.assert_array_equal(found.predict(np.asarray(K)), expected.predict(np.asarray(K)))
