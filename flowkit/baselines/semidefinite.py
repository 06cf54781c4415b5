"""The least nuclear norm as a semidefinite program, by way of cvxpy."""

import warnings
from types import ModuleType

import numpy as np

from flowkit.baselines.measuring import InnerProducts, Measuring
from flowkit.baselines.splitting import Found

INACCURATE = "Solution may be inaccurate"  # cvxpy's warning; a certificate says how much
MARGIN = 20  # a gap is about four times the tolerance of SCS, measured


def solve_semidefinite(
    measuring: Measuring, solver: str, tolerance: float, max_iterations: int
) -> Found:
    """Solve by SCS or Clarabel, in units in which the values have mean square 1.

    Raises:
        ImportError: cvxpy is not installed.
        ArithmeticError: the solver found nothing, not even inaccurately.
    """
    cvxpy = _cvxpy()
    scale = float(np.sqrt(np.mean(measuring.values**2)))
    W = cvxpy.Variable(measuring.shape)
    if isinstance(measuring, InnerProducts):
        measured = measuring.flat @ cvxpy.vec(W, order="C")
    else:
        measured = W[measuring.rows, measuring.cols]
    meets = measured == measuring.values / scale
    program = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(W)), [meets])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", INACCURATE)
            program.solve(solver=solver.upper(), **_options(solver, tolerance, int(max_iterations)))
    except cvxpy.error.SolverError as error:
        raise ArithmeticError(f"The solver `{solver}` failed: {error}") from error
    if W.value is None or meets.dual_value is None:
        raise ArithmeticError(f"The solver `{solver}` failed: its status is `{program.status}`.")
    iterations = program.solver_stats.num_iters or 0
    return Found(scale * W.value, np.asarray(meets.dual_value, float), iterations)


def _options(solver: str, tolerance: float, max_iterations: int) -> dict[str, float]:
    if solver == "scs":
        return {"eps": tolerance / MARGIN, "max_iters": max_iterations}
    gaps = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
    return {name: tolerance / MARGIN for name in gaps} | {"max_iter": max_iterations}


def _cvxpy() -> ModuleType:
    try:
        import cvxpy
    except ModuleNotFoundError as error:
        raise ImportError(
            "A semidefinite solver needs cvxpy: pip install 'gradient-flowkit[convex]'. "
            'The solver "splitting" needs no extra.'
        ) from error
    return cvxpy
