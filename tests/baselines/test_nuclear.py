"""The least nuclear norm: certificates prove what they say, and minima known in closed form."""

import sys

import cvxpy
import jax
import numpy as np
import pytest

from flowkit import MatrixCompletion, MatrixSensing, baselines
from flowkit.baselines.measuring import measuring_of
from flowkit.baselines.nuclear import certificate_of

TOLERANCE = 1e-6  # the relative gap asked for
ROUNDING = 1e-9
SOLVERS = ("scs", "clarabel", "splitting")


def _low_rank(shape=(14, 10), rank=2, seed=0):
    draw = np.random.default_rng(seed).normal
    return draw(size=(shape[0], rank)) @ draw(size=(rank, shape[1]))


@pytest.fixture(params=["entries", "inner products"])
def problem(request, key):
    if request.param == "entries":
        return MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    return MatrixSensing.from_matrix(_low_rank(), measured=50, key=key)


def _measured(problem, matrix):
    if isinstance(problem, MatrixCompletion):
        return matrix[np.asarray(problem.rows), np.asarray(problem.cols)]
    return np.array([np.sum(np.asarray(A) * matrix) for A in problem.measurements])


def _adjoint(problem, multipliers):
    if isinstance(problem, MatrixSensing):
        return sum(
            m * np.asarray(A) for m, A in zip(multipliers, problem.measurements, strict=True)
        )
    matrix = np.zeros(problem.shape)
    matrix[np.asarray(problem.rows), np.asarray(problem.cols)] = multipliers
    return matrix


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_part_of_a_certificate_is_what_it_says(problem, solver):
    """Feasible primal point, feasible dual point, both objectives: by singular values alone."""
    completed = baselines.minimum_nuclear_norm(problem, solver=solver, tolerance=TOLERANCE)
    certificate = completed.certificate
    np.testing.assert_allclose(
        _measured(problem, completed.matrix), np.asarray(problem.values), atol=ROUNDING
    )
    norm = np.linalg.svd(completed.matrix, compute_uv=False).sum()
    dual_norm = np.linalg.svd(_adjoint(problem, certificate.multipliers), compute_uv=False)[0]
    assert certificate.primal == pytest.approx(norm, rel=ROUNDING)
    assert dual_norm <= 1 + ROUNDING
    assert certificate.dual == pytest.approx(
        float(certificate.multipliers @ np.asarray(problem.values)), rel=ROUNDING
    )
    assert -ROUNDING <= certificate.relative_gap <= TOLERANCE
    assert certificate.gap == certificate.primal - certificate.dual
    assert completed.facts["solver"] == solver


def test_a_certificate_from_nonsense_is_a_bound_all_the_same(problem):
    least = baselines.minimum_nuclear_norm(problem, solver="splitting").certificate.primal
    measuring = measuring_of(problem)
    for seed in range(5):
        multipliers = np.random.default_rng(seed).normal(size=len(problem.values))
        certificate = certificate_of(measuring, np.zeros(problem.shape), multipliers)
        assert 0 <= certificate.dual < 0.9 * least


def _symmetric(R):
    """Li, Luo, Lyu 2021: a symmetric 4 x 4 matrix of which three entries and mirrors are known."""
    known = {(0, 2): 1.0, (0, 3): R, (1, 2): R}
    entries = {**known, **{(j, i): value for (i, j), value in known.items()}}
    rows, cols = zip(*entries, strict=True)
    return MatrixCompletion(rows, cols, np.array(list(entries.values())), (4, 4))


def _trace(y):
    return MatrixSensing(np.eye(4)[None], np.array([y]))


CLOSED = {
    "[[*, 1], [1, 0]]": (MatrixCompletion([0, 1, 1], [1, 0, 1], np.array([1.0, 1, 0]), (2, 2)), 2),
    "4 R of Li, Luo, Lyu": (_symmetric(3.0), 12.0),
    "the trace": (_trace(-2.5), 2.5),
    "fully observed": (
        MatrixCompletion.from_matrix(np.diag([3.0, 2, 1]), observed=np.ones((3, 3), bool)),
        6.0,
    ),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("problem", "least"), CLOSED.values(), ids=CLOSED.keys())
def test_minima_known_in_closed_form(problem, least, solver):
    certificate = baselines.minimum_nuclear_norm(problem, solver=solver).certificate
    assert certificate.primal == pytest.approx(least, rel=2 * TOLERANCE)
    assert certificate.dual == pytest.approx(least, rel=2 * TOLERANCE)


def test_without_steps_the_certificate_shows_how_far_it_is(key):
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    early = baselines.minimum_nuclear_norm(problem, solver="splitting", max_iterations=3)
    assert early.certificate.relative_gap > 1e-3
    least = baselines.minimum_nuclear_norm(problem, solver="splitting").certificate
    assert early.certificate.dual < least.primal < early.certificate.primal


