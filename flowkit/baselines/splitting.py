"""Douglas-Rachford splitting for the least nuclear norm, at sizes where it is the only choice."""

from collections.abc import Callable
from typing import NamedTuple

from flowkit.baselines.completed import Certificate, Matrix
from flowkit.baselines.measuring import Measuring, Values
from flowkit.baselines.thresholding import largest, shrunk

STEP = 0.3  # of the norm of the observations; measured: fewest steps within 0.1 .. 1
CHECK_EVERY = 25  # a certificate costs two decompositions


class Found(NamedTuple):
    """What a solver returns: nearly a solution, nearly its multipliers, and its steps."""

    matrix: Matrix
    multipliers: Values
    iterations: int


def solve_by_splitting(
    measuring: Measuring,
    certify: Callable[[Matrix, Values], Certificate],
    tolerance: float,
    max_iterations: int,
) -> Found:
    """Alternate between the matrices that meet the values and a lower nuclear norm.

    With X the projection of Z, step to Z + shrunk(2 X - Z) - X. At rest (X - Z) / step is A*(m) and
    a subgradient of the nuclear norm at X, so m is the optimal dual point. The least gap is kept.
    """
    zero = measuring.adjoint(0 * measuring.values)
    auxiliary = measuring.projected(zero)
    step = STEP * largest(auxiliary)
    best, best_gap, iteration = Found(auxiliary, measuring.correction(zero), 0), float("inf"), 0
    for iteration in range(1, int(max_iterations) + 1):
        meeting = measuring.projected(auxiliary)
        if iteration % CHECK_EVERY == 0 or iteration == max_iterations:
            multipliers = measuring.correction(auxiliary)
            gap = certify(meeting, multipliers).relative_gap
            if gap < best_gap:
                best, best_gap = Found(meeting, multipliers, iteration), gap
            if gap <= tolerance:
                break
        auxiliary = auxiliary + shrunk(2 * meeting - auxiliary, step)[0] - meeting
    return best._replace(iterations=iteration)
