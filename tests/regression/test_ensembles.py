"""Ensembles of wide networks: against drawn and trained models, a Gaussian process, and limits."""

import jax
import numpy as np
import pytest
import scipy.linalg
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from flowkit.kernels import FullyConnected
from flowkit.networks import FullyConnectedNetwork
from flowkit.regression import ensemble, fit, gaussian_process

EXACT = 1e-10  # two dense solves in float64
STANDARD_ERRORS = 4
TRAIN, TEST, PARAMETERS, DRAWS = 4, 3, 9, 40_000


def linear_model():
    """Features of a model linear in its parameters, and a covariance of their initial draw."""
    draw = np.random.default_rng(0).standard_normal
    features = draw((TRAIN + TEST, PARAMETERS)) / 3
    mixing = draw((PARAMETERS, PARAMETERS)) / 2
    return features, mixing @ mixing.T, draw(TRAIN)


def blocks(kernel):
    return kernel[:TRAIN, :TRAIN], kernel[TRAIN:, :TRAIN], kernel[TRAIN:, TRAIN:]


def posterior_of(features, covariance, y, *, t, ridge=0.0, loss="half-sum"):
    tangent, tangent_test, _ = blocks(features @ features.T)
    nngp, nngp_test_train, nngp_test = blocks(features @ covariance @ features.T)
    return ensemble(
        fit(tangent, y, ridge=ridge, loss=loss),
        tangent_test,
        nngp_train=nngp,
        nngp_test_train=nngp_test_train,
        nngp_test=nngp_test,
        t=t,
    )


def trained_draws(features, covariance, y, t):
    """Outputs of models drawn and trained in the space of their parameters, by expm."""
    X, rng = features[:TRAIN], np.random.default_rng(1)
    starts = rng.multivariate_normal(np.zeros(PARAMETERS), covariance, DRAWS).T
    if np.isinf(t):
        trained = starts + np.linalg.pinv(X) @ (y[:, None] - X @ starts)
    else:  # d(theta)/dt = -X' (X theta - y) = -X'X (theta - theta_end) on the span of X
        end = starts + np.linalg.pinv(X) @ (y[:, None] - X @ starts)
        trained = end + scipy.linalg.expm(-t * X.T @ X) @ (starts - end)
    return (features[TRAIN:] @ trained).T


@pytest.mark.parametrize("t", [0.0, 0.5, 4.0, np.inf])
def test_mean_and_covariance_are_those_of_trained_draws(t):
    features, covariance, y = linear_model()
    posterior = posterior_of(features, covariance, y, t=t)
    draws = trained_draws(features, covariance, y, t)
    spread = draws.std(0) / DRAWS**0.5
    assert np.all(np.abs(draws.mean(0) - posterior.mean) < STANDARD_ERRORS * spread)
    centred = draws - draws.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0) / DRAWS**0.5
    assert np.all(np.abs(products.mean(0) - posterior.covariance) < STANDARD_ERRORS * error)


def test_a_wrong_time_would_be_seen():
    features, covariance, y = linear_model()
    wrong = posterior_of(features, covariance, y, t=4.0)
    draws = trained_draws(features, covariance, y, 0.5)
    error = draws.std(0) / DRAWS**0.5
    assert np.any(np.abs(draws.mean(0) - wrong.mean) > 2 * STANDARD_ERRORS * error)
    assert np.any(np.abs(draws.std(0) - wrong.deviation) > STANDARD_ERRORS * error / 2**0.5)


def test_at_the_start_it_is_the_nngp():
    features, covariance, y = linear_model()
    posterior = posterior_of(features, covariance, y, t=0.0, ridge=0.1)
    np.testing.assert_allclose(posterior.mean, np.zeros(TEST), atol=EXACT)
    nngp = blocks(features @ covariance @ features.T)[2]
    np.testing.assert_allclose(posterior.covariance, nngp, atol=EXACT)


def test_variances_alone_are_the_diagonal_and_the_loss_sets_the_clock():
    features, covariance, y = linear_model()
    full = posterior_of(features, covariance, y, t=2.0)
    tangent, tangent_test, _ = blocks(features @ features.T)
    nngp, nngp_test_train, nngp_test = blocks(features @ covariance @ features.T)
    variances = ensemble(
        fit(tangent, y, loss="mean"),
        tangent_test,
        nngp_train=nngp,
        nngp_test_train=nngp_test_train,
        nngp_test=np.diagonal(nngp_test),
        t=2.0 * TRAIN / 2,
    )
    np.testing.assert_allclose(variances.covariance, np.diagonal(full.covariance), atol=EXACT)
    np.testing.assert_allclose(variances.deviation, full.deviation, atol=EXACT)
    np.testing.assert_allclose(variances.mean, full.mean, atol=EXACT)


