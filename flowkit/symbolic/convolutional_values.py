"""The published recursions of CNTK-V and CNTK-GAP for ReLU in numbers, and a claim that holds them.

Written out for one pair of images and apart from the derivation, of which it shares nothing.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import sympy as sp

from flowkit.claim import Claim, Verdict

DIGITS = 30
BOUND = 1e-20  # relative; both sides are evaluated to 30 digits
Place = tuple[int, int]
Number = Any  # of mpmath, which has no annotations
Table = Mapping[tuple[Place, Place], Number]
Numbers = Sequence[Sequence[Sequence[sp.Rational]]]
Evaluate = Callable[[Numbers, Numbers], tuple[sp.Expr, sp.Expr]]

IMAGES = tuple(  # two images of 2 x 2 pixels of one channel
    [[[sp.Rational(*pixel)] for pixel in row] for row in rows]
    for rows in (
        (((3, 4), (-1, 2)), ((5, 3), (2, 5))),
        (((-2, 3), (7, 4)), ((1, 3), (-3, 2))),
    )
)


def published_claim(
    name: str, depth: int, filter_size: int, readout: str, evaluate: Evaluate
) -> Claim:
    """The claim that a recursion has the values of CNTK-V ("flatten") or CNTK-GAP ("gap")."""
    return Claim(
        name=f"published recursion, {name}",
        statement="Theta_h = box[K'_h o Theta_{h-1} + K_h] for h < L. CNTK-V: Theta_0 = Sigma_0, "
        "Theta_L = K'_L o Theta_{L-1} + K_L, traced. CNTK-GAP: Theta_0 = 0, "
        "Theta_L = K'_L o Theta_{L-1}, averaged.",
        source="Arora et al. 2019, arXiv:1904.11955, section 4",
        check=lambda: _check(evaluate, depth, filter_size, readout),
    )


def _check(evaluate: Evaluate, depth: int, filter_size: int, readout: str) -> Verdict:
    with mpmath.workdps(2 * DIGITS + 5):  # the root of 1 - rho^2 halves them at rho = 1
        stated = published_value(*IMAGES, depth, filter_size, readout)
        found = mpmath.mpf(sp.N(evaluate(*IMAGES)[0], DIGITS))
        error = float(abs(found - stated) / max(abs(stated), mpmath.mpf(BOUND)))
    return Verdict(
        passed=error < BOUND,
        kind="measured",
        measured=f"relative difference {error:.1e} in {DIGITS}-digit arithmetic",
        expected=f"below {BOUND:.0e}",
        numbers={"relative difference": error, "kernel": float(stated)},
    )


def published_value(x: Numbers, z: Numbers, depth: int, size: int, readout: str) -> Number:
    """The kernel of two images, L = depth - 1 convolutions with filters of size x size entries."""
    pooled, last = readout == "gap", depth - 1
    cross, of_x, of_z = (_box(_inner(*pair), size) for pair in ((x, z), (x, x), (z, z)))
    theta = dict.fromkeys(cross, mpmath.mpf(0)) if pooled else cross
    for h in range(1, last + 1):
        K, slope = _relu(cross, of_x, of_z, size)
        theta = {pair: slope[pair] * theta[pair] for pair in cross}
        if h < last or not pooled:
            theta = {pair: theta[pair] + K[pair] for pair in cross}
        if h < last:
            theta, cross = _box(theta, size), _box(K, size)
            of_x, of_z = (_box(_relu(v, v, v, size)[0], size) for v in (of_x, of_z))
    if pooled:
        return mpmath.fsum(theta.values()) / len(theta)
    return mpmath.fsum(value for (p, q), value in theta.items() if p == q)


def _inner(x: Numbers, z: Numbers) -> Table:
    places = list(itertools.product(range(len(x)), range(len(x[0]))))
    dot = lambda a, b: sum(s * t for s, t in zip(a, b, strict=True))
    number = lambda value: mpmath.mpf(int(value.p)) / int(value.q)
    return {
        (p, q): number(dot(x[p[0]][p[1]], z[q[0]][q[1]]))
        for p, q in itertools.product(places, repeat=2)
    }


def _box(values: Table, size: int) -> Table:
    """Sums over equal shifts of both positions, zero outside of the images."""
    shifts = list(itertools.product(range(-(size // 2), size // 2 + 1), repeat=2))
    moved = lambda p, a: (p[0] + a[0], p[1] + a[1])
    zero = mpmath.mpf(0)
    return {
        (p, q): mpmath.fsum(values.get((moved(p, a), moved(q, a)), zero) for a in shifts)
        for p, q in values
    }


def _relu(cross: Table, of_x: Table, of_z: Table, size: int) -> tuple[Table, Table]:
    """K = c/q^2 E[s(u) s(v)] and K' = c/q^2 E[s'(u) s'(v)] with c = 2."""
    K, slope = {}, {}
    for p, q in cross:
        deviations = mpmath.sqrt(of_x[p, p] * of_z[q, q])
        rho = min(mpmath.mpf(1), max(mpmath.mpf(-1), cross[p, q] / deviations))
        angle, share = mpmath.pi - mpmath.acos(rho), size**2 * mpmath.pi
        K[p, q] = deviations * (rho * angle + mpmath.sqrt(1 - rho**2)) / share
        slope[p, q] = angle / share
    return K, slope
