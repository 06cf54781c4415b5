"""Sharing of matrix products: evaluate many product chains with few multiplications.

Every adjacent pair of factors that occurs in two chains is given a name, the most frequent first
(the Re-Pair grammar compression of Larsson and Moffat 1999, on chains instead of strings). On the
layer flow of N factors this finds the prefix and suffix products: 3N - 4 multiplications instead
of order N^2.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import sympy as sp
from sympy import MatMul, MatrixExpr, MatrixSymbol, Transpose

from flowkit.symbolic.gradient import Expression


@dataclass(frozen=True)
class _Pair:
    """The product of two chain elements; (A^T, B^T) is stored as the transpose of (B, A)."""

    left: "_Element"
    right: "_Element"


@dataclass(frozen=True)
class _Element:
    item: "MatrixExpr | _Pair"
    transposed: bool = False

    @property
    def T(self) -> "_Element":
        return _Element(self.item, not self.transposed)


_Chain = tuple[_Element, ...]


def share_products(
    expressions: Sequence[Expression],
) -> tuple[list[tuple[MatrixSymbol, MatrixExpr]], list[Expression]]:
    """Name the products that several chains have in common.

    Args:
        expressions: Scalar and matrix expressions.

    Returns:
        Assignments (symbol, expression), each in terms of earlier symbols, and the expressions
        rewritten with them; the pair has the form that `sympy.lambdify` takes as its `cse`.
    """
    products = {n for e in expressions for n in sp.preorder_traversal(e) if isinstance(n, MatMul)}
    ordered = sorted(products, key=sp.default_sort_key)
    chains = _compress([_as_chain(product) for product in ordered])
    taken = {symbol.name for e in expressions for symbol in e.atoms(sp.Symbol, MatrixSymbol)}
    writer = _Writer(dict(zip(ordered, chains, strict=True)), taken)
    rewritten = [writer.rewrite(expression) for expression in expressions]
    return writer.assignments, rewritten


def _as_chain(product: MatMul) -> _Chain:
    _, factors = product.as_coeff_matrices()
    return tuple(
        _Element(f.arg, transposed=True) if isinstance(f, Transpose) else _Element(f)
        for f in factors
    )


def _compress(chains: list[_Chain]) -> list[_Chain]:
    """Replace the most frequent adjacent pair until none occurs twice."""
    while True:
        pairs = Counter(_pair(*two) for chain in chains for two in pairwise(chain))
        if not pairs:
            return chains
        element, occurrences = max(pairs.items(), key=lambda item: item[1])
        if occurrences < 2:
            return chains
        chains = [_replace(chain, element) for chain in chains]


def _pair(left: _Element, right: _Element) -> _Element:
    """The product of two elements, as a pair that its own transpose shares."""
    if left.transposed and right.transposed:
        return _Element(_Pair(right.T, left.T), transposed=True)
    return _Element(_Pair(left, right))


def _replace(chain: _Chain, element: _Element) -> _Chain:
    done: list[_Element] = []
    for factor in chain:
        if done and _pair(done[-1], factor).item == element.item:
            done[-1] = _pair(done[-1], factor)
        else:
            done.append(factor)
    return tuple(done)


class _Writer:
    """Writes compressed chains back as SymPy expressions, naming each pair once."""

    def __init__(self, chains: dict[MatMul, _Chain], taken: set[str]):
        self.chains = chains
        self.assignments: list[tuple[MatrixSymbol, MatrixExpr]] = []
        self.names: dict[MatrixExpr | _Pair, MatrixSymbol] = {}
        candidates = (f"product_{number}" for number in count())
        self.free_names = (name for name in candidates if name not in taken)

    def rewrite(self, node: sp.Basic) -> sp.Basic:
        if isinstance(node, MatMul):
            coefficient, _ = node.as_coeff_matrices()
            factors = [self.factor(element) for element in self.chains[node]]
            scale = () if coefficient == 1 else (self.rewrite(coefficient),)
            return MatMul(*scale, *factors, evaluate=False)
        if not node.args or isinstance(node, MatrixSymbol):
            return node
        return node.func(*(self.rewrite(argument) for argument in node.args))

    def factor(self, element: _Element) -> MatrixExpr:
        plain = element.item
        named = plain if isinstance(plain, MatrixSymbol | sp.Identity) else self.name(plain)
        return Transpose(named) if element.transposed else named

    def name(self, item: MatrixExpr | _Pair) -> MatrixSymbol:
        if item not in self.names:
            if isinstance(item, _Pair):
                value = MatMul(self.factor(item.left), self.factor(item.right), evaluate=False)
            else:
                value = self.rewrite(item)
            symbol = MatrixSymbol(next(self.free_names), *value.shape)
            self.assignments.append((symbol, value))
            self.names[item] = symbol
        return self.names[item]
