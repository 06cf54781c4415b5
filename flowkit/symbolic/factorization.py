"""Flows of deep linear factorizations W = W_N ... W_1, at matrix level and symbolic sizes.

Sources: Arora, Cohen, Hazan 2018 (arXiv:1802.06509); Arora, Cohen, Hu, Luo 2019
(arXiv:1905.13655).
"""

import itertools
from functools import cache

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim
from flowkit.symbolic.balancedness import (
    conservation_claim,
    diagonal_claim,
    exponents,
    prove_product_rule,
)
from flowkit.symbolic.derivation import Derivation
from flowkit.symbolic.gradient import gradient
from flowkit.symbolic.rewriting import zero_matrices


@cache
def factor_flow(depth: int) -> Derivation:
    """Gradient flow of phi(W_1, .., W_N) = l(W_N ... W_1) on each factor.

    dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T with G = grad l at the product. Derived by
    the chain rule: the differential of phi is that of <G, W_N ... W_1> at fixed G.

    Args:
        depth: The number of factors N.

    Returns:
        State W_1 .. W_N, with W_j of symbolic shape d_j x d_{j-1}; data G of shape d_N x d_0;
        conserved W_{j+1}^T W_{j+1} - W_j W_j^T, each with its proof; and the claim that the
        rates are the published ones.

    Raises:
        ValueError: `depth` is not a positive integer.

    Source:
        arXiv:1802.06509, Theorem 1. Checked by tests/test_symbolic.py.
    """
    _check_depth(depth)
    factors, G = _factors(depth)
    product = MatMul(*reversed(factors)).doit()
    gradients = gradient(sp.Trace(G.T * product), factors)
    rates = tuple((-gradients[factor]).doit() for factor in factors)
    conserved = tuple(
        upper.T * upper - lower * lower.T for lower, upper in itertools.pairwise(factors)
    )
    moving = dict(zip(factors, rates, strict=True))
    return Derivation(
        name=f"factor flow, depth {depth}",
        state=factors,
        rates=rates,
        data=(G,),
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509",
        conserved=conserved,
        claims=(
            *(conservation_claim(law, moving) for law in conserved),
            layer_claim(factors, rates, G),
        ),
    )


def layer_claim(
    factors: tuple[MatrixSymbol, ...], rates: tuple[MatrixExpr, ...], G: MatrixSymbol
) -> Claim:
    """The claim that the rates are the published ones, written out without differentiation."""
    depth = len(factors)
    chain = lambda parts: MatMul(*(factor.T for factor in parts))
    stated = [-chain(factors[j + 1 :]) * G * chain(factors[:j]) for j in range(depth)]
    return Claim(
        name=f"layer flow, depth {depth}",
        statement="dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T.",
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509",
        check=lambda: zero_matrices(*(a - b for a, b in zip(rates, stated, strict=True))),
    )


@cache
def end_to_end_flow(depth: int | sp.Symbol) -> Derivation:
    """Flow of the product W of balanced factors.

    dW/dt = -sum_{j=1..N} (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}; power 0 is the identity.

    Args:
        depth: The number of factors N; a SymPy symbol gives the sum unevaluated.

    Returns:
        State W and data G, both of symbolic shape m x n. For an integer depth, with the proof
        that it is the product rule applied to `factor_flow`.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1802.06509, Theorem 1. Checked by tests/test_symbolic.py.
    """
    _check_depth(depth, symbol_allowed=True)
    rows, columns = sp.symbols("m n", integer=True, positive=True)
    W, G = MatrixSymbol("W", rows, columns), MatrixSymbol("G", rows, columns)
    if isinstance(depth, sp.Symbol):
        j = sp.Symbol("j", integer=True, positive=True)
        rate = -sp.Sum(_end_to_end_term(W, G, j, depth), (j, 1, depth))
    else:
        rate = MatAdd(*(-_end_to_end_term(W, G, j, depth) for j in range(1, depth + 1))).doit()
    claims = () if isinstance(depth, sp.Symbol) else (_product_rule_claim(depth),)
    return Derivation(
        name=f"end-to-end flow, depth {depth}",
        state=(W,),
        rates=(rate,),
        data=(G,),
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1",
        claims=claims,
    )


@cache
def singular_value_flow(depth: int | sp.Symbol) -> Derivation:
    """Flow of one singular value s of the product of balanced factors.

    ds/dt = -N (s^2)^{1-1/N} g with g = <G, u v^T>. Derived from the end-to-end flow: between u
    and v, where W v = s u, (W W^T)^p acts as (s^2)^p.

    Args:
        depth: The number of factors N, an integer or a SymPy symbol.

    Returns:
        State s (nonnegative) and data g.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1905.13655, Theorem 3. Checked by tests/test_symbolic.py.
    """
    _check_depth(depth, symbol_allowed=True)
    s, g = sp.Symbol("s", nonnegative=True), sp.Symbol("g", real=True)
    flow = end_to_end_flow(depth)
    rate = _between_singular_vectors(flow, s, g)
    return Derivation(
        name=f"singular value flow, depth {depth}",
        state=(s,),
        rates=(rate,),
        data=(g,),
        source="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3",
        claims=() if isinstance(depth, sp.Symbol) else (diagonal_claim(flow, s, g, rate),),
    )


def _between_singular_vectors(flow: Derivation, s: sp.Symbol, g: sp.Symbol) -> sp.Expr:
    """u^T (dW/dt) v where W v = s u: every (W W^T)^p and (W^T W)^p acts as (s^2)^p."""
    (rate,) = flow.rates
    sums = rate.atoms(sp.Sum)
    if not sums:
        return sp.Add(*(_mode_term(term, flow, s, g) for term in MatAdd.make_args(rate)))
    ((summand, limits),) = (one.args for one in sums)
    return -sp.summation(sp.simplify(_mode_term(summand, flow, s, g)), tuple(limits))


def _mode_term(term: MatrixExpr, flow: Derivation, s: sp.Symbol, g: sp.Symbol) -> sp.Expr:
    coefficient, left, right = exponents(term, flow)
    return sp.powsimp(coefficient * (s**2) ** left * g * (s**2) ** right)


def _check_depth(depth: object, *, symbol_allowed: bool = False) -> None:
    if isinstance(depth, int) and not isinstance(depth, bool) and depth >= 1:
        return
    if symbol_allowed and isinstance(depth, sp.Symbol):
        return
    allowed = "a positive integer or a SymPy symbol" if symbol_allowed else "a positive integer"
    raise ValueError(f"Argument `depth` must be {allowed}, but it is `{depth!r}`.")


def _factors(depth: int) -> tuple[tuple[MatrixSymbol, ...], MatrixSymbol]:
    sizes = sp.symbols(f"d_0:{depth + 1}", integer=True, positive=True)
    factors = tuple(MatrixSymbol(f"W_{j}", sizes[j], sizes[j - 1]) for j in range(1, depth + 1))
    return factors, MatrixSymbol("G", sizes[depth], sizes[0])


def _end_to_end_term(W: MatrixSymbol, G: MatrixSymbol, j, depth) -> MatrixExpr:
    left = MatPow(W * W.T, sp.sympify(j - 1) / depth)
    right = MatPow(W.T * W, sp.sympify(depth - j) / depth)
    return MatMul(left.doit(), G, right.doit()).doit()


def _product_rule_claim(depth: int) -> Claim:
    return Claim(
        name=f"end-to-end flow is the product rule, depth {depth}",
        statement="On balanced factors, the rate of W_N ... W_1 is the end-to-end flow.",
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1",
        check=lambda: prove_product_rule(factor_flow(depth), end_to_end_flow(depth)),
    )
