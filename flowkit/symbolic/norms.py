"""Norms and sums of matrices, as expressions that `derive` differentiates."""

import sympy as sp
from sympy import MatrixExpr, OneMatrix, Trace


def squared_norm(X: MatrixExpr) -> sp.Expr:
    """The squared Frobenius norm tr(X^T X), the sum of the squared entries.

    Args:
        X: A real matrix expression.

    Returns:
        A scalar expression.

    Raises:
        ValueError: `X` is no matrix expression.
    """
    _check_matrix(X)
    return Trace(X.T * X)


def frobenius_norm(X: MatrixExpr) -> sp.Expr:
    """The Frobenius norm tr(X^T X)^{1/2}; it has no gradient at X = 0.

    Args:
        X: A real matrix expression.

    Returns:
        A scalar expression.

    Raises:
        ValueError: `X` is no matrix expression.
    """
    return sp.sqrt(squared_norm(X))


def schatten_norm(X: MatrixExpr, p: sp.Expr | int | float) -> sp.Expr:
    """The Schatten norm tr((X^T X)^{p/2})^{1/p} = (sum_r s_r^p)^{1/p} of the singular values s_r.

    For p < 1 it is a quasi-norm. Singular values that vanish add nothing to the gradient, which is
    the derivative where the rank is constant.

    Args:
        X: A real matrix expression.
        p: A positive number, or a symbol declared positive.

    Returns:
        A scalar expression.

    Raises:
        ValueError: `X` is no matrix expression, or `p` is not known to be positive.

    Source:
        d tr(S^q) = q tr(S^{q-1} dS) for symmetric S; Arora, Cohen, Hu, Luo 2019,
        arXiv:1905.13655 (quasi-norms). Checked by tests/symbolic/test_norms.py.
    """
    exponent = sp.nsimplify(p)
    if exponent.is_positive is not True:
        raise ValueError(f"Argument `p` must be positive, but it is `{p}`.")
    return Trace(_gram(X) ** (exponent / 2)) ** (1 / exponent)


def nuclear_norm(X: MatrixExpr) -> sp.Expr:
    """The nuclear norm tr (X^T X)^{1/2}, the sum of the singular values.

    Args:
        X: A real matrix expression.

    Returns:
        A scalar expression; its gradient is U V^T for X = U diag(s) V^T of constant rank.

    Raises:
        ValueError: `X` is no matrix expression.
    """
    return schatten_norm(X, 1)


def entry_sum(X: MatrixExpr) -> sp.Expr:
    """The sum of the entries, tr(1^T X 1) with vectors of ones.

    Args:
        X: A real matrix expression.

    Returns:
        A scalar expression.

    Raises:
        ValueError: `X` is no matrix expression.
    """
    _check_matrix(X)
    return Trace(OneMatrix(1, X.rows) * X * OneMatrix(X.cols, 1))


def _gram(X: MatrixExpr) -> MatrixExpr:
    """X^T X, or X X^T where that is known to be smaller: both have the same nonzero spectrum."""
    _check_matrix(X)
    return X * X.T if (X.cols - X.rows).is_positive else X.T * X


def _check_matrix(X: MatrixExpr) -> None:
    if not isinstance(X, MatrixExpr):
        raise ValueError(
            f"Argument `X` must be a matrix expression, but it is a `{type(X).__name__}`."
        )
