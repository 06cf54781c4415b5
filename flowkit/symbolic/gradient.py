"""Matrix calculus on SymPy expressions: reverse mode for gradients, forward mode along a flow.

SymPy's own `.diff` returns 0 for `(Trace(A.T*X) - y)**2` and fails on masked losses, so the
rules are written out here, one per kind of node.
"""

from collections.abc import Callable, Mapping, Sequence

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, MatrixSymbol, Trace, Transpose
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.hadamard import HadamardPower, HadamardProduct, hadamard_product
from sympy.matrices.expressions.matexpr import MatrixElement

Expression = sp.Expr | MatrixExpr


class UnsupportedExpressionError(ValueError):
    """An expression holds a kind of node for which there is no differentiation rule."""


def gradient(
    loss: sp.Expr, parameters: Sequence[sp.Symbol | MatrixSymbol]
) -> dict[sp.Symbol | MatrixSymbol, Expression]:
    """Gradient of a scalar expression with respect to scalar and matrix symbols.

    Reverse mode: a scalar node e carries c with dL = c de, a matrix node E carries C with
    dL = tr(C^T dE).

    Args:
        loss: A scalar SymPy expression, real for real symbols.
        parameters: The symbols to differentiate by.

    Returns:
        A gradient of the parameter's own shape for each parameter.

    Raises:
        UnsupportedExpressionError: a node that depends on a parameter has no rule.
    """
    return _Accumulator(parameters).run(loss)


class _Accumulator:
    """One backward sweep; `_SCALAR` and `_MATRIX` hold the rule of each kind of node."""

    def __init__(self, parameters: Sequence[sp.Symbol | MatrixSymbol]):
        self.terms: dict[sp.Symbol | MatrixSymbol, list] = {p: [] for p in parameters}

    def run(self, loss: sp.Expr) -> dict[sp.Symbol | MatrixSymbol, Expression]:
        self.scalar(loss, sp.Integer(1))
        return {p: _total(p, terms) for p, terms in self.terms.items()}

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


def _total(parameter: sp.Symbol | MatrixSymbol, terms: list) -> Expression:
    if isinstance(parameter, MatrixSymbol):
        return MatAdd(*terms).doit() if terms else sp.ZeroMatrix(*parameter.shape)
    return sp.Add(*terms)


def _rule(table: dict[type, Callable], node: sp.Basic, otherwise: Callable) -> Callable:
    return next((rule for kind, rule in table.items() if isinstance(node, kind)), otherwise)


def _unsupported(_sweep: object, node: sp.Basic, _cotangent: object) -> None:
    is_entry = isinstance(node, MatrixElement | sp.Sum)
    hint = " (write an entry or a bilinear form as a trace)" if is_entry else ""
    raise UnsupportedExpressionError(
        f"Argument `loss` must be built from nodes with a known derivative, but "
        f"`{node}` is a `{type(node).__name__}`, which has none here{hint}."
    )


def _scalar_sum(sweep: _Accumulator, node: sp.Add, c: sp.Expr) -> None:
    for term in node.args:
        sweep.scalar(term, c)


def _scalar_product(sweep: _Accumulator, node: sp.Mul, c: sp.Expr) -> None:
    for i, factor in enumerate(node.args):
        sweep.scalar(factor, c * sp.Mul(*node.args[:i], *node.args[i + 1 :]))


def _scalar_function(sweep: _Accumulator, node: sp.Expr, c: sp.Expr) -> None:
    if not isinstance(node, sp.Pow | sp.Function) or isinstance(node, sp.Piecewise):
        _unsupported(sweep, node, c)
    for i, argument in enumerate(node.args):
        if not sweep.depends(argument):
            continue
        slot = sp.Dummy(real=True)
        partial = node.func(*node.args[:i], slot, *node.args[i + 1 :]).diff(slot)
        if partial.has(sp.Derivative, sp.Subs):
            _unsupported(sweep, node, c)
        sweep.scalar(argument, c * partial.subs(slot, argument))


def _trace(sweep: _Accumulator, node: Trace, c: sp.Expr) -> None:
    sweep.matrix(node.arg, c * sp.Identity(node.arg.rows))


def _determinant(sweep: _Accumulator, node: sp.Determinant, c: sp.Expr) -> None:
    sweep.matrix(node.arg, c * node * Transpose(sp.Inverse(node.arg)))


