"""Random scalar expressions over every node that has a derivative rule, and points for them."""

from collections.abc import Callable

import numpy as np
import sympy as sp
from sympy import (
    Determinant,
    HadamardProduct,
    Identity,
    Inverse,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Trace,
)
from sympy.matrices.expressions.hadamard import HadamardPower

from flowkit.symbolic import entry_sum, frobenius_norm, nuclear_norm, schatten_norm, squared_norm

m, n = sp.symbols("m n", integer=True, positive=True)
X, A = MatrixSymbol("X", m, n), MatrixSymbol("A", m, n)
Y, B = MatrixSymbol("Y", n, n), MatrixSymbol("B", n, n)
a, b, c = sp.symbols("a b c", real=True)

PARAMETERS = (X, Y, a, b)
ARGUMENTS = (*PARAMETERS, A, B, c)
SIZES = {m: 3, n: 2}

_x = sp.Symbol("x", real=True)
FUNCTIONS = (
    sp.sin,
    sp.cos,
    sp.tanh,
    sp.atan,
    sp.erf,
    sp.Lambda(_x, sp.exp(-(_x**2) / 4)),
    sp.Lambda(_x, sp.log(1 + _x**2)),
    sp.Lambda(_x, sp.sqrt(1 + _x**2)),
    sp.Lambda(_x, sp.sin(a * _x) + c),
    sp.Lambda(_x, 2 * _x + b),
)


def point(seed: int) -> tuple[np.ndarray, ...]:
    """Arrays for `ARGUMENTS`: matrices near twice the identity, scalars of order one."""
    rng = np.random.default_rng(seed)
    shape = lambda s: tuple(SIZES[size] for size in s.shape) if isinstance(s, MatrixSymbol) else ()
    centre = lambda s: 2 * np.eye(*shape(s)) if shape(s) else 0.7
    return tuple(centre(s) + 0.3 * rng.normal(size=shape(s)) for s in ARGUMENTS)


class Generator:
    """Draws expressions of bounded depth; matrices under an inverse are kept well-conditioned."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def pick(self, options: list | tuple):
        return options[self.rng.integers(len(options))]

    def loss(self, deepest: int = 4) -> sp.Expr:
        """A scalar of depth 1 to `deepest` that depends on X, which fixes the sizes."""
        drawn = self.scalar(int(self.rng.integers(1, deepest + 1)))
        return drawn if drawn.has(X) else drawn + Trace(A.T * X) * a

    def scalar(self, depth: int) -> sp.Expr:
        if depth == 0:
            return self.pick([a, b, c, a * b, sp.Rational(3, 2)])
        matrix = lambda: self.matrix(*self.pick([(m, n), (n, n), (n, m)]), depth - 1)
        full_rank = lambda: X + self.matrix(m, n, depth - 1).applyfunc(sp.sin) / 10
        rules: list[Callable] = [
            lambda: Trace(self.matrix(n, n, depth - 1)),
            lambda: Trace(self.matrix(m, m, depth - 1)) / m,
            lambda: Determinant(self.definite(n, depth - 1)),
            lambda: sp.log(Determinant(self.definite(n, depth - 1))),
            lambda: squared_norm(matrix()),
            lambda: entry_sum(matrix()),
            lambda: frobenius_norm(full_rank()),
            lambda: nuclear_norm(full_rank()),
            lambda: schatten_norm(full_rank(), self.pick([sp.Rational(1, 2), 3, 4])),
            lambda: Trace(MatPow(self.definite(n, depth - 1), sp.Rational(-2, 3))),
            lambda: self.scalar(depth - 1) + self.scalar(depth - 1),
            lambda: self.scalar(depth - 1) * self.scalar(depth - 1),
            lambda: self.pick([sp.sin, sp.cos, sp.atan])(self.scalar(depth - 1)),
            lambda: 1 / (1 + self.scalar(depth - 1) ** 2),
            lambda: sp.sqrt(1 + self.scalar(depth - 1) ** 2),
            lambda: 1 / (2 + sp.sin(self.scalar(depth - 1))),
        ]
        return self.pick(rules)()

    def matrix(self, rows: sp.Symbol, columns: sp.Symbol, depth: int) -> MatrixExpr:
        if depth == 0:
            return self.leaf(rows, columns)
        inner = self.pick([m, n])
        again = lambda: self.matrix(rows, columns, depth - 1)
        rules: list[Callable] = [
            lambda: again() + again(),
            lambda: again() - self.scalar(0) * again(),
            lambda: self.matrix(rows, inner, depth - 1) * self.matrix(inner, columns, depth - 1),
            lambda: self.matrix(columns, rows, depth - 1).T,
            lambda: HadamardProduct(again(), again()),
            lambda: HadamardPower(again(), self.pick([2, 3])),
            lambda: HadamardPower(
                again().applyfunc(sp.cosh) if depth == 1 else OneMatrix(rows, columns) * 2,
                self.pick([-1, sp.Rational(1, 2)]),
            ),
            lambda: again().applyfunc(self.pick(FUNCTIONS)),
            lambda: self.scalar(depth - 1) * again(),
        ]
        if rows == columns:
            rules += [
                lambda: Inverse(self.definite(rows, depth - 1)),
                lambda: MatPow(again().applyfunc(sp.sin), self.pick([2, 3])),
                lambda: MatPow(self.definite(rows, depth - 1), self.pick([-2, -3])),
            ]
        return self.pick(rules)()

    def definite(self, size: sp.Symbol, depth: int):
        """The identity plus a bounded Gram matrix."""
        root = self.matrix(self.pick([m, n]), size, depth).applyfunc(self.pick([sp.sin, sp.tanh]))
        return Identity(size) + root.T * root

    def leaf(self, rows: sp.Symbol, columns: sp.Symbol) -> MatrixExpr:
        leaves = {
            (m, n): [X, A, X - A],
            (n, m): [X.T, A.T],
            (n, n): [Y, B, Y.T, Identity(n), X.T * A],
            (m, m): [X * A.T, X * X.T, Identity(m), OneMatrix(m, m)],
        }
        return self.pick([*leaves[rows, columns], OneMatrix(rows, columns)])
