"""Sharing products changes the number of multiplications, never the value."""

import numpy as np
import sympy as sp
from hypothesis import given, settings, strategies as st
from sympy import MatMul, MatrixSymbol, Transpose

from flowkit.symbolic.products import share_products

SYMBOLS = [MatrixSymbol(name, 3, 3) for name in "ABC"]
VALUES = {
    symbol: np.random.default_rng(seed).normal(size=(3, 3)) for seed, symbol in enumerate(SYMBOLS)
}
FACTORS = st.sampled_from([*SYMBOLS, *map(Transpose, SYMBOLS)])
CHAINS = st.lists(st.lists(FACTORS, min_size=1, max_size=6), min_size=1, max_size=4)


def _value(node: sp.Basic, known: dict) -> np.ndarray | float:
    if node in known:
        return known[node]
    if isinstance(node, Transpose):
        return _value(node.arg, known).T
    if isinstance(node, MatMul):
        coefficient, factors = node.as_coeff_matrices()
        product = np.eye(3)
        for factor in factors:
            product = product @ _value(factor, known)
        return float(coefficient) * product
    return np.asarray(node.doit().as_explicit()).astype(float)


def _multiplications(expressions) -> int:
    products = [e for e in expressions if isinstance(e, MatMul)]
    return sum(len(e.as_coeff_matrices()[1]) - 1 for e in products)


@settings(deadline=None, max_examples=100)
@given(CHAINS)
def test_shared_products_have_the_value_of_the_chains(chains):
    expressions = [MatMul(2, *chain, evaluate=False) for chain in chains]
    assignments, rewritten = share_products(expressions)
    known = dict(VALUES)
    for symbol, value in assignments:
        known[symbol] = _value(value, known)
    for original, shared in zip(expressions, rewritten, strict=True):
        np.testing.assert_allclose(
            _value(shared, known), _value(original, VALUES), rtol=1e-9, atol=1e-9
        )
    assert _multiplications([value for _, value in assignments] + rewritten) <= _multiplications(
        expressions
    )