def gaussian_process_problem(noise):
    draw = np.random.default_rng(4).standard_normal
    x, y = draw((TRAIN + TEST, 2)), draw((TRAIN, 2))
    oracle = GaussianProcessRegressor(RBF(1.0), alpha=noise, optimizer=None).fit(x[:TRAIN], y)
    mean, covariance = oracle.predict(x[TRAIN:], return_cov=True)
    return *blocks(RBF(1.0)(x)), y, mean, covariance[..., 0]


@pytest.mark.parametrize("noise", [1e-8, 0.2])
def test_the_gaussian_process_is_scikit_learns(noise):
    K, K_test_train, K_test, y, mean, covariance = gaussian_process_problem(noise)
    posterior = gaussian_process(fit(K, y, ridge=noise), K_test_train, K_test)
    np.testing.assert_allclose(posterior.mean, mean, atol=1e-8)
    np.testing.assert_allclose(posterior.covariance, covariance, atol=1e-8)
    alone = gaussian_process(fit(K, y, ridge=noise), K_test_train, np.diagonal(K_test))
    np.testing.assert_allclose(alone.covariance, np.diagonal(covariance), atol=1e-8)


def test_last_layers_trained_on_noisy_targets_sample_the_gaussian_process():
    K, K_test_train, K_test, y, mean, covariance = gaussian_process_problem(0.2)
    arguments = dict(nngp_train=K, nngp_test_train=K_test_train, nngp_test=K_test)
    model = fit(K, y, ridge=0.2)
    sampled = ensemble(model, K_test_train, **arguments, target_noise=0.2)
    np.testing.assert_allclose(sampled.mean, mean, atol=1e-8)
    np.testing.assert_allclose(sampled.covariance, covariance, atol=1e-8)
    damped = ensemble(model, K_test_train, **arguments)
    assert np.all(damped.deviation < sampled.deviation)


def test_it_is_the_law_of_wide_networks_linearised_at_their_draws():
    """Depth 2, width 512: each drawn network's own flow with the exact kernel, at t = 1."""
    x = jax.numpy.asarray(np.random.default_rng(5).standard_normal((TRAIN + TEST, 3)))
    y, kernel, draws = np.array([1.0, -1.0, 0.5, 0.0]), FullyConnected(2), 2000
    ntk, nngp = (np.asarray(kernel.gram(x, kind=kind)) for kind in ("ntk", "nngp"))
    networks = lambda key: FullyConnectedNetwork(2, 512, 3, key=key)(x)[:, 0]
    keys = jax.random.split(jax.random.key(0), draws)
    outputs = np.asarray(jax.lax.map(networks, keys, batch_size=50))
    decay = np.eye(TRAIN) - scipy.linalg.expm(-np.asarray(ntk[:TRAIN, :TRAIN]))
    weights = np.linalg.solve(ntk[:TRAIN, :TRAIN], decay @ (y - outputs[:, :TRAIN]).T)
    trained = outputs[:, TRAIN:] + (ntk[TRAIN:, :TRAIN] @ weights).T
    train, cross, test = blocks(nngp)
    posterior = ensemble(
        fit(ntk[:TRAIN, :TRAIN], y),
        ntk[TRAIN:, :TRAIN],
        nngp_train=train,
        nngp_test_train=cross,
        nngp_test=test,
        t=1.0,
    )
    error = posterior.deviation / draws**0.5
    assert np.all(np.abs(trained.mean(0) - posterior.mean) < STANDARD_ERRORS * error)
    ratio = trained.std(0) / posterior.deviation
    np.testing.assert_allclose(ratio, 1, atol=STANDARD_ERRORS / (2 * draws) ** 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(nngp_train=np.eye(3)), r"`nngp_train` must be of the 2 training points, .* \(3, 3\)"),
        (dict(nngp_test_train=np.ones((2, 1))), r"`nngp_test_train` must have shape \(1, 2\)"),
        (dict(nngp_test=np.ones((2, 2))), r"`nngp_test` must have shape \(1, 1\)"),
        (dict(target_noise=-1.0), "`target_noise` must be finite and at least 0"),
        (dict(t=-1.0), "`t` must be at least 0"),
    ],
)
def test_ensemble_refuses(change, message):
    arguments = dict(nngp_train=np.eye(2), nngp_test_train=np.ones((1, 2)), nngp_test=np.eye(1))
    with pytest.raises(ValueError, match=message):
        ensemble(fit(np.eye(2), np.ones(2)), np.ones((1, 2)), **(arguments | change))
