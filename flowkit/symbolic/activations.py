"""The activations that have a name: what each is, and with it how its dual is derived."""

from collections.abc import Callable

import sympy as sp

from flowkit.symbolic.polar import HalfPowers
from flowkit.symbolic.quadrature import NODES, QuadratureDual

X = sp.Symbol("x", real=True)
SLOPE = sp.Rational(1, 100)  # of the leaky ReLU, where none is given
DEGREE = sp.Integer(2)  # of the Hermite polynomial, where none is given


def _relu(power: sp.Expr = sp.S.One) -> HalfPowers:
    return HalfPowers(_natural("power", power), right=1, left=0)


def _leaky_relu(slope: sp.Expr = SLOPE) -> HalfPowers:
    return HalfPowers(1, right=1, left=slope)


def _hermite(degree: sp.Expr = DEGREE) -> sp.Expr:
    """He_n / sqrt(n!) by the recurrence He_{n+1} = x He_n - n He_{n-1}."""
    before, polynomial = sp.S.Zero, sp.S.One
    for n in range(_natural("degree", degree)):
        before, polynomial = polynomial, sp.expand(X * polynomial - n * before)
    return sp.expand(polynomial / sp.sqrt(sp.factorial(degree)))


def _natural(name: str, value: sp.Expr) -> int:
    if not (value.is_Integer and value >= 0):
        raise ValueError(f"Argument `{name}` must be a natural number, but it is `{value}`.")
    return int(value)


def _by_quadrature(name: str, function: sp.Expr, *, kinked: bool = False) -> Callable:
    """The printed forms stay finite for large |x|, which the textbook's may not."""
    return lambda nodes=NODES: QuadratureDual(name, sp.Lambda(X, function), kinked, int(nodes))


_SIGMOID = (1 + sp.tanh(X / 2)) / 2

ACTIVATIONS: dict[str, Callable] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "abs": lambda: HalfPowers(1, right=1, left=-1),
    "identity": lambda: HalfPowers(1, right=1, left=1),
    "step": lambda: HalfPowers(0, right=1, left=0),
    "sign": lambda: HalfPowers(0, right=1, left=-1),
    "erf": lambda: sp.erf(X),
    "gelu": lambda: X * (1 + sp.erf(X / sp.sqrt(2))) / 2,
    "sin": lambda: sp.sin(X),
    "cos": lambda: sp.cos(X),
    "exp": lambda: sp.exp(X),
    "gaussian": lambda: sp.exp(-(X**2)),
    "hermite": _hermite,
    "tanh": _by_quadrature("tanh", sp.tanh(X)),
    "sigmoid": _by_quadrature("sigmoid", _SIGMOID),
    "softplus": _by_quadrature("softplus", (X + sp.Abs(X)) / 2 + sp.log(1 + sp.exp(-sp.Abs(X)))),
    "silu": _by_quadrature("silu", X * _SIGMOID),
    "elu": _by_quadrature("elu", sp.Max(X, 0) + sp.exp(sp.Min(X, 0)) - 1, kinked=True),
}
"""A function of the parameters for each name: half powers, an expression in X or a rule."""
