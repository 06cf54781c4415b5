"""Matrices that are positive semidefinite by their form, so that real powers of them exist."""

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, Transpose
from sympy.core.traversal import bottom_up


def is_semidefinite(matrix: sp.Basic) -> bool:
    """Whether a matrix expression is symmetric positive semidefinite by its form.

    Identities, A^T A, A^T S A with such an S, even powers of symmetric matrices, and sums,
    nonnegative multiples and powers of such matrices are. A matrix whose form does not show it
    counts as not semidefinite, even if it is.

    Args:
        matrix: An expression of real matrix symbols.

    Returns:
        True where the form is a proof.
    """
    if isinstance(matrix, sp.Identity):
        return True
    if isinstance(matrix, MatAdd):
        return all(is_semidefinite(term) for term in matrix.args)
    if isinstance(matrix, MatPow):
        even = bool(matrix.exp.is_even) and _mirrored(matrix.base, matrix.base)
        return even or (bool(matrix.exp.is_real) and is_semidefinite(matrix.base))
    if isinstance(matrix, MatMul):
        coefficient, factors = matrix.as_coeff_matrices()
        return bool(coefficient.is_nonnegative) and _is_palindrome(factors)
    return False


def _is_palindrome(factors: list[MatrixExpr]) -> bool:
    """Whether factors read A^T .. A, with nothing or a semidefinite matrix in the middle."""
    if len(factors) < 2:
        return all(is_semidefinite(factor) for factor in factors)
    return _mirrored(factors[0], factors[-1]) and _is_palindrome(factors[1:-1])


def _mirrored(left: MatrixExpr, right: MatrixExpr) -> bool:
    """Whether two factors are each other's transpose, at the same normal form of every node."""
    simplify = lambda node: node.doit() if isinstance(node, MatrixExpr) else node
    normal = lambda matrix: bottom_up(matrix, simplify).as_dummy()
    return normal(Transpose(left)) == normal(right)


def has_real_powers(matrix: sp.Basic) -> bool:
    """Whether real powers of a matrix exist and SymPy keeps them: it rewrites (S^2)^{1/2} as S."""
    is_power = isinstance(matrix, MatPow)
    return is_semidefinite(matrix) and not (is_power and not is_semidefinite(matrix.base))


def real_powers(expression: sp.Basic) -> set[MatPow]:
    """The matrix powers in an expression whose exponent is no integer."""
    return {power for power in expression.atoms(MatPow) if not power.exp.is_Integer}
