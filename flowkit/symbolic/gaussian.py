"""A pair of jointly Gaussian variables: its covariances, and its moments by parts."""

from dataclasses import dataclass

import sympy as sp

VAR_U = sp.Symbol("var_u", positive=True)
VAR_V = sp.Symbol("var_v", positive=True)
COV = sp.Symbol("cov", real=True)
DETERMINANT = VAR_U * VAR_V - COV**2
ANGLE = sp.atan2(sp.sqrt(DETERMINANT), COV)
"""The angle whose cosine is the correlation; near 0 and pi an arc cosine would lose digits."""

GAP = sp.Symbol("gap", nonnegative=True)
"""Stands for the determinant where it is given as a number, for it cancels near correlation 1."""


def name_determinant(expression: sp.Expr) -> sp.Expr:
    """Write the symbol `GAP` for var_u var_v - cov^2 in each polynomial which that shortens."""
    if not expression.args:
        return expression
    expression = expression.func(*map(name_determinant, expression.args))
    if not (expression.is_Add and expression.is_polynomial(VAR_U, VAR_V, COV)):
        return expression
    powers = sp.Poly(expression, COV).terms()
    halves = [(c, *divmod(power, 2)) for (power,), c in powers]
    reduced = sum(c * COV**odd * (VAR_U * VAR_V - GAP) ** half for c, half, odd in halves)
    count = lambda polynomial: len(sp.Add.make_args(polynomial))
    reduced, expanded = sp.expand(reduced), sp.expand(expression)
    return reduced if count(reduced) < count(expanded) else expression


@dataclass(frozen=True)
class Gaussian:
    """The law of (u, v): variances `uu` and `vv`, covariance `uv` and the two means."""

    uu: sp.Expr = VAR_U
    vv: sp.Expr = VAR_V
    uv: sp.Expr = COV
    mean_u: sp.Expr = sp.S.Zero
    mean_v: sp.Expr = sp.S.Zero

    @property
    def swapped(self) -> "Gaussian":
        """The law of (v, u)."""
        return Gaussian(self.vv, self.uu, self.uv, self.mean_v, self.mean_u)

    @property
    def centred(self) -> bool:
        return self.mean_u == 0 and self.mean_v == 0

    def tilted(
        self, square_u: sp.Expr, linear_u: sp.Expr, square_v: sp.Expr, linear_v: sp.Expr
    ) -> tuple[sp.Expr, sp.Expr, "Gaussian"]:
        """Complete the square of exp(a u^2 + b u + c v^2 + d v) times the density of mean zero.

        With the covariance S and A = diag(a, c) the new covariance T has T^-1 = S^-1 - 2 A, written
        here without the inverse of S; the new mean is T (b, d)^T.

        Args:
            square_u: a.
            linear_u: b.
            square_v: c.
            linear_v: d.

        Returns:
            Factor sqrt(det T / det S), exponent (b, d) T (b, d)^T / 2, and the new law: the
            expectation of the exponential times h(u, v) is factor e^exponent E[h] under it.

        Source:
            The generating function of a quadratic form. Checked by
            tests/symbolic/test_duals_generating.py.
        """
        gap = self.uu * self.vv - self.uv**2
        scale = 1 - 2 * square_u * self.uu - 2 * square_v * self.vv + 4 * square_u * square_v * gap
        scale = sp.factor_terms(sp.cancel(scale)) if scale != 1 else scale
        uu, vv = (self.uu - 2 * square_v * gap) / scale, (self.vv - 2 * square_u * gap) / scale
        uv = self.uv / scale
        mean_u, mean_v = uu * linear_u + uv * linear_v, uv * linear_u + vv * linear_v
        exponent = sp.expand(linear_u * mean_u + linear_v * mean_v) / 2
        return 1 / sp.sqrt(scale), exponent, Gaussian(uu, vv, uv, mean_u, mean_v)
