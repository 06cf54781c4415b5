"""Flows of deep linear factorizations W = W_N ... W_1, at matrix level and symbolic sizes.

Sources: Arora, Cohen, Hazan 2018 (arXiv:1802.06509); Arora, Cohen, Hu, Luo 2019
(arXiv:1905.13655).
"""

import itertools
from functools import cache

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, mathml
from flowkit.symbolic.gradient import gradient, rate_along


@cache
def factor_flow(depth: int) -> Derivation:
    """Gradient flow of phi(W_1, .., W_N) = l(W_N ... W_1) on each factor.

    dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T with G = grad l at the product. Derived by
    the chain rule: the differential of phi is that of <G, W_N ... W_1> at fixed G.

    Args:
        depth: The number of factors N.

    Returns:
        State W_1 .. W_N, with W_j of symbolic shape d_j x d_{j-1}; data G of shape d_N x d_0;
        conserved W_{j+1}^T W_{j+1} - W_j W_j^T, each with its proof.

    Raises:
        ValueError: `depth` is not a positive integer.

    Source:
        arXiv:1802.06509, equation 9 and Theorem 1. Checked by tests/test_symbolic.py.
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
        claims=tuple(_conservation_claim(law, moving) for law in conserved),
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
    j = sp.Symbol("j", integer=True, positive=True)
    between_vectors = (s**2) ** ((j - 1) / depth) * g * (s**2) ** ((depth - j) / depth)
    rate = -sp.summation(sp.simplify(sp.powsimp(between_vectors)), (j, 1, depth))
    return Derivation(
        name=f"singular value flow, depth {depth}",
        state=(s,),
        rates=(rate,),
        data=(g,),
        source="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3",
    )


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


def _conservation_claim(law: MatrixExpr, rates: dict[MatrixSymbol, MatrixExpr]) -> Claim:
    def check() -> Verdict:
        defect = rate_along(law, rates)
        return Verdict(
            passed=isinstance(defect, sp.ZeroMatrix),
            kind="proved",
            measured=f"d/dt = {defect}",
            expected="d/dt = 0, the exact zero matrix",
        )

    return Claim(
        name=f"conserved: {law}",
        statement=f"{law} is constant along the flow, for any loss.",
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509, proof of Theorem 1",
        check=check,
        formulas=(mathml(law),),
    )


def _product_rule_claim(depth: int) -> Claim:
    return Claim(
        name=f"end-to-end flow is the product rule, depth {depth}",
        statement="On balanced factors, the rate of W_N ... W_1 is the end-to-end flow.",
        source="Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1",
        check=lambda: _check_product_rule(depth),
    )


def _check_product_rule(depth: int) -> Verdict:
    """Prove the end-to-end flow from the factor flow, with balancedness as rewriting rules.

    With P = W_N W_N^T and Q = W_1^T W_1, the rules turn W W^T into P^N and W^T W into Q^N. The
    positive semidefinite root is unique, so (W W^T)^{k/N} is P^k and (W^T W)^{k/N} is Q^k, and
    the product rule must become -sum_j P^{N-j} G Q^{j-1}.
    """
    flow = factor_flow(depth)
    (G,) = flow.data
    chain = tuple(reversed(flow.state))
    upwards = dict(_balancedness_rule(law) for law in flow.conserved)
    downwards = {new: old for old, new in upwards.items()}
    P = (chain[0], chain[0].T)
    Q = (chain[-1].T, chain[-1])

    grams = _rewrite(chain + _transposed(chain), upwards) == P * depth
    grams &= _rewrite(_transposed(chain) + chain, downwards) == Q * depth

    product_rule = rate_along(MatMul(*chain).doit(), dict(zip(flow.state, flow.rates, strict=True)))
    layers = MatAdd.make_args(product_rule)
    derived = [_split_rewrite(layer, G, upwards, downwards) for layer in layers]
    stated = [(P * (depth - j), Q * (j - 1)) for j in range(1, depth + 1)]
    left_over = [term for term in derived if term not in stated]
    passed = grams and not left_over and len(derived) == len(set(derived)) == depth
    return Verdict(
        passed=passed,
        kind="proved",
        measured=f"{depth - len(left_over)} of {len(derived)} layer terms match, "
        f"roots of the Gram matrices match: {grams}",
        expected=f"{depth} of {depth} match, roots match",
    )


def _balancedness_rule(law: MatrixExpr) -> tuple[tuple, tuple]:
    """Read W_j W_j^T -> W_{j+1}^T W_{j+1} off the law that their difference is zero."""
    chains = dict(_signed_chain(term) for term in law.args)
    return chains[-1], chains[1]


def _signed_chain(term: MatrixExpr) -> tuple[sp.Expr, tuple[MatrixExpr, ...]]:
    coefficient, factors = term.as_coeff_matrices()
    return coefficient, tuple(factors)


def _transposed(chain: tuple[MatrixExpr, ...]) -> tuple[MatrixExpr, ...]:
    return tuple(factor.T for factor in reversed(chain))


def _split_rewrite(layer: MatrixExpr, G: MatrixSymbol, left_rules: dict, right_rules: dict):
    """Normal forms of the chains left and right of -G in one term of the product rule."""
    coefficient, chain = _signed_chain(layer)
    at = chain.index(G)
    sides = _rewrite(chain[:at], left_rules), _rewrite(chain[at + 1 :], right_rules)
    return sides if coefficient == -1 else None


def _rewrite(chain: tuple[MatrixExpr, ...], rules: dict) -> tuple[MatrixExpr, ...]:
    """Replace adjacent pairs of factors until no rule applies; each rule moves one layer on."""
    for i in range(len(chain) - 1):
        if (replacement := rules.get(chain[i : i + 2])) is not None:
            return _rewrite(chain[:i] + replacement + chain[i + 2 :], rules)
    return chain
