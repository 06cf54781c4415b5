"""Soft-impute against closed forms, optimality conditions and a convex solver of another kind."""

import cvxpy
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import MatrixCompletion, baselines
from flowkit.baselines.thresholding import largest, shrunk

TIGHT = 1e-12  # the relative gap asked for where minimisers are compared
SHAPES = {"tall": (12, 7), "wide": (6, 11), "square": (9, 9)}


def _noisy(shape=(12, 7), rank=2, noise=0.1, seed=0):
    draw = np.random.default_rng(seed).normal
    low = draw(size=(shape[0], rank)) @ draw(size=(rank, shape[1]))
    return low + noise * draw(size=shape)


def _objective(problem, matrix, penalty):
    residual = matrix[np.asarray(problem.rows), np.asarray(problem.cols)] - problem.values
    return 0.5 * float(np.sum(residual**2)) + penalty * np.linalg.norm(matrix, "nuc")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("threshold", [1e-9, 0.5, 3.0, 1e3])
def test_shrinking_is_that_of_the_singular_value_decomposition(shape, threshold):
    matrix = _noisy(shape)
    U, s, Vt = np.linalg.svd(matrix, full_matrices=False)
    left = np.maximum(s - threshold, 0)
    result, norm, rank = shrunk(matrix, threshold)
    np.testing.assert_allclose(result, (U * left) @ Vt, atol=1e-10)
    assert norm == pytest.approx(left.sum(), abs=1e-10)
    assert rank == np.count_nonzero(left)
    assert largest(matrix) == pytest.approx(s[0], rel=1e-12)


def test_a_full_matrix_is_shrunk(key):
    target = _noisy()
    problem = MatrixCompletion.from_matrix(target, observed=1.0, key=key)
    completed = baselines.soft_impute(problem, 0.7, tolerance=TIGHT)
    np.testing.assert_allclose(completed.matrix, shrunk(target, 0.7)[0], atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_minimiser_meets_the_optimality_conditions(shape, key):
    """The residual is the penalty times a subgradient: U^T R V = penalty I, and no norm above."""
    problem = MatrixCompletion.from_matrix(_noisy(shape), observed=0.6, key=key)
    penalty = 0.8
    completed = baselines.soft_impute(problem, penalty, tolerance=TIGHT)
    rows, cols = np.asarray(problem.rows), np.asarray(problem.cols)
    residual = np.zeros(shape)
    residual[rows, cols] = np.asarray(problem.values) - completed.matrix[rows, cols]
    U, s, Vt = np.linalg.svd(completed.matrix)
    rank = completed.facts["rank"]
    assert 0 < rank == np.count_nonzero(s > 1e-6)
    inner = U[:, :rank].T @ residual @ Vt[:rank].T
    np.testing.assert_allclose(inner, penalty * np.eye(rank), atol=1e-4)
    assert np.linalg.norm(residual, 2) <= penalty * (1 + 1e-4)


def test_a_convex_solver_finds_the_same_and_lies_within_the_certificate(key):
    problem = MatrixCompletion.from_matrix(_noisy(), observed=0.6, key=key)
    W = cvxpy.Variable(problem.shape)
    entries = np.asarray(problem.rows), np.asarray(problem.cols)
    squares = cvxpy.sum_squares(W[entries] - np.asarray(problem.values))
    program = cvxpy.Problem(cvxpy.Minimize(squares / 2 + 0.8 * cvxpy.normNuc(W)))
    least = program.solve(solver="CLARABEL")
    completed = baselines.soft_impute(problem, 0.8, tolerance=TIGHT)
    np.testing.assert_allclose(completed.matrix, W.value, atol=1e-4)
    for tolerance in (0.1, 1e-3, 1e-7):
        certificate = baselines.soft_impute(problem, 0.8, tolerance=tolerance).certificate
        assert certificate.dual <= least * (1 + 1e-7)
        assert certificate.primal >= least * (1 - 1e-7)
        assert certificate.relative_gap <= tolerance


@pytest.mark.parametrize("start", [0.0, 30.0, -30.0])
def test_certificates_are_feasible_and_state_the_objective(start, key):
    """From any start, however far on the other side of the values."""
    problem = MatrixCompletion.from_matrix(_noisy(), observed=0.6, key=key)
    completed = baselines.soft_impute(problem, 0.8, start=start * _noisy(), max_iterations=1)
    certificate = completed.certificate
    assert certificate.primal == pytest.approx(_objective(problem, completed.matrix, 0.8))
    dual = np.zeros(problem.shape)
    dual[np.asarray(problem.rows), np.asarray(problem.cols)] = certificate.multipliers
    assert np.linalg.norm(dual, 2) <= 0.8 * (1 + 1e-12)
    value = certificate.multipliers @ np.asarray(problem.values)
    assert certificate.dual == pytest.approx(value - 0.5 * np.sum(certificate.multipliers**2))


def test_from_the_norm_of_the_observations_on_nothing_is_left(key):
    problem = MatrixCompletion.from_matrix(_noisy(), observed=0.6, key=key)
    top = np.linalg.norm(np.where(problem.mask, _noisy(), 0.0), 2)
    assert not baselines.soft_impute(problem, top * 1.0001).matrix.any()
    assert baselines.soft_impute(problem, top * 0.99).facts["rank"] == 1


def test_a_path_of_warm_starts_arrives_where_cold_starts_do(key):
    problem = MatrixCompletion.from_matrix(_noisy(), observed=0.6, key=key)
    path = baselines.soft_impute_path(problem, tolerance=1e-9)
    assert len(path) == 20
    for completed in path[::6]:
        cold = baselines.soft_impute(problem, completed.facts["penalty"], tolerance=1e-9)
        np.testing.assert_allclose(completed.matrix, cold.matrix, atol=1e-3)
        assert completed.facts["iterations"] <= cold.facts["iterations"]
    ranks = [completed.facts["rank"] for completed in path]
    assert ranks[0] == 1 < ranks[-1]


@pytest.mark.slow
def test_tuning_beats_both_ends_of_the_path_on_entries_it_never_saw(key):
    target = _noisy((60, 40), 2, 1.0)
    problem = MatrixCompletion.from_matrix(target, observed=0.5, key=key)
    held_out = problem.held_out(target)
    error = lambda completed: float(held_out.loss(jnp.asarray(completed.matrix)))
    path = baselines.soft_impute_path(problem)
    tuned = baselines.tuned_soft_impute(problem, key=key)
    assert error(tuned) < 0.95 * min(error(path[0]), error(path[-1]))
    assert 1.0 < tuned.facts["validation rmse"] < 1.7  # the noise, and the deviation of the values


def test_penalties_to_choose_from_are_checked(key):
    problem = MatrixCompletion.from_matrix(_noisy(), observed=0.5, key=key)
    for penalties in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match="`penalties` must be strictly falling and not empty"):
            baselines.tuned_soft_impute(problem, penalties, key=key)
    with pytest.raises(ValueError, match=r"`penalties\[1\]` must be positive"):
        baselines.tuned_soft_impute(problem, [1.0, -1.0], key=key)
    for name in ("ranks", "ridges"):
        with pytest.raises(ValueError, match=f"`{name}` must hold at least one number"):
            baselines.tuned_alternating_least_squares(problem, **{name: []}, key=key)