def _matrix_sum(sweep: _Accumulator, node: MatAdd, C: MatrixExpr) -> None:
    for term in node.args:
        sweep.matrix(term, C)


def _matrix_product(sweep: _Accumulator, node: MatMul, C: MatrixExpr) -> None:
    coefficient, factors = node.as_coeff_matrices()
    if sweep.depends(coefficient):
        sweep.scalar(coefficient, Trace(C.T * MatMul(*factors)).doit())
    for i, factor in enumerate(factors):
        before = [f.T for f in reversed(factors[:i])]
        after = [f.T for f in reversed(factors[i + 1 :])]
        sweep.matrix(factor, MatMul(coefficient, *before, C, *after).doit())


def _transpose(sweep: _Accumulator, node: Transpose, C: MatrixExpr) -> None:
    sweep.matrix(node.arg, C.T.doit())


def _hadamard_product(sweep: _Accumulator, node: HadamardProduct, C: MatrixExpr) -> None:
    for i, factor in enumerate(node.args):
        sweep.matrix(factor, hadamard_product(*node.args[:i], *node.args[i + 1 :], C))


def _hadamard_power(sweep: _Accumulator, node: HadamardPower, C: MatrixExpr) -> None:
    if sweep.depends(node.exp):
        _unsupported(sweep, node, C)
    partial = node.exp * HadamardPower(node.base, node.exp - 1)
    if node.exp == 2:
        partial = 2 * node.base
    sweep.matrix(node.base, hadamard_product(partial, C))


def _elementwise(sweep: _Accumulator, node: ElementwiseApplyFunction, C: MatrixExpr) -> None:
    slot = sp.Dummy(real=True)
    body = node.function(slot)
    partial = lambda by: ElementwiseApplyFunction(sp.Lambda(slot, body.diff(by)), node.expr)
    for parameter in body.free_symbols & set(sweep.terms):
        sweep.scalar(parameter, Trace(C.T * partial(parameter)))
    sweep.matrix(node.expr, hadamard_product(partial(slot), C))


def _inverse(sweep: _Accumulator, node: sp.Inverse, C: MatrixExpr) -> None:
    sweep.matrix(node.arg, MatMul(-1, node.T, C, node.T).doit())


def _matrix_power(sweep: _Accumulator, node: MatPow, C: MatrixExpr) -> None:
    if not (node.exp.is_Integer and node.exp > 0):
        _unsupported(sweep, node, C)
    for i in range(int(node.exp)):
        before, after = (MatPow(node.base.T, k) for k in (i, node.exp - 1 - i))
        sweep.matrix(node.base, MatMul(before, C, after).doit())


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


def rate_along(expression: MatrixExpr, rates: Mapping[MatrixSymbol, MatrixExpr]) -> MatrixExpr:
    """Time derivative of a matrix polynomial along a flow, expanded.

    Args:
        expression: Sums, products and transposes of matrix symbols.
        rates: The rate of each symbol that moves; the others are constant.

    Returns:
        d(expression)/dt as a sum of products; the exact zero matrix where it is conserved.

    Raises:
        UnsupportedExpressionError: the expression is not such a polynomial.
    """
    return expand(_forward(expression, rates))


def _forward(node: MatrixExpr, rates: Mapping[MatrixSymbol, MatrixExpr]) -> MatrixExpr:
    if node in rates:
        return rates[node]
    if not node.has(*rates):
        return sp.ZeroMatrix(*node.shape)
    if isinstance(node, MatAdd):
        return MatAdd(*(_forward(term, rates) for term in node.args))
    if isinstance(node, Transpose):
        return _forward(node.arg, rates).T
    if isinstance(node, MatMul):
        terms = [
            MatMul(*node.args[:i], _forward(factor, rates), *node.args[i + 1 :])
            for i, factor in enumerate(node.args)
            if factor.has(*rates)
        ]
        return MatAdd(*terms)
    raise UnsupportedExpressionError(
        f"Argument `expression` must be a polynomial of matrix symbols, but `{node}` is a "
        f"`{type(node).__name__}`."
    )


def expand(expression: MatrixExpr) -> MatrixExpr:
    """Expand into a sum of products; equal terms of opposite sign cancel exactly."""
    return sp.expand(expression.doit()).doit()
