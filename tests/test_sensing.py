"""Sensing problems hold what was measured, and refuse what cannot be."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from flowkit import FactorFlow, MatrixCompletion, MatrixSensing, initial, integrate, until
from flowkit.observables import nuclear_norm
from flowkit.problems import GaussianSensing


def test_loss_is_the_mean_square_over_measurements(key):
    draws, W = jax.random.normal(key, (3, 2, 4)), jax.random.normal(key, (2, 4))
    values = np.array([1.0, -2.0, 0.5])
    residuals = [float(np.sum(A * W)) - value for A, value in zip(draws, values, strict=True)]
    loss = MatrixSensing(draws, values).loss(W)
    assert float(loss) == pytest.approx(np.mean(np.square(residuals)), rel=1e-14)


def test_measuring_entries_is_completion(key):
    """Unit matrices as measurements: the same loss and the same flow."""
    rows, cols, values = [0, 1, 2], [1, 0, 1], np.array([1.0, 2.0, 3.0])
    units = np.zeros((3, 3, 2))
    units[np.arange(3), rows, cols] = 1
    sensing = MatrixSensing(units, values)
    completion = MatrixCompletion(rows, cols, values, (3, 2))
    factors = initial.gaussian(sensing, 3, 0.5, key=key)
    for one, other in zip(
        FactorFlow(sensing)(0.0, factors), FactorFlow(completion)(0.0, factors), strict=True
    ):
        assert jnp.allclose(one, other, rtol=0, atol=1e-14)


def test_gaussian_measurements_fit_the_target_and_keep_distances(key):
    target = jax.random.normal(key, (6, 5))
    problem = MatrixSensing.from_matrix(target, measured=4000, key=jax.random.key(1))
    assert float(problem.loss(target)) < 1e-28
    assert float(problem.loss(jnp.zeros((6, 5)))) == pytest.approx(
        float(jnp.mean(target**2)), rel=5 * (2 / 4000) ** 0.5
    )


BAD = {
    "one matrix": (np.eye(2), [1.0], "`measurements` must be a non-empty array with 3 axes"),
    "none": (np.ones((0, 2, 2)), [], "`measurements` must be a non-empty array"),
    "lengths": (np.ones((2, 2, 2)), [1.0], "a value for each of 2 measurements, but it holds 1"),
    "complex": (1j * np.ones((1, 2, 2)), [1.0], "`measurements` must be real"),
    "infinite": (np.ones((1, 2, 2)), [np.inf], "`values` must be finite"),
}


@pytest.mark.parametrize(("measurements", "values", "sentence"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_measured_is_refused(measurements, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        MatrixSensing(measurements, values)


def test_a_product_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"`product` must have shape \(2, 2\)"):
        MatrixSensing(np.ones((1, 2, 2)), [1.0]).loss(jnp.zeros((2, 3)))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("measured", [0, 1.5, True])
def test_measurements_are_counted(measured, key):
    with pytest.raises(ValueError, match="`measured` must be a positive integer"):
        MatrixSensing.from_matrix(np.eye(2), measured=measured, key=key)


@pytest.mark.usefixtures("as_a_user")
def test_numpy_integers_count(key):
    for kind in (MatrixSensing, GaussianSensing):
        of_numpy = kind.from_matrix(np.eye(2), measured=np.int64(3), key=key)
        np.testing.assert_array_equal(
            of_numpy.values, kind.from_matrix(np.eye(2), measured=3, key=key).values
        )
    factors = initial.identity(of_numpy, np.int64(2), 0.1, width=np.int32(3))
    assert [W.shape for W in factors] == [(3, 2), (2, 3)]


@pytest.mark.parametrize("block", [None, 4, 7])
def test_measurements_drawn_anew_are_those_that_would_be_stored(block, key):
    """Loss, gradient and flow, with and without a padded block."""
    target, W = (jax.random.normal(k, (5, 3)) for k in jax.random.split(key))
    free = GaussianSensing.from_matrix(target, measured=14, block=block, key=key)
    stored = free.stored()
    assert stored.values.shape == (14,)
    np.testing.assert_allclose(
        stored.values, jnp.einsum("kij,ij->k", stored.measurements, target), atol=1e-14
    )
    assert float(free.loss(W)) == pytest.approx(float(stored.loss(W)), rel=1e-13)
    assert float(free.loss(target)) < 1e-28
    np.testing.assert_allclose(free.gradient(W), stored.gradient(W), atol=1e-14)
    factors = initial.gaussian(free, 2, 0.5, key=key)
    for one, other in zip(
        FactorFlow(free)(0.0, factors), FactorFlow(stored)(0.0, factors), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-14)


def test_measurements_do_not_depend_on_the_precision_of_the_matrix(key):
    target = jax.random.normal(key, (4, 3))
    problem = GaussianSensing.from_matrix(target, measured=6, block=3, key=key)
    single = target.astype(jnp.float32)
    assert float(problem.loss(single)) < 1e-12
    np.testing.assert_allclose(problem.measured(single), problem.values, atol=1e-6)
    gradient = problem.gradient(single + 1)
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, problem.gradient(target + 1), atol=1e-6)


def test_measurements_drawn_anew_are_standard_and_differ(key):
    stored = GaussianSensing.from_matrix(np.eye(6), measured=500, block=50, key=key).stored()
    flat = np.asarray(stored.measurements).reshape(500, 36) * 6
    assert np.unique(flat).size == flat.size
    np.testing.assert_allclose(np.cov(flat.T, bias=True), np.eye(36), atol=5 * 500**-0.5)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (np.ones(3), {"measured": 1}, "`target` must be a matrix of finite values"),
        (np.eye(2), {"measured": 0}, "`measured` must be a positive integer"),
        (np.eye(2), {"measured": 3, "block": 0}, "`block` must be a positive integer"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_gaussian_sensing_is_refused(target, options, message, key):
    with pytest.raises(ValueError, match=message):
        GaussianSensing.from_matrix(target, **options, key=key)


def test_a_commuting_family_commutes_and_measures_the_target(key):
    eigenvalues = np.array([2.0, 1.0, 0.0, 0.5])
    problem = MatrixSensing.commuting(eigenvalues, measured=3, key=key)
    A = np.asarray(problem.measurements)
    np.testing.assert_allclose(A, A.swapaxes(1, 2), atol=1e-15)
    products = np.einsum("aij,bjk->abik", A, A)
    np.testing.assert_allclose(products, products.swapaxes(0, 1), atol=1e-13)
    assert np.abs(A - np.einsum("kii->ki", A)[:, :, None] * np.eye(4)).max() > 0.1
    # Diagonalise a combination: its basis is that of all, up to order, which the values must match.
    _, Q = np.linalg.eigh(np.tensordot([1.0, 0.3, 0.1], A, axes=1))
    diagonals = np.einsum("ir,kij,jr->kr", Q, A, Q)
    orders = [np.array(order) for order in itertools.permutations(range(4))]
    values = np.asarray(problem.values)
    residuals = [np.abs(diagonals @ eigenvalues[order] - values).max() for order in orders]
    assert min(residuals) < 1e-12


@pytest.mark.slow
def test_the_flow_of_a_commuting_family_nears_the_least_nuclear_norm(key):
    """The least sum of a semidefinite solution, by a linear program over the diagonals."""
    eigenvalues = np.array([1.0, 0.0, 0.0, 2.0, 0.0, 0.0])
    problem = MatrixSensing.commuting(eigenvalues, measured=3, key=key)
    A = np.asarray(problem.measurements)
    _, Q = np.linalg.eigh(np.tensordot([1.0, 0.3, 0.1], A, axes=1))
    diagonals = np.einsum("ir,kij,jr->kr", Q, A, Q)
    least = linprog(np.ones(6), A_eq=diagonals, b_eq=np.asarray(problem.values)).fun
    limit = integrate(
        FactorFlow(problem),
        initial.identity(problem, 3, 1e-4),
        [0.0, 1e6],
        until=until.train_loss(1e-16),
    ).final
    assert float(nuclear_norm(limit)) == pytest.approx(least, rel=1e-2)


def test_negative_eigenvalues_are_refused(key):
    with pytest.raises(ValueError, match="`eigenvalues` must not be negative, but the least is -1"):
        MatrixSensing.commuting(np.array([1.0, -1.0]), measured=1, key=key)