def test_nothing_but_zeros_needs_no_solver():
    zeros = MatrixCompletion([0, 1], [1, 0], np.zeros(2), (3, 2))
    completed = baselines.minimum_nuclear_norm(zeros)
    assert not completed.matrix.any()
    assert completed.certificate.relative_gap == 0


def test_a_missing_cvxpy_names_the_extra(key, monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    with pytest.raises(ImportError, match=r"pip install 'gradient-flowkit\[convex\]'"):
        baselines.minimum_nuclear_norm(problem)
    assert baselines.minimum_nuclear_norm(problem, solver="splitting").certificate.gap >= 0


def test_what_cannot_be_met_or_is_misspelt_is_refused(key):
    twice = MatrixSensing(np.ones((2, 2, 2)), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="measurements that a matrix can meet"):
        baselines.minimum_nuclear_norm(twice)
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    with pytest.raises(ValueError, match="`solver` must be one of"):
        baselines.minimum_nuclear_norm(problem, solver="mosek")
    with pytest.raises(ValueError, match="`tolerance` must be positive"):
        baselines.minimum_nuclear_norm(problem, tolerance=0.0)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("count", [0, 0.5, 30.5, True])
def test_steps_ranks_and_sweeps_are_counted(count, key):
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    with pytest.raises(ValueError, match="`max_iterations` must be a positive integer"):
        baselines.minimum_nuclear_norm(problem, max_iterations=count)
    with pytest.raises(ValueError, match="`max_iterations` must be a positive integer"):
        baselines.soft_impute(problem, 1.0, max_iterations=count)
    with pytest.raises(ValueError, match="`rank` must be a positive integer"):
        baselines.alternating_least_squares(problem, count, 1.0, key=key)
    with pytest.raises(ValueError, match="`sweeps` must be a positive integer"):
        baselines.alternating_least_squares(problem, 1, 1.0, sweeps=count, key=key)


def test_measurements_that_nearly_agree_are_met(key):
    """A solution through a Gram matrix would lose the digits of the square of 1e-6."""
    target = _low_rank((6, 5))
    for near in (1e-4, 1e-6):
        draws = np.random.default_rng(0).normal(size=(8, 6, 5))
        draws[4:] = draws[:4] + near * draws[4:]
        values = np.einsum("kij,ij->k", draws, target)
        problem = MatrixSensing(draws, values)
        few = baselines.minimum_nuclear_norm(problem, solver="splitting", max_iterations=60)
        np.testing.assert_allclose(_measured(problem, few.matrix), values, rtol=0, atol=1e-11)


def test_as_many_gaussian_measurements_as_entries_are_consistent():
    """Draws of condition numbers from 1e5 to 7e5, the worst of 20,000."""
    for seed in (16876, 11514, 18367, 5221):
        draw = np.random.default_rng(seed).normal
        flat, target = draw(size=(16, 16)), draw(size=16)
        measuring = measuring_of(MatrixSensing(flat.reshape(16, 4, 4), flat @ target))
        found = measuring.projected(np.zeros((4, 4)))
        np.testing.assert_allclose(measuring.apply(found), measuring.values, atol=1e-9)


def test_a_solver_that_stops_early_is_certified_without_a_warning(key):
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    for solver in ("scs", "clarabel"):
        early = baselines.minimum_nuclear_norm(problem, solver=solver, max_iterations=1)
        assert 0.1 < early.certificate.relative_gap <= 1


def test_a_solver_that_fails_is_an_arithmetic_error(key, monkeypatch):
    def fail(*arguments, **options):
        raise cvxpy.error.SolverError("no progress")

    monkeypatch.setattr(cvxpy.Problem, "solve", fail)
    problem = MatrixCompletion.from_matrix(_low_rank(), observed=0.5, key=key)
    with pytest.raises(ArithmeticError, match="The solver `clarabel` failed: no progress"):
        baselines.minimum_nuclear_norm(problem, solver="clarabel")


@pytest.mark.slow
def test_the_published_size_has_the_published_norm():
    """Rank 5, 100 x 100, norm 100, 2,000 observed: the norm lies below the truth's, the error not.

    The published problem has norm 210.2 and error 0.106; both depend on the draw.
    """
    for seed in range(2):
        target = _low_rank((100, 100), 5, seed)
        target *= 100 / np.linalg.norm(target)
        problem = MatrixCompletion.from_matrix(target, observed=2000, key=jax.random.key(seed))
        scs, splitting = (
            baselines.minimum_nuclear_norm(problem, solver=solver)
            for solver in ("auto", "splitting")
        )
        assert scs.facts["solver"] == "scs"
        assert scs.certificate.relative_gap < TOLERANCE
        assert splitting.certificate.relative_gap < TOLERANCE
        np.testing.assert_allclose(scs.matrix, splitting.matrix, atol=5e-2)
        assert 205 < scs.certificate.primal < np.linalg.norm(target, "nuc")
        assert 0.01 < np.mean((scs.matrix - target) ** 2) < 0.2
