"""Matrix calculus on SymPy expressions: gradients, and rates of change along a flow."""

import itertools
from collections.abc import Mapping, Sequence

import sympy as sp
from sympy import (
    HadamardProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Trace,
    Transpose,
)

from flowkit.symbolic.adjoints import (
    Sweep,
    UnsupportedExpressionError as UnsupportedExpressionError,
    Variable,
)

Expression = sp.Expr | MatrixExpr


def gradient(loss: sp.Expr, parameters: Sequence[Variable]) -> dict[Variable, Expression]:
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
    sweep = Sweep(parameters)
    sweep.scalar(loss, sp.Integer(1))
    meanings = {name: node for node, name in sweep.names.items()}
    return {p: _total(p, terms).xreplace(meanings) for p, terms in sweep.terms.items()}


def _total(parameter: Variable, terms: list) -> Expression:
    if isinstance(parameter, MatrixSymbol):
        return MatAdd(*terms).doit() if terms else sp.ZeroMatrix(*parameter.shape)
    return sp.Add(*terms)


def rate_along(expression: Expression, rates: Mapping[Variable, Expression]) -> Expression:
    """Time derivative of a scalar or matrix expression along a flow, expanded.

    A scalar e moves at de/dt = sum_p <grad_p e, dp/dt>. A matrix E moves at the gradient with
    respect to C of d tr(C^T E)/dt, which is linear in C: the rules of the gradient serve twice.

    Args:
        expression: What moves: a scalar or matrix expression of any kind that `gradient` takes.
        rates: The rate of each symbol that moves; the others are constant.

    Returns:
        d(expression)/dt as a sum of products; exactly zero where it is conserved.

    Raises:
        UnsupportedExpressionError: a node that moves has no derivative rule.
    """
    if not isinstance(expression, MatrixExpr):
        return expand(_scalar_rate(expression, rates))
    C = MatrixSymbol("cotangent", *expression.shape)
    linear = _scalar_rate(Trace(C.T * expression), rates)
    return expand(gradient(linear, [C])[C])


def _scalar_rate(expression: sp.Expr, rates: Mapping[Variable, Expression]) -> sp.Expr:
    gradients = gradient(expression, tuple(rates))
    terms = (
        Trace(gradients[p].T * rate) if isinstance(p, MatrixSymbol) else gradients[p] * rate
        for p, rate in rates.items()
    )
    return sp.Add(*terms)


def expand(expression: Expression) -> Expression:
    """Expand into a sum of products; equal terms of opposite sign cancel exactly.

    Sums stay as they are under inverses, real powers and functions. Traces of products that are
    equal by rotation or transposition count as equal.
    """
    if isinstance(expression, MatrixExpr):
        return MatAdd(*_terms(expression.doit()), sp.ZeroMatrix(*expression.shape)).doit()
    scalar = expression.replace(lambda node: isinstance(node, Trace), _expand_trace)
    slots = {node: sp.Dummy() for node in scalar.atoms(Trace, sp.Determinant)}
    names = {slot: node for node, slot in slots.items()}
    return sp.expand(scalar.xreplace(slots)).xreplace(names)


def _terms(node: MatrixExpr) -> list[MatrixExpr]:
    """The summands of a matrix expression, with products multiplied out."""
    if isinstance(node, MatAdd):
        return [term for summand in node.args for term in _terms(summand)]
    if isinstance(node, MatPow) and node.exp.is_Integer and node.exp > 1:
        return _multiplied([node.base] * int(node.exp), MatMul)
    if isinstance(node, HadamardProduct):
        return _multiplied(node.args, HadamardProduct)
    if isinstance(node, MatMul):
        coefficient, factors = node.as_coeff_matrices()
        scalars = sp.Add.make_args(expand(coefficient))
        return [scalar * term for term in _multiplied(factors, MatMul) for scalar in scalars]
    return [node]


def _multiplied(factors: Sequence[MatrixExpr], product: type[MatrixExpr]) -> list[MatrixExpr]:
    """Every product of one summand from each factor, coefficients in front."""
    split = [[term.as_coeff_mmul() for term in _terms(factor)] for factor in factors]
    return [
        sp.Mul(*(coefficient for coefficient, _ in chosen))
        * product(*(matrix for _, matrix in chosen)).doit()
        for chosen in itertools.product(*split)
    ]


def _expand_trace(trace: Trace) -> sp.Expr:
    terms = MatAdd.make_args(expand(trace.arg))
    return sp.Add(*(_canonical_trace(term) for term in terms))


def _canonical_trace(term: MatrixExpr) -> sp.Expr:
    """The trace of one product, at the first of its rotations and those of its transpose."""
    is_product = isinstance(term, MatMul)
    coefficient, factors = term.as_coeff_matrices() if is_product else (sp.Integer(1), [term])
    transposed = [Transpose(factor).doit() for factor in reversed(factors)]
    rotations = (
        chain[i:] + chain[:i] for chain in (list(factors), transposed) for i in range(len(chain))
    )
    chosen = min(rotations, key=lambda chain: [sp.default_sort_key(factor) for factor in chain])
    return coefficient * Trace(MatMul(*chosen).doit()).doit()
