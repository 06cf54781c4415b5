"""Kernel regression is kernel gradient flow, at every time and in the limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from flowkit.regression import fit

EXACT = 1e-10  # two dense methods in float64 at condition numbers below 1e4
TRAIN, TEST, OUTPUTS = 7, 4, 3
RIDGES = (0.0, 0.3)
TIMES = (0.0, 0.1, 2.0, 50.0)


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((TRAIN + TEST, 2 * TRAIN))


@pytest.fixture
def kernels(features):
    """Train by train, and test by train, from one positive definite kernel."""
    full = features @ features.T / features.shape[1]
    return full[:TRAIN, :TRAIN], full[TRAIN:, :TRAIN]


def targets(outputs, seed=1):
    shape = (TRAIN,) if outputs is None else (TRAIN, outputs)
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("outputs", [None, 1, OUTPUTS])
@pytest.mark.parametrize("ridge", RIDGES)
def test_the_limit_is_ridge_regression(kernels, outputs, ridge):
    K, K_test = kernels
    y, start = targets(outputs), targets(outputs, seed=2)
    test_start = start[:TEST]
    weights = np.linalg.solve(K + ridge * np.eye(TRAIN), y - start)
    prediction = fit(K, y, ridge=ridge, start=start).predict(K_test, start=test_start)
    assert prediction.shape == (TEST, *y.shape[1:])
    np.testing.assert_allclose(prediction, test_start + K_test @ weights, atol=EXACT)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("outputs", [None, OUTPUTS])
def test_outputs_at_time_t_solve_the_flow_by_matrix_exponential(kernels, outputs, ridge, t):
    K, K_test = kernels
    y, start = targets(outputs), targets(outputs, seed=2)
    model = fit(K, y, ridge=ridge, start=start)
    alpha = flow_by_exponential(K + ridge * np.eye(TRAIN), y - start, t)
    np.testing.assert_allclose(model.train_at(t), start + K @ alpha, atol=EXACT)
    np.testing.assert_allclose(model.predict_at(K_test, t), K_test @ alpha, atol=EXACT)


def flow_by_exponential(A, b, t):
    """alpha(t) of alpha' = b - A alpha, alpha(0) = 0: the exponential of the augmented matrix."""
    b = b.reshape(len(b), -1)
    n, m = b.shape
    augmented = np.block([[-A, b], [np.zeros((m, n + m))]])
    alpha = scipy.linalg.expm(t * augmented)[:n, n:]
    return alpha[:, 0] if m == 1 else alpha


def test_train_at_without_ridge_is_the_published_solution(kernels):
    K, _ = kernels
    y, start = targets(OUTPUTS), targets(OUTPUTS, seed=2)
    expected = y + scipy.linalg.expm(-1.7 * K) @ (start - y)
    np.testing.assert_allclose(fit(K, y, start=start).train_at(1.7), expected, atol=EXACT)


@pytest.mark.parametrize("ridge", RIDGES)
def test_infinite_time_is_predict(kernels, ridge):
    K, K_test = kernels
    model = fit(K, targets(None), ridge=ridge)
    assert jnp.array_equal(model.predict_at(K_test, jnp.inf), model.predict(K_test))
    np.testing.assert_allclose(model.predict_at(K_test, 1e9), model.predict(K_test), atol=EXACT)


def test_without_ridge_the_limit_interpolates(kernels):
    K, _ = kernels
    y = targets(OUTPUTS)
    np.testing.assert_allclose(fit(K, y).train_at(np.inf), y, atol=EXACT)
    np.testing.assert_allclose(fit(K, y).predict(K), y, atol=EXACT)


@pytest.mark.parametrize("t", [0.5, 1e3, np.inf])
def test_a_zero_eigenvalue_is_never_learnt(features, t):
    few = features[:, :3]
    K, K_test = few[:TRAIN] @ few[:TRAIN].T, few[TRAIN:] @ few[:TRAIN].T
    y, start = targets(None), targets(None, seed=2)
    null = scipy.linalg.null_space(few[:TRAIN].T)
    model = fit(K, y, start=start)
    outputs = model.train_at(t)
    assert null.shape[1] == TRAIN - 3
    np.testing.assert_allclose(null.T @ outputs, null.T @ start, atol=EXACT)
    weights = np.linalg.pinv(few[:TRAIN]) @ (y - start)
    if np.isinf(t):
        np.testing.assert_allclose(model.predict(K_test), few[TRAIN:] @ weights, atol=EXACT)


