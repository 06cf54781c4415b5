"""The stability polynomials of RKC4, and the weights of stages that realise them.

The stability polynomial of s stages is R(z) = w(z) P(z). The quartic w has two pairs of complex
zeros; P, of degree s - 4, is orthogonal to the weight w(x)^2 / sqrt(1 - x^2) on [-1, 1], which is
the interval [-length, 0] of z = (x - 1) length / 2. Then w P oscillates evenly over the interval.
The zeros of w are those for which R has order four at z = 0 and reaches `DAMPING` in size where it
oscillates most.

To follow these factors, as ROCK4 does, would amplify rounding in stiff components by w, which grows
as s^8. Here the stages are those of RKC2, undamped and for the same interval, which are stable one
by one; R, a polynomial of degree s, is one combination of their rates, with weights that are the
Chebyshev coefficients of (R - 1) / z.

`python -m flowkit.dynamics.chebyshev_polynomials` prints the zeros that `chebyshev_zeros` keeps.

Source:
    The polynomials: Abdulle 2002, "Fourth order Chebyshev methods with recurrence relation". The
    weights and the error estimate are our own. Checked by tests/dynamics/test_rkc4.py.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.fft import dct
from scipy.optimize import root

Vector = Float[np.ndarray, " n"]
Zeros = Float[np.ndarray, "4"]

DAMPING = 0.95  # the largest |R| where it oscillates
NODE = 0.45  # time of the correction's point, in steps: about where it misses most
ERROR_SCALE = 0.02 / 24  # of the error estimate, so that errors at the end are about the tolerance
LONGEST = 4100  # stages
RATIO = 1.07  # from one tabulated number of stages to the next
FIRST_GUESS = np.array([16.8, 9.1, 1.9, 23.8])  # for the zeros at five stages


class Polynomial(NamedTuple):
    """R: a quartic in rising powers of 1 - x, times the last P of a recursion.

    P_(k+1) = (constant_k + slope_k (x - 1)) P_k + (1 - constant_k) P_(k-1), all 1 at x = 1.
    """

    slope: Vector
    constant: Vector
    quartic: Float[np.ndarray, "5"]


class Weights(NamedTuple):
    """A step of s stages, z_1 = z_0 + h sum_j solution_j f_j, j = 0 .. s - 1, before correction.

    Attributes:
        length: Of the stability interval, and of the one that the stages are made for.
        solution: Weights of the rates in the solution.
        error: Weights of the rates in the error estimate.
        correction: Shares of the last stage and of the end, and a factor; see `_correction`.
    """

    length: float
    solution: Vector
    error: Vector
    correction: Float[np.ndarray, "3"]


def ladder(longest: int = LONGEST) -> list[int]:
    """The tabulated numbers of stages, in a geometric progression from five on."""
    steps = int(np.log(longest / 5) / np.log(RATIO)) + 1
    return sorted({round(5 * RATIO**k) for k in range(steps)})


def quartic(zeros: Zeros, stages: int) -> Float[np.ndarray, "5"]:
    """Coefficients of w in rising powers of 1 - x, w = 1 there.

    `zeros` holds real and imaginary parts, times s^2, of 1 - x at one zero of each pair.
    """
    (p, q, r, t) = np.asarray(zeros) / stages**2
    pair = lambda real, imaginary: np.array([real**2 + imaginary**2, -2 * real, 1.0])
    product = np.convolve(pair(p, q), pair(r, t))
    return product / product[0]


def orthogonal_recursion(zeros: Zeros, stages: int) -> tuple[Vector, Vector]:
    """Diagonal and squared off-diagonal of the Jacobi matrix of P's weight, by Stieltjes.

    The monic polynomials are p_(k+1) = (x - diagonal_k) p_k - square_k p_(k-1). The quadrature is
    that of Gauss and Chebyshev, exact for these degrees.
    """
    number, degree = stages + 4, stages - 4
    x = np.cos((np.arange(number) + 0.5) * np.pi / number)
    now = np.polyval(quartic(zeros, stages)[::-1], 1 - x)
    before, size = np.zeros(number), 0.0
    diagonal, square = np.zeros(degree), np.zeros(degree)
    for k in range(degree):
        norm = np.linalg.norm(now)
        now, square[k] = now / norm, (norm**2 if k else 0.0)
        diagonal[k], size = x @ now**2, (norm if k else 0.0)
        before, now = now, (x - diagonal[k]) * now - size * before
    return diagonal, square


def normalised(diagonal: Vector, square: Vector) -> tuple[Vector, Vector]:
    """Slopes and constants of the same polynomials, scaled to be 1 at x = 1."""
    growth, slope = 1.0, np.zeros(len(diagonal))
    for k in range(len(diagonal)):
        growth = 1 - diagonal[k] - square[k] / growth
        slope[k] = 1 / growth
    return slope, (1 - diagonal) * slope


def polynomial(zeros: Zeros, stages: int) -> Polynomial:
    """R of so many stages."""
    factors = normalised(*orthogonal_recursion(zeros, stages))
    return Polynomial(*factors, quartic(zeros, stages))


def derivatives(r: Polynomial) -> Float[np.ndarray, "5"]:
    """R and its first four derivatives by x, at x = 1."""
    before, now = np.zeros(5), np.eye(5)[0]
    for p, q in zip(r.slope, r.constant, strict=True):
        shifted = np.concatenate([[0.0], now[:-1]])
        before, now = now, q * now + p * shifted + (1 - q) * before
    return np.convolve(now, r.quartic * (-1.0) ** np.arange(5))[:5] * np.array([1, 1, 2, 6, 24])


def evaluate(r: Polynomial, x: Vector) -> Vector:
    """R on the interval [-1, 1]."""
    before, now = np.zeros_like(x), np.ones_like(x)
    for p, q in zip(r.slope, r.constant, strict=True):
        before, now = now, (q + p * (x - 1)) * now + (1 - q) * before
    return now * np.polyval(r.quartic[::-1], 1 - x)


def largest_oscillation(r: Polynomial) -> float:
    """The largest local maximum of |R|; it is among the first from x = 1 on, or at x = -1."""
    angles = np.linspace(0.0, min(np.pi, 8 * np.pi / (len(r.slope) + 1)), 481)
    size = np.abs(evaluate(r, np.cos(angles)))
    left, middle, right = size[:-2], size[1:-1], size[2:]
    peaks = (middle > left) & (middle > right)
    bend = (left - 2 * middle + right)[peaks]
    heights = middle[peaks] - (right - left)[peaks] ** 2 / (8 * bend)
    return float(max(size[-1], *heights))


def defects(zeros: Zeros, stages: int) -> Float[np.ndarray, "4"]:
    """What must vanish: the conditions for order 2 to 4, and the damping's."""
    r = polynomial(zeros, stages)
    _, first, *higher = derivatives(r)
    order = [value / first**k - 1 for k, value in enumerate(higher, start=2)]
    return np.array([*order, largest_oscillation(r) - DAMPING])