def test_a_constant_leaves_nothing_beside_its_offsets(key):
    problem = MatrixCompletion.from_matrix(np.full((9, 7), 0.1), observed=0.7, key=key)
    tuned = baselines.tuned_soft_impute(problem, offset_ridge=1.0, key=key)
    np.testing.assert_allclose(tuned.matrix, 0.1, rtol=1e-14)
    assert tuned.facts["rank"] == 0


def test_offsets_are_taken_off_and_put_back(key):
    """With offsets the result moves with the values; without, a constant is shrunk with them."""
    target = _noisy((20, 15), 1, 0.5)
    options = {"penalties": [5.0, 3.0, 2.0], "tolerance": 1e-9, "key": key}
    near, far = (
        MatrixCompletion.from_matrix(target + shift, observed=0.5, key=key) for shift in (0, 50)
    )
    tuned = lambda problem, ridge: (
        baselines.tuned_soft_impute(problem, offset_ridge=ridge, **options).matrix
    )
    np.testing.assert_allclose(tuned(far, 1.0), tuned(near, 1.0) + 50, atol=1e-3)
    assert np.abs(tuned(far, None) - tuned(near, None) - 50).max() > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: baselines.soft_impute(p, 0.0), "`penalty` must be positive"),
        (lambda p: baselines.soft_impute(p, 1.0, start=np.ones((2, 2))), "`start` must have shape"),
        (lambda p: baselines.soft_impute_path(p, [1.0, 2.0]), "`penalties` must be strictly fall"),
        (lambda p: baselines.soft_impute_path(p, [1.0, -2.0]), r"`penalties\[1\]` must be positi"),
        (lambda p: baselines.soft_impute_path(p, []), "`penalties` must be strictly falling"),
    ],
)
def test_bad_settings_are_refused_by_name(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(MatrixCompletion.from_matrix(_noisy(), observed=0.6, key=key))


def test_zeros_need_penalties():
    zeros = MatrixCompletion([0, 1], [1, 0], np.zeros(2), (3, 2))
    with pytest.raises(ValueError, match="`penalties` must be given"):
        baselines.soft_impute_path(zeros)
    assert baselines.soft_impute(zeros, 1.0).certificate.relative_gap == 0
