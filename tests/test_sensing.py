"""Sensing problems hold what was measured, and refuse what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import FactorFlow, MatrixCompletion, MatrixSensing, initial


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