def solve_zeros(stages: int, guess: Zeros) -> Zeros:
    """The zeros of w for a number of stages, from those for a similar number."""
    solution = root(defects, guess, args=(stages,), options={"xtol": 1e-13})
    if np.abs(defects(solution.x, stages)).max() > 1e-10:
        raise RuntimeError(f"No zeros were found for {stages} stages.")
    return solution.x


def weights(zeros: Zeros, stages: int) -> Weights:
    """The weights of the rates, so that the step's polynomial is R and the estimate is E."""
    r = polynomial(zeros, stages)
    length = 2 * derivatives(r)[1]
    j = np.arange(stages, dtype=float)
    nodes = np.cos((j + 0.5) * np.pi / stages)
    series = dct((evaluate(r, nodes) - 1) / (nodes - 1)) * 2 / length / stages
    series[0] /= 2
    b, c = stage_weights(stages), 2 / length * (j**2 - 1) / 3
    c[:2] = 0.0, b[1] * 2 / length
    solution = _from_chebyshev(series, b)
    return Weights(
        length,
        solution,
        _from_chebyshev(_error_series(stages, length), b),
        _correction(solution @ c**2 - 1 / 3, solution @ c**3 - 1 / 4, c[-1]),
    )


def _correction(square: float, cube: float, last: float) -> Float[np.ndarray, "3"]:
    """Shares of the last stage and of the end in a point, and the factor of what it misses.

    With shares k of the nodes c, the rate at the point less the same combination of the nodes'
    rates vanishes on linear fields, and adds (sum k c)^n - sum k c^n to the quadrature of t^n. That
    times the factor must cancel `square` and `cube`. The first is small: the iteration contracts.
    """
    factor, at_last, at_end = np.inf, 0.0, 0.0
    for _ in range(20):
        mean = NODE**2 + square / factor
        at_last = (mean - NODE) / (last**2 - last)
        at_end = NODE - at_last * last
        factor = cube / (at_last * last**3 + at_end - NODE**3)
    return np.array([at_last, at_end, factor])


def stage_weights(stages: int) -> Vector:
    """b_j of the stages' polynomials P_j(z) = 1 - b_j + b_j T_j(1 + 2 z / length)."""
    j = np.arange(stages, dtype=float)
    return np.where(j < 2, 1 / 4, (j**2 - 1) / (3 * np.maximum(j, 1) ** 2))


def _from_chebyshev(series: Vector, b: Vector) -> Vector:
    """The weights of the P_j that make a given Chebyshev series."""
    result = series / b
    result[0] = series[0] - (result[1:] * (1 - b[1:])).sum()
    return result


def _error_series(stages: int, length: float) -> Vector:
    """E / z as a Chebyshev series: E = ERROR_SCALE z^4 near 0, and small where R is damped.

    Its coefficients fall off smoothly with j, so that the series does with -z.
    """
    j = np.arange(stages, dtype=float)
    smooth = (1 - (j / stages) ** 2) ** 3 * (j / stages) ** (2 * np.arange(4)[:, None])
    smooth[:, 0] /= 2
    square = j**2
    third = square * (square - 1) * (square - 4) / 15
    derivatives = np.array([np.ones(stages), square, square * (square - 1) / 3, third])
    wanted = [0.0, 0.0, 0.0, 6 * ERROR_SCALE * (length / 2) ** 3]
    return np.linalg.solve(derivatives @ smooth.T, wanted) @ smooth


def main() -> None:
    """Print the table of zeros."""
    zeros = FIRST_GUESS
    for stages in ladder():
        zeros = solve_zeros(stages, zeros)
        print(f"    ({stages}, {', '.join(repr(float(z)) for z in zeros)}),")  # noqa: T201


if __name__ == "__main__":
    main()
