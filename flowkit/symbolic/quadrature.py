"""Activations whose dual has no closed form: their type, and the nodes of the integration rules.

Source: Trefethen, Weideman 2014 (The exponentially convergent trapezoidal rule), section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy as sp

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
    """

    name: str
    function: sp.Lambda | Callable
    kinked: bool = False
    nodes: int = NODES
    source: str = "trapezoidal rule (smooth) or polar Gauss-Legendre rule (kink at 0)"

    @property
    def row(self) -> int:
        """The number of nodes that are evaluated at once."""
        return 4 * (self.nodes // 2) if self.kinked else self.nodes


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
