"""Polynomials of matrices as sums of words, and rules that rewrite adjacent factors."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, ZeroMatrix

from flowkit.claim import Verdict
from flowkit.symbolic.gradient import expand

Word = tuple[MatrixExpr, ...]


def words(expression: MatrixExpr) -> Iterator[tuple[sp.Expr, Word]]:
    """The terms of a matrix polynomial, each as its scalar coefficient and its factors."""
    for term in MatAdd.make_args(expand(expression)):
        if not isinstance(term, ZeroMatrix):
            yield _word(term)


def _word(term: MatrixExpr) -> tuple[sp.Expr, Word]:
    """One product without whole powers, into which SymPy merges what stands side by side."""
    if isinstance(term, MatPow) and term.exp.is_Integer and term.exp > 0:
        coefficient, word = _word(term.base)
        return coefficient**term.exp, word * int(term.exp)
    if not isinstance(term, MatMul):
        return sp.Integer(1), (term,)
    coefficient, factors = term.as_coeff_matrices()
    scalars, parts = zip(*map(_word, factors), strict=True)
    return sp.Mul(coefficient, *scalars), tuple(itertools.chain(*parts))


def spelled(expression: MatrixExpr) -> MatrixExpr:
    """The same polynomial without powers, as `rate_along` takes it."""
    terms = (MatMul(c, *word, evaluate=False) for c, word in words(expression))
    return MatAdd(ZeroMatrix(*expression.shape), *terms)


def rewrite(expression: MatrixExpr, rules: Mapping[Word, MatrixExpr]) -> MatrixExpr:
    """Replace adjacent pairs of factors by the rules until none applies; the rules must end."""
    terms = [_rewrite_word(coefficient, word, rules) for coefficient, word in words(expression)]
    return expand(MatAdd(ZeroMatrix(*expression.shape), *terms))


def _rewrite_word(coefficient: sp.Expr, word: Word, rules: Mapping[Word, MatrixExpr]) -> MatrixExpr:
    for i in range(len(word) - 1):
        if (replacement := rules.get(word[i : i + 2])) is not None:
            return rewrite(MatMul(coefficient, *word[:i], replacement, *word[i + 2 :]), rules)
    return MatMul(coefficient, *word)


def coefficients(expression: MatrixExpr) -> dict[Word, sp.Expr]:
    """The scalar coefficient of every word of a matrix polynomial."""
    collected: dict[Word, sp.Expr] = defaultdict(lambda: sp.Integer(0))
    for coefficient, word in words(expression):
        collected[word] += coefficient
    return {word: sp.expand(coefficient) for word, coefficient in collected.items()}


def zero_matrices(*defects: MatrixExpr) -> Verdict:
    """A proof that every matrix polynomial is the exact zero matrix, or what is left of it."""
    left = [{w: c for w, c in coefficients(defect).items() if c != 0} for defect in defects]
    return Verdict(
        passed=not any(left),
        kind="proved",
        measured="terms left: " + ", ".join(str(len(terms)) for terms in left),
        expected="no terms left",
        numbers={"terms left": sum(len(terms) for terms in left)},
    )
