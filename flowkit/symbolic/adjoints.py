"""The rules of matrix calculus, one per kind of node: how a cotangent passes to the arguments.

A scalar node e carries c with dL = c de, a matrix node E carries C with dL = tr(C^T dE). SymPy's
own `.diff` returns 0 for `(Trace(A.T*X) - y)**2` and fails on masked losses.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, MatrixSymbol, Trace, Transpose
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.hadamard import (
    HadamardPower,
    HadamardProduct,
    hadamard_power,
    hadamard_product,
)
from sympy.matrices.expressions.matexpr import MatrixElement

from flowkit.symbolic.semidefinite import has_real_powers

Variable = sp.Symbol | MatrixSymbol

# Their derivative is zero almost everywhere, or depends on the side: a flow would stall or jump.
KINKED = (
    *(sp.Max, sp.Min, sp.Piecewise, sp.Mod),
    *(sp.sign, sp.arg, sp.Heaviside, sp.DiracDelta, sp.floor, sp.ceiling),
)

_OF_MATRICES = (Trace, sp.Determinant, MatrixElement, MatrixExpr)

_SLOT = sp.Dummy("x", real=True)  # one for all, so that equal functions of entries are equal

_HINTS: dict[type, str] = {
    MatrixElement: " (write an entry or a bilinear form as a trace)",
    sp.Sum: " (write a sum over entries as a trace)",
    MatPow: " (a real power needs a trace around it and a Gram matrix under it)",
    HadamardPower: " (its base must be a matrix and its exponent a constant)",
}


class UnsupportedExpressionError(ValueError):
    """An expression holds a kind of node for which there is no differentiation rule."""


class Sweep:
    """One backward sweep; `_SCALAR` and `_MATRIX` hold the rule of each kind of node.

    Attributes:
        terms: The cotangents that reached each parameter so far.
        names: Symbols that stand for traces and determinants in cotangents: SymPy's assumptions
            raise on some functions of a trace.
    """

    def __init__(self, parameters: Sequence[Variable]):
        self.terms: dict[Variable, list] = {p: [] for p in parameters}
        self.names: dict[sp.Expr, sp.Dummy] = {}

    def named(self, factor: sp.Expr) -> sp.Expr:
        for node in factor.atoms(Trace, sp.Determinant):
            self.names.setdefault(node, sp.Dummy())
        return factor.xreplace(self.names)

    def depends(self, node: sp.Basic) -> bool:
        return node.has(*self.terms)

    def scalar(self, node: sp.Expr, cotangent: sp.Expr) -> None:
        if node in self.terms:
            self.terms[node].append(cotangent)
        elif self.depends(node):
            _rule(_SCALAR, node, _scalar_function)(self, node, cotangent)

    def matrix(self, node: MatrixExpr, cotangent: MatrixExpr) -> None:
        if node in self.terms:
            self.terms[node].append(cotangent)
        elif self.depends(node):
            _rule(_MATRIX, node, _unsupported)(self, node, cotangent)


def _rule(table: dict[type, Callable], node: sp.Basic, otherwise: Callable) -> Callable:
    return next((rule for kind, rule in table.items() if isinstance(node, kind)), otherwise)


def _unsupported(_sweep: object, node: sp.Basic, _cotangent: object) -> NoReturn:
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(node, kind)), "")
    raise UnsupportedExpressionError(
        f"Argument `loss` must be built from nodes with a known derivative, but "
        f"`{node}` is a `{type(node).__name__}`, which has none here{hint}."
    )


def _scalar_sum(sweep: Sweep, node: sp.Add, c: sp.Expr) -> None:
    for term in node.args:
        sweep.scalar(term, c)


def _scalar_product(sweep: Sweep, node: sp.Mul, c: sp.Expr) -> None:
    for i, factor in enumerate(node.args):
        others = sp.Mul(*node.args[:i], *node.args[i + 1 :])
        sweep.scalar(factor, c * sweep.named(others))


def _scalar_function(sweep: Sweep, node: sp.Expr, c: sp.Expr) -> None:
    """The chain rule, with a fresh real symbol for every argument that depends on a parameter."""
    if not isinstance(node, sp.Pow | sp.Function) or isinstance(node, KINKED):
        _unsupported(sweep, node, c)
    if isinstance(node, sp.Pow) and node.exp.is_real is False:
        _unsupported(sweep, node, c)
    fresh = {a: sp.Dummy(real=True) for a in node.args if sweep.depends(a)}
    values = {slot: sweep.named(argument) for argument, slot in fresh.items()}
    function = node.func(*(fresh.get(a, sweep.named(a)) for a in node.args))
    for argument, slot in fresh.items():
        partial = function.diff(slot)
        if partial.has(sp.Derivative, sp.Subs, sp.DiracDelta):
            _unsupported(sweep, node, c)
        sweep.scalar(argument, c * partial.xreplace(values))


def _trace(sweep: Sweep, node: Trace, c: sp.Expr) -> None:
    sweep.matrix(node.arg, c * sp.Identity(node.arg.rows))


def _determinant(sweep: Sweep, node: sp.Determinant, c: sp.Expr) -> None:
    sweep.matrix(node.arg, c * sweep.named(node) * Transpose(sp.Inverse(node.arg)))


def _matrix_sum(sweep: Sweep, node: MatAdd, C: MatrixExpr) -> None:
    for term in node.args:
        sweep.matrix(term, C)


def _matrix_product(sweep: Sweep, node: MatMul, C: MatrixExpr) -> None:
    coefficient, factors = node.as_coeff_matrices()
    if sweep.depends(coefficient):
        sweep.scalar(coefficient, Trace(C.T * MatMul(*factors)).doit())
    for i, factor in enumerate(factors):
        before = [f.T for f in reversed(factors[:i])]
        after = [f.T for f in reversed(factors[i + 1 :])]
        sweep.matrix(factor, MatMul(sweep.named(coefficient), *before, C, *after).doit())


def _transpose(sweep: Sweep, node: Transpose, C: MatrixExpr) -> None:
    sweep.matrix(node.arg, C.T.doit())


def _hadamard_product(sweep: Sweep, node: HadamardProduct, C: MatrixExpr) -> None:
    for i, factor in enumerate(node.args):
        sweep.matrix(factor, hadamard_product(*node.args[:i], *node.args[i + 1 :], C))


def _hadamard_power(sweep: Sweep, node: HadamardPower, C: MatrixExpr) -> None:
    if node.exp.is_Matrix or not node.base.is_Matrix or sweep.depends(node.exp):
        _unsupported(sweep, node, C)
    if node.exp.is_real is False:
        _unsupported(sweep, node, C)
    partial = node.exp * hadamard_power(node.base, node.exp - 1)
    sweep.matrix(node.base, hadamard_product(partial, C))


def _elementwise(sweep: Sweep, node: ElementwiseApplyFunction, C: MatrixExpr) -> None:
    """f(x, a) on each entry x, where `a` may be a scalar parameter."""
    body = node.function(_SLOT)
    for inner in sp.preorder_traversal(body):
        moves = isinstance(inner, _OF_MATRICES) and sweep.depends(inner)
        if moves or isinstance(inner, KINKED):
            _unsupported(sweep, inner, C)
    for parameter in sweep.terms:
        if body.has(parameter):
            partial = _map(body.diff(parameter), node.expr)
            sweep.scalar(parameter, Trace(C.T * partial).doit())
    sweep.matrix(node.expr, hadamard_product(_map(body.diff(_SLOT), node.expr), C))


def _map(body: sp.Expr, matrix: MatrixExpr) -> MatrixExpr:
    """The function of the slot on each entry of a matrix."""
    if not body.has(_SLOT):
        return body * sp.OneMatrix(*matrix.shape)
    return ElementwiseApplyFunction(sp.Lambda(_SLOT, body), matrix)


def _inverse(sweep: Sweep, node: sp.Inverse, C: MatrixExpr) -> None:
    sweep.matrix(node.arg, MatMul(-1, node.T, C, node.T).doit())


def _matrix_power(sweep: Sweep, node: MatPow, C: MatrixExpr) -> None:
    if node.exp.is_Integer:
        _integer_power(sweep, node, C)
    elif node.exp.is_real and not sweep.depends(node.exp):
        _traced_power(sweep, node, C)
    else:
        _unsupported(sweep, node, C)


def _integer_power(sweep: Sweep, node: MatPow, C: MatrixExpr) -> None:
    """d(A^p) = sum_{i<p} A^i dA A^{p-1-i}, and d(A^-p) = -sum_{0<i<=p} A^-i dA A^{i-1-p}."""
    p = int(node.exp)
    left = range(p) if p > 0 else range(-1, p - 1, -1)
    power = lambda exponent: MatPow(node.base.T, exponent)
    terms = (MatMul(sp.sign(p), power(i), C, power(p - 1 - i)) for i in left)
    sweep.matrix(node.base, MatAdd(*terms).doit())


def _traced_power(sweep: Sweep, node: MatPow, C: MatrixExpr) -> None:
    """For a multiple C = c I of the identity: d tr(S^p) = p tr(S^{p-1} dS)."""
    factors = MatMul.make_args(C.doit())
    matrices = [factor for factor in factors if factor.is_Matrix]
    commutes = all(isinstance(matrix, sp.Identity) for matrix in matrices)
    if not (commutes and has_real_powers(node.base)):
        _unsupported(sweep, node, C)
    c = sp.Mul(*(factor for factor in factors if not factor.is_Matrix))
    sweep.matrix(node.base, MatMul(c, node.exp, MatPow(node.base, node.exp - 1)).doit())


_SCALAR: dict[type, Callable] = {
    Trace: _trace,
    sp.Determinant: _determinant,
    sp.Add: _scalar_sum,
    sp.Mul: _scalar_product,
}
_MATRIX: dict[type, Callable] = {
    MatAdd: _matrix_sum,
    MatMul: _matrix_product,
    Transpose: _transpose,
    HadamardProduct: _hadamard_product,
    HadamardPower: _hadamard_power,
    ElementwiseApplyFunction: _elementwise,
    sp.Inverse: _inverse,
    MatPow: _matrix_power,
}
