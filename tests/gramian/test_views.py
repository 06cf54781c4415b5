"""Views of a matrix in a store are the matrix, a part at a time."""

import sys
from typing import Any

import dask.array
import jax
import numpy as np
import pytest
import zarr
from gramian.plain import Plain

import flowkit as fk
from flowkit.gramian import open_gram

ROUNDING = 1e-13


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(11, 3))


@pytest.fixture
def z():
    return np.random.default_rng(1).normal(size=(7, 3))


def gram(x, z=None, **options) -> Any:
    return fk.gram(Plain(), x, z, progress=False, tile=4, **options)


@pytest.mark.parametrize("symmetric", [True, False])
def test_views_are_the_matrix(x, z, tmp_path, symmetric):
    found = gram(x, None if symmetric else z, store=tmp_path)
    dense = np.asarray(found)
    assert (found.shape, len(found), found.dtype) == (dense.shape, 11, dense.dtype)
    for key in (3, -1, slice(2, 9), slice(None, None, -3), [5, 0, 5], (slice(1, 6), 2), (4, 5)):
        np.testing.assert_array_equal(found[key], dense[key])
    chosen = np.array([9, 1, 4]), np.array([0, 6])
    np.testing.assert_array_equal(found[chosen], dense[np.ix_(*chosen)])
    grid = np.array([[1, 5, 9], [0, 4, 0]])
    np.testing.assert_array_equal(found[grid], dense[grid])
    np.testing.assert_array_equal(found[2:9, grid[:, :1]], dense[2:9, grid[:, :1]])
    assert found[2:2].shape == (0, dense.shape[1])
    lazy = found.dask()
    assert isinstance(lazy, dask.array.Array)
    np.testing.assert_array_equal((2 * lazy).compute(scheduler="synchronous"), 2 * dense)
    columns = np.random.default_rng(2).normal(size=(dense.shape[1], 2))
    np.testing.assert_allclose(found(columns), dense @ columns, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_array_equal(found(columns[:, 0]), found(columns[:, :1])[:, 0])
    with pytest.raises(ValueError, match=r"`columns` must be .* rows, but it has shape \(3, 2\)"):
        found(columns[:3])
    with pytest.raises(IndexError, match="an index of rows and one of columns"):
        found[0, 0, 0]
    with pytest.raises(IndexError, match="out of bounds"):
        found[11]


def test_regression_reads_the_store(x, z, tmp_path):
    own, between = gram(x, store=tmp_path / "own"), gram(z, x, store=tmp_path / "between")
    y = np.random.default_rng(3).normal(size=(11, 2))
    inverse = fk.regression.nystrom(own, 11, 6, ridge=1e-2, key=jax.random.key(0))
    for preconditioner in (None, inverse):
        solution = fk.regression.conjugate_gradients(
            own, y, ridge=1e-2, preconditioner=preconditioner, tolerance=1e-12
        )
        dense = fk.regression.fit(np.asarray(own), y, ridge=1e-2)
        np.testing.assert_allclose(
            solution.predict(between), dense.predict(np.asarray(between)), atol=1e-8
        )


@pytest.mark.parametrize("package", ["zarr", "dask.array"])
def test_what_the_extra_is_for_says_so_without_it(x, tmp_path, monkeypatch, package):
    found = gram(x, store=tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    ask = found.dask if package == "dask.array" else lambda: gram(x, store=tmp_path)
    with pytest.raises(
        ImportError, match=r"not installed: pip install 'gradient-flowkit\[scale\]'"
    ):
        ask()
    assert gram(x).shape == (11, 11)


def test_a_store_without_values_says_so(x, tmp_path):
    gram(x, store=tmp_path)
    del zarr.open_group(tmp_path)["ntk"]
    with pytest.raises(ValueError, match=r"`store` must hold kernel values, but .* holds none yet"):
        open_gram(tmp_path)
