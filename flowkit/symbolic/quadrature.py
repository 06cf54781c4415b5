"""Activations whose dual has no closed form: their type, and the nodes of the integration rules.

Source: Trefethen, Weideman 2014 (The exponentially convergent trapezoidal rule), section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import sympy as sp

from flowkit.claim import Claim
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V

REACH = 10.0  # deviations; the standard normal density is 8e-23 there
NODES = 128


@dataclass(frozen=True)
class QuadratureDual:
    """The dual of an activation s as an integration rule, which `lower` turns into numbers.

    Both E[s(u) s(v)] and E[s'(u) s'(v)] are two-dimensional integrals. A smooth s is integrated by
    the trapezoidal rule on a square of independent normal coordinates: at a pole of s(a x) at
    distance d from the real axis its error is of order e^{-2 pi d / step}, while that of a
    Gauss-Hermite rule with n nodes is of order e^{-d sqrt(2 n)}. An s with a kink at 0 is
    integrated in polar coordinates, sector by sector, by Gauss-Legendre rules.

    Attributes:
        name: The activation.
        function: s, as a `sympy.Lambda` or as a JAX function of a scalar.
        kinked: Whether a derivative of s jumps at 0.
        nodes: Nodes per dimension; an even number.
        source: The rule.
        claims: What was stated of it, by `flowkit.lowering.rule_claim`, which can compute it.
    """

    name: str
    function: sp.Lambda | Callable
    kinked: bool = False
    nodes: int = NODES
    source: str = "trapezoidal rule (smooth) or polar Gauss-Legendre rule (kink at 0)"
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def row(self) -> int:
        """The number of nodes that are evaluated at once."""
        return 4 * (self.nodes // 2) if self.kinked else self.nodes

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """Both expectations as integrals, which no closed form replaces."""
        x = sp.Symbol("x", real=True)
        stated = isinstance(self.function, sp.Lambda)
        s = self.function(x) if stated else sp.Function(self.name)(x)
        return tuple(
            sp.Eq(sp.Symbol(name), _expectation(function, x), evaluate=False)
            for name, function in ((r"\kappa", s), (r"\dot{\kappa}", s.diff(x)))
        )


def _expectation(function: sp.Expr, x: sp.Symbol) -> sp.Integral:
    """E[f(u) f(v)] as an integral against the density of (u, v)."""
    u, v = sp.symbols("u v", real=True)
    determinant = VAR_U * VAR_V - COV**2
    square = (VAR_V * u**2 - 2 * COV * u * v + VAR_U * v**2) / (2 * determinant)
    density = sp.exp(-square) / (2 * sp.pi * sp.sqrt(determinant))
    values = function.subs(x, u) * function.subs(x, v)
    return sp.Integral(values * density, (u, -sp.oo, sp.oo), (v, -sp.oo, sp.oo))


def normal_rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the trapezoidal rule for E[f(x)] of a standard normal x."""
    step = 2 * REACH / nodes
    points = step * (np.arange(nodes) - (nodes - 1) / 2)
    return points, step * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)


def radial_rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the integral of f(r) r e^{-r^2/2} / (2 pi) from 0 to the reach."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    radii = REACH * (points + 1) / 2
    return radii, REACH / 2 * weights * radii * np.exp(-(radii**2) / 2) / (2 * np.pi)


def sector_rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and weights of the Gauss-Legendre rule there."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return (points + 1) / 2, weights / 2
