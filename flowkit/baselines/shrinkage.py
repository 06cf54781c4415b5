"""Soft-impute: least squares with the nuclear norm as penalty, with its duality gap."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from flowkit.baselines.completed import (
    Certificate,
    Completed,
    Matrix,
    check_positive,
    observed_in,
)
from flowkit.baselines.offsets import row_plus_column_effects
from flowkit.baselines.thresholding import largest, shrunk
from flowkit.problems import MatrixCompletion
from flowkit.problems.counts import check_count

CHECK_EVERY = 5  # a gap costs about one step
PENALTIES, LOWEST = 20, 1e-3  # of the default path, the last one in units of the first
ROUNDING = 10 * np.finfo(float).eps  # of the largest value: a remainder below it is none
PATIENCE = 3  # penalties in a row whose validation error is above the least one


def soft_impute(
    problem: MatrixCompletion,
    penalty: float | int,
    *,
    start: Matrix | None = None,
    tolerance: float | int = 1e-6,
    max_iterations: int = 2000,
) -> Completed:
    """Minimise 1/2 sum over observations (W_ij - value)^2 + penalty |W|_*, the nuclear norm.

    Each step fills the unobserved entries from the last estimate and lowers all singular values by
    the penalty: a proximal gradient step of length 1, here with Nesterov's extrapolation, restarted
    where it would point uphill. The dual is to maximise <m, y> - 1/2 |m|^2 over m, zero at
    unobserved entries, of operator norm at most the penalty: the residual, scaled down, is a point.

    Args:
        problem: The observations.
        penalty: In the units of the values; from the operator norm of the observations (zeros
            elsewhere) upwards the minimiser is zero.
        start: A matrix to start at, such as the result for another penalty; by default zero.
        tolerance: The relative duality gap to stop at.
        max_iterations: Steps at most; the certificate says what was reached.

    Returns:
        The completed matrix and its certificate; its facts are `penalty`, `rank` and `iterations`.

    Raises:
        ValueError: `penalty` or `tolerance` is not positive, `max_iterations` is no positive
            integer, or `start` has another shape.

    Source:
        Mazumder, Hastie, Tibshirani 2010, JMLR 11, algorithm 1; the restart is that of O'Donoghue
        and Candes 2015, arXiv:1204.3982. Checked by tests/baselines/test_shrinkage.py.
    """
    check_positive(penalty=penalty, tolerance=tolerance)
    check_count(max_iterations=max_iterations)
    mask, values = observed_in(problem)
    if start is not None and np.shape(start) != problem.shape:
        raise ValueError(
            f"Argument `start` must have shape {problem.shape}, but it has {np.shape(start)}."
        )
    first = np.zeros(problem.shape) if start is None else np.asarray(start, float)
    steps = enumerate(_steps(mask, values, first, float(penalty)), 1)
    best, least, iteration = (first, 0, None), float("inf"), 0
    for iteration, (matrix, norm, rank) in itertools.islice(steps, int(max_iterations)):
        if iteration % CHECK_EVERY and iteration not in (1, max_iterations):
            continue
        certificate = _certificate(mask, values, matrix, norm, float(penalty))
        if iteration == 1 or certificate.relative_gap < least:
            best, least = (matrix, rank, certificate), certificate.relative_gap
        if least <= tolerance:
            break
    matrix, rank, certificate = best
    facts = {"penalty": float(penalty), "rank": rank, "iterations": iteration}
    return Completed(matrix, facts, certificate)


def _steps(
    mask: Bool[np.ndarray, "out in"], values: Matrix, first: Matrix, penalty: float
) -> Iterator[tuple[Matrix, float, int]]:
    """The matrix after each accelerated step, with its nuclear norm and rank."""
    matrix = ahead = first
    momentum = 1.0
    while True:
        after, norm, rank = shrunk(np.where(mask, values, ahead), penalty)
        if np.vdot(ahead - after, after - matrix) > 0:  # uphill: forget the momentum
            ahead, momentum = after, 1.0
        else:
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = after + (momentum - 1) / following * (after - matrix)
            momentum = following
        matrix = after
        yield matrix, norm, rank


def _certificate(
    mask: Bool[np.ndarray, "out in"], values: Matrix, matrix: Matrix, norm: float, penalty: float
) -> Certificate:
    """Both objectives; the residual is scaled to the feasible point of the best dual objective."""
    residual = np.where(mask, values - matrix, 0.0)
    squares, top = float(np.vdot(residual, residual)), largest(residual)
    if squares == 0:
        return Certificate(penalty * norm, 0.0, residual[mask])
    inner, bound = float(np.vdot(residual, values)), penalty / top
    scale = min(max(inner / squares, -bound), bound)
    dual = scale * inner - scale**2 * squares / 2
    return Certificate(squares / 2 + penalty * norm, dual, scale * residual[mask])


def soft_impute_path(
    problem: MatrixCompletion,
    penalties: Sequence[float | int] | Float[np.ndarray, " penalties"] | None = None,
    *,
    tolerance: float | int = 1e-4,
    max_iterations: int = 2000,
) -> tuple[Completed, ...]:
    """Soft-impute for falling penalties, each started where the last one ended.

    Args:
        problem: The observations.
        penalties: Strictly falling; by default 20, evenly spaced in their logarithm, from the one
            at which the minimiser becomes zero (left out) down to a thousandth of it.
        tolerance: The relative duality gap to stop each at.
        max_iterations: Steps at most for each.

    Returns:
        What `soft_impute` returns, for each penalty.

    Raises:
        ValueError: `penalties` are empty, not positive or not falling.
    """
    if penalties is None:
        penalties = default_penalties(problem)
    penalties = _checked(penalties)
    path: list[Completed] = []
    for penalty in penalties:
        start = path[-1].matrix if path else None
        path.append(
            soft_impute(
                problem, penalty, start=start, tolerance=tolerance, max_iterations=max_iterations
            )
        )
    return tuple(path)


def _checked(
    penalties: Sequence[float | int] | Float[np.ndarray, " penalties"],
) -> list[float]:
    penalties = [float(penalty) for penalty in penalties]
    check_positive(**{f"penalties[{i}]": penalty for i, penalty in enumerate(penalties)})
    if not penalties or any(b >= a for a, b in itertools.pairwise(penalties)):
        raise ValueError(
            f"Argument `penalties` must be strictly falling and not empty, but it is {penalties}."
        )
    return penalties


def default_penalties(problem: MatrixCompletion) -> Float[np.ndarray, " penalties"]:
    """Twenty, from just below the operator norm of the observations to a thousandth of it.

    Raises:
        ValueError: all values are zero.
    """
    top = largest(observed_in(problem)[1])
    if top == 0:
        raise ValueError(
            "Argument `penalties` must be given where all values are zero, but it is None."
        )
    return np.geomspace(top, LOWEST * top, PENALTIES + 1)[1:]


def tuned_soft_impute(
    problem: MatrixCompletion,
    penalties: Sequence[float | int] | Float[np.ndarray, " penalties"] | None = None,
    *,
    offset_ridge: float | int | None = None,
    validation: float = 0.1,
    tolerance: float | int = 1e-4,
    max_iterations: int = 2000,
    key: PRNGKeyArray,
) -> Completed:
    """Choose the penalty on held-back observations, then refit on all of them.

    Args:
        problem: The observations.
        penalties: Strictly falling; by default those of `soft_impute_path` for the observations
            that are not held back. The path ends where the last three errors are above the least.
        offset_ridge: First subtract `row_plus_column_effects` of this ridge, and add them at the
            end; the certificate is then that of the remainder. None for the values as they are.
        validation: The part of the observations that chooses.
        tolerance: The relative duality gap to stop each penalty at.
        max_iterations: Steps at most for each.
        key: Draws the validation entries.

    Returns:
        The completed matrix and its certificate; its facts are those of `soft_impute` and
        `validation rmse`, the error on the observations held back.

    Raises:
        ValueError: `penalties` are empty, not positive or not falling, or not given where all
            values are zero; another number is not positive, or `validation` leaves no observations
            on a side.
    """
    train, held_back = problem.split(validation, key=key)
    rest, offsets = _without_offsets(train, offset_ridge)
    entries = np.asarray(held_back.rows), np.asarray(held_back.cols)
    target = np.asarray(held_back.values) - offsets[entries]
    errors: dict[float, float] = {}
    last = None
    options = {"tolerance": tolerance, "max_iterations": max_iterations}
    if penalties is None and offset_ridge is not None and not rest.values.any():
        penalties = [float(np.abs(problem.values).max()) or 1.0]  # any leaves the offsets alone
    for penalty in _checked(default_penalties(rest) if penalties is None else penalties):
        last = soft_impute(rest, penalty, start=last, **options).matrix
        errors[penalty] = float(np.sqrt(np.mean((last[entries] - target) ** 2)))
        if len(errors) > PATIENCE and min(list(errors.values())[-PATIENCE:]) > min(errors.values()):
            break
    penalty = min(errors, key=lambda penalty: errors[penalty])
    rest, offsets = _without_offsets(problem, offset_ridge)
    path = [p for p in errors if p >= penalty]
    chosen = soft_impute_path(rest, path, **options)[-1]
    facts = {**chosen.facts, "validation rmse": errors[penalty]}
    return Completed(chosen.matrix + offsets, facts, chosen.certificate)


def _without_offsets(
    problem: MatrixCompletion, ridge: float | int | None
) -> tuple[MatrixCompletion, Matrix]:
    """The problem that the additive model leaves, and the model; zero where there is no ridge."""
    if ridge is None:
        return problem, np.zeros(problem.shape)
    offsets = row_plus_column_effects(problem, ridge=ridge).matrix
    entries = np.asarray(problem.rows), np.asarray(problem.cols)
    values = np.asarray(problem.values)
    rest = values - offsets[entries]
    rest = np.where(np.abs(rest) > ROUNDING * np.abs(values).max(), rest, 0.0)
    return MatrixCompletion(*entries, rest, problem.shape), offsets