def test_at_a_zero_eigenvalue_alpha_grows_like_t():
    model = fit(np.diag([1.0, 0.0]), np.array([1.0, 2.0]))
    t = 3.0
    expected = np.array([1 - np.exp(-t), 2 * t])
    np.testing.assert_allclose(model.predict_at(np.eye(2), t), expected, rtol=EXACT)
    np.testing.assert_allclose(model.train_at(np.inf), [1.0, 0.0], rtol=EXACT)
    np.testing.assert_allclose(model.predict(np.eye(2)), [1.0, 0.0], rtol=EXACT)


def test_the_rate_of_the_outputs_is_minus_k_times_the_error(kernels):
    K, _ = kernels
    y = targets(None)
    model = fit(K, y)
    outputs, rate = jax.jvp(model.train_at, (jnp.asarray(0.7),), (jnp.asarray(1.0),))
    np.testing.assert_allclose(rate, -K @ (outputs - y), atol=EXACT)


def test_the_model_is_jitable_over_time(kernels):
    K, K_test = kernels
    model = fit(K, targets(OUTPUTS))
    ts = jnp.asarray([0.0, 1.0, jnp.inf])
    along = jax.jit(jax.vmap(lambda t: model.predict_at(K_test, t)))(ts)
    np.testing.assert_allclose(along[2], model.predict(K_test), atol=EXACT)
    assert jnp.all(along[0] == 0)


def test_a_missing_half_in_the_loss_would_be_seen(kernels):
    K, _ = kernels
    y = targets(None)
    wrong = y - scipy.linalg.expm(-2 * K) @ y
    assert np.abs(fit(K, y).train_at(1.0) - wrong).max() > 1e3 * EXACT


ONES = np.ones(2)
BAD_FITS = {
    "not square": (dict(K=np.ones((2, 3)), y=ONES), "`K` must be a square matrix"),
    "no points": (dict(K=np.ones((0, 0)), y=np.ones(0)), "`K` must be a square matrix"),
    "asymmetric": (
        dict(K=np.array([[1, 0.1], [0, 1]]), y=ONES),
        "`K` must be symmetric .* 1.00e-01",
    ),
    "indefinite": (
        dict(K=np.diag([1.0, -0.5]), y=ONES),
        "`K` must be positive semidefinite .* smallest eigenvalue is -5.00e-01",
    ),
    "nan in K": (dict(K=np.full((2, 2), np.nan), y=ONES), "`K` must be finite"),
    "inf in y": (dict(K=np.eye(2), y=np.array([1, np.inf])), "`y` must be finite"),
    "negative ridge": (dict(K=np.eye(2), y=ONES, ridge=-1.0), "`ridge` must be .* `-1.0`"),
    "nan ridge": (dict(K=np.eye(2), y=ONES, ridge=np.nan), "`ridge` must be .* `nan`"),
    "too few targets": (dict(K=np.eye(2), y=np.ones(3)), r"`y` must have 2 rows, .* \(3,\)"),
    "scalar target": (dict(K=np.eye(2), y=np.ones(())), r"`y` must have 2 rows, .* \(\)"),
    "start": (dict(K=np.eye(2), y=ONES, start=np.ones((2, 1))), r"`start` must have shape \(2,\)"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_FITS.values(), ids=BAD_FITS.keys())
def test_fit_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(**arguments)


@pytest.mark.parametrize("t", [-1.0, np.nan])
def test_a_negative_or_undefined_time_is_refused(t):
    model = fit(np.eye(2), ONES)
    with pytest.raises(ValueError, match="`t` must be at least 0, but it is"):
        model.train_at(t)
    with pytest.raises(RuntimeError, match="`t` must be at least 0"):
        model.train_at(jnp.asarray(t))


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1, 2, 2)])
def test_test_kernel_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="`K_test_train` must be test points by 2 training points"):
        fit(np.eye(2), ONES).predict(np.ones(shape))


def test_test_start_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"`start` must have shape \(3,\)"):
        fit(np.eye(2), ONES).predict(np.ones((3, 2)), start=np.ones(2))


