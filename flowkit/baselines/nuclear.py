"""The least nuclear norm that meets the observations exactly, with its certificate."""

import numpy as np

from flowkit.baselines.completed import Certificate, Completed, Matrix, check_positive
from flowkit.baselines.measuring import Measuring, Values, measuring_of
from flowkit.baselines.semidefinite import solve_semidefinite
from flowkit.baselines.splitting import solve_by_splitting
from flowkit.baselines.thresholding import largest
from flowkit.problems import MatrixCompletion, MatrixSensing
from flowkit.problems.counts import check_count

SPLITTING = "splitting"
SOLVERS = ("auto", "scs", "clarabel", SPLITTING)
SEMIDEFINITE_SIDE = 400  # rows + columns: the side of the cone; SCS decomposes one such a step


def minimum_nuclear_norm(
    problem: MatrixCompletion | MatrixSensing,
    *,
    solver: str = "auto",
    tolerance: float | int = 1e-6,
    max_iterations: int = 20_000,
) -> Completed:
    """The matrix of least nuclear norm among those that meet every observation exactly.

    Minimises |W|_* subject to A(W) = y. The dual is to maximise <m, y> over multipliers m whose
    adjoint A*(m) has operator norm at most 1. What a solver returns is made feasible, the matrix by
    a projection and the multipliers by a division, and the two objectives are the certificate: it
    holds whatever the solver did.

    Args:
        problem: The observations.
        solver: "scs" or "clarabel", by way of cvxpy; "splitting", a first-order method for sizes
            that semidefinite solvers do not reach (Douglas-Rachford: a singular value
            decomposition a step); "auto" takes SCS where rows + columns are at most 400.
        tolerance: The relative gap to stop at. It is a wish; the certificate says what was reached.
        max_iterations: Steps of the solver at most.

    Returns:
        The completed matrix and its certificate; its facts are `solver` and `iterations`.

    Raises:
        ValueError: an argument is not usable, or no matrix meets the measurements.
        ImportError: the extra `convex` is needed and not installed.
        ArithmeticError: a semidefinite solver failed.

    Source:
        Fazel 2002; Recht, Fazel, Parrilo 2010, arXiv:0706.4138, section 2 (the dual). The splitting
        is that of Lions and Mercier 1979. Checked by tests/baselines/test_nuclear.py.
    """
    if solver not in SOLVERS:
        raise ValueError(f"Argument `solver` must be one of {SOLVERS}, but it is {solver!r}.")
    check_positive(tolerance=tolerance)
    check_count(max_iterations=max_iterations)
    measuring = measuring_of(problem)
    if not measuring.values.any():
        certificate = Certificate(0.0, 0.0, np.zeros_like(measuring.values))
        return Completed(np.zeros(problem.shape), {"solver": "none", "iterations": 0}, certificate)
    if solver == "auto":
        solver = "scs" if sum(problem.shape) <= SEMIDEFINITE_SIDE else SPLITTING
    if solver == SPLITTING:
        certify = lambda matrix, multipliers: certificate_of(measuring, matrix, multipliers)
        found = solve_by_splitting(measuring, certify, tolerance, max_iterations)
    else:
        found = solve_semidefinite(measuring, solver, tolerance, max_iterations)
    matrix = measuring.projected(found.matrix)
    certificate = certificate_of(measuring, matrix, found.multipliers)
    return Completed(matrix, {"solver": solver, "iterations": found.iterations}, certificate)


def certificate_of(measuring: Measuring, matrix: Matrix, multipliers: Values) -> Certificate:
    """The certificate of a matrix that meets the values, from multipliers of any size and sign."""
    value = float(multipliers @ measuring.values)
    norm = largest(measuring.adjoint(multipliers))
    scale = np.copysign(1 / norm if norm > 0 else 0.0, value)
    primal = float(np.linalg.norm(matrix, "nuc"))
    return Certificate(primal, float(scale) * value, scale * multipliers)
