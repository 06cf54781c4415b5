"""Gaussian expectations of half powers, functions with a kink or a jump at 0, in polar coordinates.

Source: Cho, Saul 2009 (Kernel methods for deep learning), section 2.
"""

from dataclasses import dataclass

import sympy as sp

from flowkit.symbolic.gaussian import ANGLE, COV, DETERMINANT, VAR_U, VAR_V


@dataclass(frozen=True)
class HalfPowers:
    """The function right * x^degree for x > 0 and left * x^degree for x < 0."""

    degree: int
    right: sp.Expr | int
    left: sp.Expr | int

    @classmethod
    def recognised(cls, function: sp.Expr, x: sp.Symbol) -> "HalfPowers | None":
        """An expression in `x` as half powers of one degree, or None if it has another form."""
        if not function.has(sp.Abs, sp.Max, sp.Min, sp.Heaviside, sp.sign):
            return None
        size = sp.Symbol("size", positive=True)
        right, left = (sp.simplify(function.subs(x, side)) for side in (size, -size))
        degrees = {sp.degree(side, size) for side in (right, left) if side.is_polynomial(size)}
        degree = max(degrees, default=-1)
        if degree < 0 or any((side / size**degree).has(size) for side in (right, left)):
            return None
        return cls(int(degree), right / size**degree, left / (-size) ** degree)

    @property
    def derivative(self) -> "HalfPowers | Impulse":
        """The derivative; that of a jump is an impulse, all others are functions."""
        if self.degree == 0:
            return Impulse(self.right - self.left)
        return HalfPowers(self.degree - 1, self.degree * self.right, self.degree * self.left)

    @property
    def mirrored(self) -> "HalfPowers":
        """The function x -> f(-x)."""
        sign = (-1) ** self.degree
        return HalfPowers(self.degree, sign * self.left, sign * self.right)

    def times(self, other: "HalfPowers") -> "HalfPowers":
        right, left = self.right * other.right, self.left * other.left
        return HalfPowers(self.degree + other.degree, right, left)

    def gaussian_mean(self) -> sp.Expr:
        """E[f(x)] of a standard normal x, by a plain integral."""
        x = sp.Symbol("x", positive=True)
        both_sides = self.right * x**self.degree + self.left * (-x) ** self.degree
        return sp.integrate(both_sides * sp.exp(-(x**2) / 2), (x, 0, sp.oo)) / sp.sqrt(2 * sp.pi)

    def expectation(self) -> sp.Expr:
        """E[f(u) f(v)] in the symbols var_u, var_v and cov.

        With u = sqrt(var_u) r cos(phi), v = sqrt(var_v) r cos(theta - phi), cos(theta) the
        correlation, the measure is r e^{-r^2/2} / (2 pi) dr dphi: a radial moment times the sum of
        the integrals over the four sectors in which u and v keep their signs. In w = 2 phi - theta
        the product of the cosines is (cos(theta) + cos(w)) / 2.
        """
        radius, theta = sp.symbols("r theta", positive=True)
        sectors = (  # factor, from, to: u > 0 for |w + theta| < pi and v > 0 for |w - theta| < pi
            (self.right * self.right, theta - sp.pi, sp.pi - theta),
            (self.left * self.right, sp.pi - theta, sp.pi + theta),
            (self.left * self.left, sp.pi + theta, 3 * sp.pi - theta),
            (self.right * self.left, 3 * sp.pi - theta, 3 * sp.pi + theta),
        )
        primitive = _primitive(theta, self.degree)
        parts = [f * (primitive(hi) - primitive(lo)) for f, lo, hi in sectors]
        moment = radius ** (2 * self.degree + 1) * sp.exp(-(radius**2) / 2)
        radial = sp.integrate(moment, (radius, 0, sp.oo)) / (2 * sp.pi)
        return _in_covariances(radial * sp.Add(*parts), theta, self.degree)


@dataclass(frozen=True)
class Impulse:
    """height * delta(x), the derivative of a jump."""

    height: sp.Expr | int

    def expectation(self) -> sp.Expr:
        """E[f(u) f(v)] = height^2 p(0, 0) for the density p of (u, v); infinite at u = v."""
        return self.height**2 / (2 * sp.pi * sp.sqrt(DETERMINANT))


def _primitive(theta: sp.Symbol, degree: int) -> sp.Lambda:
    """Antiderivative over phi of (cos(phi) cos(theta - phi))^k, as a function of w."""
    w = sp.Symbol("w", real=True)
    integrand = sp.expand(((sp.cos(theta) + sp.cos(w)) / 2) ** degree)
    return sp.Lambda(w, sp.integrate(integrand, w) / 2)


def _in_covariances(expectation: sp.Expr, theta: sp.Symbol, degree: int) -> sp.Expr:
    """Replace the angle by covariances; the scale cancels what divides them."""
    sine, product = sp.Symbol("sine", positive=True), sp.sqrt(VAR_U * VAR_V)
    values = {sp.cos(theta): COV / product, sp.sin(theta): sine / product, theta: ANGLE}
    in_sine = sp.expand(product**degree * sp.expand(expectation).subs(values))
    return in_sine.subs(sine, sp.sqrt(DETERMINANT))