def test_rounding_in_k_is_accepted():
    K = np.ones((3, 3))  # singular: its smallest eigenvalues are rounding of either sign
    K[0, 1] += 1e-15
    assert fit(K, np.ones(3)).eigenvalues.min() >= 0


def test_dtype_is_that_of_the_kernel():
    model = fit(np.eye(2, dtype=np.float32), np.array([0, 1]))
    assert model.predict(np.eye(2)).dtype == np.float32


def descend_in_alpha(K, y, ridge, speed, learning_rate, steps):
    alpha = np.zeros_like(y)
    for _ in range(steps):
        alpha = alpha - learning_rate * speed * ((K + ridge * np.eye(len(K))) @ alpha - y)
    return alpha


SPEEDS = {"half-sum": 1.0, "half-mean": 1 / TRAIN, "mean": 2 / TRAIN}


@pytest.mark.parametrize(("loss", "speed"), SPEEDS.items())
def test_the_clock_is_that_of_the_loss(kernels, loss, speed):
    """The rate of the outputs is the kernel times minus the gradient of the loss, by JAX."""
    K, _ = kernels
    y = targets(OUTPUTS)
    losses = {
        "half-sum": lambda u: ((u - y) ** 2).sum() / 2,
        "half-mean": lambda u: ((u - y) ** 2).sum(1).mean() / 2,
        "mean": lambda u: ((u - y) ** 2).sum(1).mean(),
    }
    model = fit(K, y, loss=loss)
    outputs, rate = jax.jvp(model.train_at, (jnp.asarray(0.7),), (jnp.asarray(1.0),))
    np.testing.assert_allclose(rate, -K @ jax.grad(losses[loss])(outputs), atol=EXACT)
    np.testing.assert_allclose(model.train_at(2.0), fit(K, y).train_at(2.0 * speed), atol=EXACT)
    np.testing.assert_allclose(model.train_at(np.inf), fit(K, y).train_at(np.inf), atol=EXACT)


@pytest.mark.parametrize("loss", SPEEDS)
@pytest.mark.parametrize(
    ("fraction", "steps"), [(0.3, 0), (0.3, 1), (0.3, 40), (0.9, 41), (1.2, 6)]
)
def test_descent_steps_are_those_of_a_loop(kernels, loss, fraction, steps):
    """At 0.9 and 1.2 of the largest stable rate the top modes oscillate, at 1.2 they grow."""
    K, K_test = kernels
    y, ridge = targets(OUTPUTS), 0.2
    model = fit(K, y, ridge=ridge, loss=loss)
    largest = 2 / (SPEEDS[loss] * (np.linalg.eigvalsh(K).max() + ridge))
    np.testing.assert_allclose(model.largest_learning_rate, largest, rtol=EXACT)
    alpha = descend_in_alpha(K, y, ridge, SPEEDS[loss], fraction * largest, steps)
    arguments = steps, fraction * largest
    np.testing.assert_allclose(model.train_after(*arguments), K @ alpha, atol=EXACT)
    np.testing.assert_allclose(model.predict_after(K_test, *arguments), K_test @ alpha, atol=EXACT)


def test_small_steps_of_descent_tend_to_the_flow(kernels):
    K, _ = kernels
    model = fit(K, targets(None), loss="mean")
    errors = [
        np.abs(model.train_after(steps, 3.0 / steps) - model.train_at(3.0)).max()
        for steps in (200, 400)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)


def test_a_relative_ridge_is_in_units_of_the_mean_diagonal(kernels):
    K, K_test = kernels
    y = targets(None)
    expected = K_test @ np.linalg.solve(K + 0.1 * np.trace(K) / TRAIN * np.eye(TRAIN), y)
    for scale in (1.0, 1e3):
        model = fit(scale * K, y, ridge=0.1, relative_ridge=True)
        np.testing.assert_allclose(model.predict(scale * K_test), expected, atol=EXACT)


