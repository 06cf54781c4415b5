"""Proofs about balanced factors: what is conserved, and what that makes of the product's flow."""

import sympy as sp
from sympy import MatAdd, MatMul, MatPow, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, mathml, vanishing
from flowkit.symbolic.gradient import rate_along


def exponents(term: MatrixExpr, flow: Derivation) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Read c, p and q off a term c (W W^T)^p G (W^T W)^q of the end-to-end flow."""
    (W,), (G,) = flow.state, flow.data
    coefficient, chain = _signed_chain(term)
    at = chain.index(G)
    exponents = []
    for side, base in ((chain[:at], W * W.T), (chain[at + 1 :], W.T * W)):
        powers = [f.args if isinstance(f, MatPow) else (f, sp.Integer(1)) for f in side]
        if any(power[0] != base for power in powers):
            raise ArithmeticError(f"`{term}` is no term of an end-to-end flow.")
        exponents.append(sp.Add(*(exponent for _, exponent in powers)))
    return coefficient, *exponents


def conservation_claim(law: MatrixExpr, rates: dict[MatrixSymbol, MatrixExpr]) -> Claim:
    """The claim that a matrix polynomial is constant along the rates of its symbols."""

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


def prove_product_rule(flow: Derivation, end_to_end: Derivation) -> Verdict:
    """Prove an end-to-end flow from the layer flow, with balancedness as rewriting rules.

    With P = W_N W_N^T and Q = W_1^T W_1, the rules turn W W^T into P^N and W^T W into Q^N. The
    positive semidefinite root is unique, so (W W^T)^{k/N} is P^k and (W^T W)^{k/N} is Q^k, and
    the product rule must become -sum_j P^{N-j} G Q^{j-1}.
    """
    (G,), depth = flow.data, len(flow.state)
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
    stated = [
        _powers_of(P, Q, term, end_to_end, depth) for term in MatAdd.make_args(end_to_end.rates[0])
    ]
    left_over = [term for term in derived if term not in stated]
    passed = grams and not left_over and len(stated) == len(set(derived)) == depth
    return Verdict(
        passed=passed,
        kind="proved",
        measured=f"{depth - len(left_over)} of {len(derived)} layer terms match, "
        f"roots of the Gram matrices match: {grams}",
        expected=f"{depth} of {depth} match, roots match",
    )


def _powers_of(P: tuple, Q: tuple, term: MatrixExpr, flow: Derivation, depth: int):
    """A term -(W W^T)^{k/N} G (W^T W)^{l/N} of the stated flow, as the chains P^k and Q^l."""
    coefficient, left, right = exponents(term, flow)
    k, l = depth * left, depth * right
    return (P * int(k), Q * int(l)) if coefficient == -1 and k.is_Integer and l.is_Integer else None


def diagonal_claim(flow: Derivation, s: sp.Symbol, g: sp.Symbol, rate: sp.Expr) -> Claim:
    """The claim that an end-to-end flow has the given rate on every entry of a diagonal W."""
    return Claim(
        name=f"singular value flow on diagonal matrices: {flow.name}",
        statement="On W = diag(s_1, s_2) the diagonal of the end-to-end flow is the law.",
        source="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3",
        check=lambda: _check_diagonal(flow, s, g, rate),
        formulas=(mathml(rate, rate_of=s),),
    )


def _check_diagonal(flow: Derivation, s: sp.Symbol, g: sp.Symbol, rate: sp.Expr) -> Verdict:
    """Evaluate the matrix flow at an explicit diagonal W, where powers act on the entries."""
    values = sp.symbols("s_1 s_2", positive=True)
    G = sp.Matrix(2, 2, sp.symbols("g_:2:2", real=True))
    power = lambda exponent: sp.diag(*((value**2) ** exponent for value in values))
    product = sp.zeros(2, 2)
    for term in MatAdd.make_args(flow.rates[0]):
        coefficient, left, right = exponents(term, flow)
        product += coefficient * power(left) * G * power(right)
    return vanishing(
        *(product[i, i] - rate.subs({s: values[i], g: G[i, i]}) for i in range(len(values)))
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
