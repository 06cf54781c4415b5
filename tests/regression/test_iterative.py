"""Conjugate gradients solve what a dense solver does, by products alone; failures have reasons."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from flowkit.regression import RowTiles, conjugate_gradients, fit, nystrom

POINTS, OUTPUTS, RIDGE = 60, 3, 1e-3
TOLERANCE = 1e-11  # of the residual; the weights are off by the condition number times it
ERROR = 1e-7


@pytest.fixture(scope="module")
def problem():
    """A smooth kernel, whose eigenvalues decay fast: condition number 4e4 with the ridge."""
    x = np.linspace(-1, 1, POINTS)
    K = np.exp(-((x[:, None] - x) ** 2) / 0.1)
    return K, np.random.default_rng(0).standard_normal((POINTS, OUTPUTS))


def dense(K, y):
    return np.linalg.solve(K + RIDGE * np.eye(POINTS), y)


def as_tiles(K):
    return RowTiles(lambda rows: K[rows], POINTS, tile=7)


FORMS = {
    "matrix": lambda K: K,
    "function": lambda K: lambda columns: K @ columns,
    "lineax": lambda K: lx.MatrixLinearOperator(jnp.asarray(K)),
    "tiles": as_tiles,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("axes", [1, 2])
def test_weights_are_those_of_a_dense_solve(problem, form, axes):
    K, y = problem
    y = y if axes == 2 else y[:, 0]
    solution = conjugate_gradients(form(K), y, ridge=RIDGE, tolerance=TOLERANCE)
    assert solution.converged, solution.reason
    np.testing.assert_allclose(solution.weights, dense(K, y), atol=ERROR * 1e3)
    np.testing.assert_allclose(solution.predict(K[:5]), K[:5] @ dense(K, y), atol=ERROR)
    np.testing.assert_allclose(
        solution.predict(K[:5]), fit(K, y, ridge=RIDGE).predict(K[:5]), atol=ERROR
    )


def test_the_residual_is_that_of_the_weights(problem):
    K, y = problem
    solution = conjugate_gradients(K, y, ridge=RIDGE, tolerance=1e-3)
    error = y - (K + RIDGE * np.eye(POINTS)) @ solution.weights
    expected = np.linalg.norm(error) / np.linalg.norm(y)
    assert solution.residual == pytest.approx(expected, rel=1e-9)
    assert 1e-7 < solution.residual <= 1e-3


@pytest.mark.parametrize("form", ["matrix", "tiles"])
def test_a_preconditioner_spares_steps(problem, form):
    K, y = problem
    system = dict(ridge=RIDGE, tolerance=TOLERANCE)
    plain = conjugate_gradients(K, y, **system)
    inverse = nystrom(FORMS[form](K), POINTS, 25, ridge=RIDGE, key=jax.random.key(0))
    helped = conjugate_gradients(FORMS[form](K), y, preconditioner=inverse, **system)
    assert helped.converged
    assert helped.iterations <= 5 < 25 < plain.iterations
    np.testing.assert_allclose(helped.weights, dense(K, y), atol=ERROR * 1e3)


def test_the_preconditioner_inverts_a_kernel_of_its_rank():
    """K of rank 4: P^{-1} (K + ridge I) is the identity up to the factor it leaves to the rest."""
    factor = np.random.default_rng(1).standard_normal((POINTS, 4))
    K = factor @ factor.T
    inverse = nystrom(K, POINTS, 4, ridge=RIDGE, key=jax.random.key(0))
    image = inverse((K + RIDGE * np.eye(POINTS)) @ factor)
    scale = image[0, 0] / factor[0, 0]
    np.testing.assert_allclose(image, scale * factor, atol=1e-8 * np.abs(image).max())
    rest = np.linalg.qr(factor, mode="complete")[0][:, 4:]
    np.testing.assert_allclose(inverse(rest), rest, atol=1e-8)


def test_every_tile_is_read_once_a_step(problem):
    K, y = problem
    read = []
    tiles = RowTiles(lambda rows: (read.append(rows), K[rows])[1], POINTS, tile=16)
    solution = conjugate_gradients(tiles, y, ridge=0.1)
    products = len(read) / -(-POINTS // 16)
    assert products == solution.iterations + 1  # one more for the residual
    assert max(rows.stop for rows in read) == POINTS


def test_too_few_steps_are_reported(problem):
    K, y = problem
    solution = conjugate_gradients(K, y, ridge=RIDGE, max_steps=3)
    assert (solution.converged, solution.iterations, solution.reason) == (False, 3, "took 3 steps")
    assert solution.residual > 1e-8
    with pytest.raises(ValueError, match="must have converged to predict, but it took 3 steps"):
        solution.predict(K[:2])


def test_an_indefinite_kernel_is_reported():
    solution = conjugate_gradients(np.diag([1.0, -2.0]), np.array([1.0, 1.0]))
    assert not solution.converged
    assert "negative curvature" in solution.reason
    fine = conjugate_gradients(np.diag([1.0, -2.0]), np.array([1.0, 1.0]), ridge=3.0)
    assert fine.converged


def test_a_product_of_nan_is_reported(problem):
    _, y = problem
    solution = conjugate_gradients(lambda columns: columns * np.nan, y)
    assert not solution.converged
    assert "nan or infinity" in solution.reason
    assert np.isnan(solution.residual)


def test_a_tolerance_beyond_rounding_is_reported(problem):
    K, y = problem
    solution = conjugate_gradients(K, y, ridge=1e-6, tolerance=1e-16)
    assert not solution.converged
    assert solution.residual < 1e-6


def test_zero_targets_need_no_step(problem):
    K, y = problem
    solution = conjugate_gradients(K, np.zeros_like(y))
    assert solution.converged
    assert solution.iterations == 0
    assert not solution.weights.any()


Y = np.ones(2)
REFUSED = {
    "ridge": (dict(y=Y, ridge=-1.0), r"`ridge` must be finite and at least 0, .* `-1\.0`"),
    "tolerance": (dict(y=Y, tolerance=0.0), r"`tolerance` must be between 0 and 1, .* `0\.0`"),
    "steps": (dict(y=Y, max_steps=0), "`max_steps` must be at least 1, but it is `0`"),
    "nan": (dict(y=np.array([1.0, np.nan])), "`y` must be finite"),
    "axes": (dict(y=np.ones((2, 1, 1))), r"`y` must have one or two axes .* \(2, 1, 1\)"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_conjugate_gradients_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        conjugate_gradients(np.eye(2), **arguments)


@pytest.mark.parametrize(
    ("rank", "ridge", "message"),
    [
        (0, 1.0, "`rank` must be from 1 to 2, but it is `0`"),
        (3, 1.0, "`rank` must be from 1 to 2, but it is `3`"),
        (1, 0.0, r"`ridge` must be finite and above 0, but it is `0\.0`"),
    ],
)
def test_nystrom_refuses(rank, ridge, message):
    with pytest.raises(ValueError, match=message):
        nystrom(np.eye(2), 2, rank, ridge=ridge, key=jax.random.key(0))