@pytest.mark.parametrize("tiny", [0.0, 1e-320, 1e-200, 1e-15])
@pytest.mark.parametrize("t", [0.0, 1e-200, 1e-3, 1e3])
def test_alpha_of_a_tiny_eigenvalue_is_t(tiny, t):
    """To first order (1 - e^{-lambda t}) / lambda = t, however small both are."""
    model = fit(np.diag([1.0, tiny]), np.array([0.0, 1.0]))
    assert model.predict_at(np.eye(2), t)[1] == pytest.approx(t, rel=1e-11)
    steps = model.predict_after(np.eye(2), 4, t / 4)[1] if t else 0
    assert steps == pytest.approx(t, rel=1e-11)


def test_an_eigenvalue_lost_in_noise_is_not_fitted():
    """Its size is that of the most negative one, which rounding alone has made."""
    basis = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    K = basis @ np.diag([1.0, 0.9e-9, -1e-9]) @ basis.T
    y = targets(None)[:3]
    with pytest.raises(ValueError, match="positive semidefinite up to rounding"):
        fit(K, y)
    outputs = fit(K, y, rounding=1e-8).train_at(np.inf)
    np.testing.assert_allclose(outputs, basis[:, 0] * (basis[:, 0] @ y), atol=1e-8)


def leave_each_out(K, y, start, solve):
    """Refit without each point in turn, and predict it."""
    predictions = np.zeros_like(y)
    for i in range(len(K)):
        rest = np.delete(np.arange(len(K)), i)
        weights = solve(K[np.ix_(rest, rest)], (y - start)[rest])
        predictions[i] = start[i] + K[i, rest] @ weights
    return predictions


@pytest.mark.parametrize("outputs", [None, OUTPUTS])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.3])
def test_leave_one_out_is_refitting(kernels, outputs, ridge):
    K, _ = kernels
    y, start = targets(outputs), targets(outputs, seed=2)
    solve = lambda A, b: np.linalg.solve(A + ridge * np.eye(len(A)), b)
    model = fit(K, y, start=start).with_ridge(ridge)
    expected = leave_each_out(K, y, start, solve)
    np.testing.assert_allclose(model.leave_one_out(), expected, atol=EXACT)
    wrong = np.abs(model.train_at(np.inf) - expected).max()
    assert wrong > 1e3 * EXACT  # what a formula without leaving out would give


def test_leave_one_out_of_a_singular_kernel_is_refitting(features):
    """Point 0 alone spans a direction; the others span a plane, whichever of them is left out."""
    few = features[:TRAIN, :3].copy()
    few[0], few[1:, 2] = [0, 0, 1], 0
    K, y = few @ few.T, targets(OUTPUTS)
    start = np.zeros_like(y)
    expected = leave_each_out(K, y, start, lambda A, b: np.linalg.pinv(A, rcond=1e-10) @ b)
    np.testing.assert_allclose(fit(K, y).leave_one_out(), expected, atol=EXACT)


def test_a_path_of_ridges_needs_one_decomposition(kernels):
    K, K_test = kernels
    y, ridges = targets(OUTPUTS), np.array([0.0, 0.1, 1.0])
    model = fit(K, y)
    path = jax.vmap(lambda ridge: model.with_ridge(ridge).predict(K_test))(jnp.asarray(ridges))
    for ridge, along in zip(ridges, path, strict=True):
        expected = K_test @ np.linalg.solve(K + ridge * np.eye(TRAIN), y)
        np.testing.assert_allclose(along, expected, atol=EXACT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(loss="sum"), "`loss` must be `half-sum` or `half-mean` or `mean`, .* `'sum'`"),
        (dict(solver="lu"), "`solver` must be `eigen` or `cholesky`, but it is `'lu'`"),
    ],
)
def test_an_unknown_name_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(np.eye(2), ONES, **arguments)


@pytest.mark.parametrize(
    ("steps", "rate", "message"),
    [
        (-1, 0.1, "`steps` must be a whole number of at least 0, but it is `-1`"),
        (1.5, 0.1, "`steps` must be a whole number .* `1.5`"),
        (1, 0.0, "`learning_rate` must be finite and above 0, but it is `0.0`"),
    ],
)
def test_descent_refuses(steps, rate, message):
    with pytest.raises(ValueError, match=message):
        fit(np.eye(2), ONES).train_after(steps, rate)


def test_a_new_ridge_is_checked():
    with pytest.raises(ValueError, match=r"`ridge` must be finite and at least 0, but .* `-1\.0`"):
        fit(np.eye(2), ONES).with_ridge(-1.0)
