"""What cannot move: singular vectors that diagonalise the gradient, and the rank of the product.

Sources: Arora, Cohen, Hu, Luo 2019 (arXiv:1905.13655), Theorem 3, Lemma 2 and Corollary 1.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, defined, mathml, vanishing
from flowkit.symbolic.factorization import singular_value_flow
from flowkit.symbolic.spectral import M_QR, M_QY, M_RQ, M_XQ, S_Q, S_R, singular_vector_flow
from flowkit.symbolic.vanishing import vanishes

COROLLARY = "Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Corollary 1"
THEOREM = "Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3"
ENTRIES = (M_RQ, M_QR, M_XQ, M_QY)
VALUE = sp.Symbol("s", positive=True)


@dataclass(frozen=True)
class StationaryVectors:
    """The gradients at which no singular vector turns.

    Attributes:
        depth: The number of factors N.
        flow: The flow of the singular vectors.
        entries: What M_rq, M_qr, M_xq and M_qy must be for every rate to vanish.
        determinant: Determinant of the linear system of the two turns between u_r, v_r and u_q,
            v_q, in s_r and s_q.
        source: Where the corollary is published.
        claims: That the entries off the diagonal vanish, with checks.
    """

    depth: int | sp.Symbol
    flow: Derivation
    entries: tuple[sp.Expr, ...]
    determinant: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return f"stationary singular vectors, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The entries of the gradient at which no vector turns."""
        names = ("M_{rq}", "M_{qr}", "M_{xq}", "M_{qy}")
        return tuple(defined(*pair) for pair in zip(names, self.entries, strict=True))


@dataclass(frozen=True)
class RankPreservation:
    """Why a singular value neither leaves zero nor reaches it, for two factors or more.

    Attributes:
        depth: The number of factors N.
        flow: The flow of one singular value.
        log_rate: d(log s)/dt in the symbols s and g.
        exponent: The power of s in it: where it is not negative, log s cannot reach -oo in a
            finite time.
        source: Where the law is published.
        claims: Both directions, with checks.
    """

    depth: int | sp.Symbol
    flow: Derivation
    log_rate: sp.Expr
    exponent: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return f"rank preservation, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The rate of the logarithm of a singular value."""
        return (defined(r"d(\log s)/dt", self.log_rate),)


@cache
def stationary_vectors(depth: int | sp.Symbol) -> StationaryVectors:
    """Solve for the M = U^T G V at which the singular vectors of the product stand still.

    The turns of u_q towards u_r and of v_q towards v_r are linear in M_rq and M_qr, with the
    determinant F^2 (s_q^2 - s_r^2): for distinct singular values only M_rq = M_qr = 0 solves
    them. Beside the basis, a positive s_q leaves only M_xq = M_qy = 0. So U^T G V is diagonal.

    Args:
        depth: The number of factors N, an integer or a SymPy symbol. With two or more, singular
            values that are not zero stay so (see `rank_preservation`), as is assumed here.

    Returns:
        The entries, the determinant, and claims on both.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1905.13655, Corollary 1. Checked by tests/symbolic/test_deep_linear_stationary.py.
    """
    vectors = _solved(singular_vector_flow(depth), depth)
    return replace(vectors, claims=(corollary_claim(vectors), determinant_claim(vectors)))


def _solved(flow: Derivation, depth: int | sp.Symbol) -> StationaryVectors:
    (solution,) = sp.linsolve(list(_positive(flow.rates)), *ENTRIES)
    between = sp.Matrix(flow.rates[:2]).jacobian([M_RQ, M_QR])
    return StationaryVectors(
        depth=depth,
        flow=flow,
        entries=tuple(solution),
        determinant=sp.factor(between.det()),
        source=COROLLARY,
    )


def _positive(rates: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    """The rates at positive singular values, as which the symbols of the flow are not declared."""
    s, z = sp.symbols("s z", positive=True)
    return tuple(sp.simplify(rate.subs({S_R: s, S_Q: z})) for rate in rates)


def corollary_claim(vectors: StationaryVectors) -> Claim:
    """The claim that stationary singular vectors make U^T G V diagonal."""
    names = ("M_rq", "M_qr", "M_xq", "M_qy")

    def check() -> Verdict:
        found = zip(names, vectors.entries, strict=True)
        return Verdict(
            passed=all(entry == 0 for entry in vectors.entries),
            kind="proved",
            measured=", ".join(f"{name} = {entry}" for name, entry in found),
            expected="0 each, and nothing else",
        )

    return Claim(
        name=f"stationary singular vectors, depth {vectors.depth}",
        statement="For distinct nonzero singular values, singular vectors that stand still make "
        "U^T G V diagonal.",
        source=COROLLARY,
        check=check,
    )


def determinant_claim(vectors: StationaryVectors) -> Claim:
    """The claim that the system is regular exactly where the two singular values differ."""
    power = sp.Integer(1) / vectors.depth
    gap = (S_Q**2) ** power - (S_R**2) ** power
    return Claim(
        name=f"regular for distinct singular values, depth {vectors.depth}",
        statement="The determinant is F^2 (s_q^2 - s_r^2), F = 1/(s_q^{2/N} - s_r^{2/N}).",
        source=COROLLARY,
        check=lambda: vanishing(vectors.determinant * gap**2 - (S_Q**2 - S_R**2)),
        formulas=(mathml(vectors.determinant),),
    )


@cache
def rank_preservation(depth: int | sp.Symbol) -> RankPreservation:
    """Show that the end-to-end flow of two or more factors keeps the rank.

    d(log s)/dt = -N s^{1-2/N} g: the exponent is not negative for N >= 2, so that log s moves at
    a bounded speed while s and g are bounded, and a positive s stays positive; and s = 0 is at
    rest. One factor has neither property.

    Args:
        depth: The number of factors N, an integer or a positive SymPy symbol that stands for one;
            at least 2.

    Returns:
        The rate of log s per unit of flow time, its exponent, and claims on both.

    Raises:
        ValueError: `depth` is no such number.

    Source:
        arXiv:1905.13655, Theorem 3. Checked by
        tests/symbolic/test_deep_linear_stationary.py.
    """
    flow = singular_value_flow(depth)  # refuses what is no depth
    if depth == 1:
        raise ValueError(f"Argument `depth` must be at least 2, but it is `{depth}`.")
    preservation = _logarithmic(flow, depth)
    return replace(preservation, claims=(rest_claim(preservation), bounded_claim(preservation)))


def _logarithmic(flow: Derivation, depth: int | sp.Symbol) -> RankPreservation:
    (s,), (rate,) = flow.state, flow.rates
    log_rate = sp.powsimp(sp.powdenest(rate.subs(s, VALUE)) / VALUE)
    exponent = sp.simplify(VALUE * log_rate.diff(VALUE) / log_rate)
    return RankPreservation(
        depth=depth, flow=flow, log_rate=log_rate, exponent=exponent, source=THEOREM
    )


def rest_claim(preservation: RankPreservation) -> Claim:
    """The claim that a singular value of zero has the rate zero."""
    (s,), (rate,) = preservation.flow.state, preservation.flow.rates
    return Claim(
        name=f"a zero singular value rests, depth {preservation.depth}",
        statement="The rate of a singular value that is zero is zero: the rank does not grow.",
        source=THEOREM,
        check=lambda: vanishing(_beyond_one(rate, preservation.depth).subs(s, 0)),
        formulas=(mathml(rate, rate_of=s),),
    )


def bounded_claim(preservation: RankPreservation) -> Claim:
    """The claim that log s moves at a bounded speed down to s = 0."""

    def check() -> Verdict:
        (g,) = preservation.flow.data
        exponent = _beyond_one(preservation.exponent, preservation.depth)
        factor = preservation.log_rate / (g * VALUE**preservation.exponent)
        constant = vanishes(factor.diff(VALUE))
        return Verdict(
            passed=bool(exponent.is_nonnegative) and constant,
            kind="proved",
            measured=f"exponent {exponent}, not negative: {exponent.is_nonnegative}",
            expected="a constant times g times a power of s that is not negative",
        )

    return Claim(
        name=f"a positive singular value stays positive, depth {preservation.depth}",
        statement="d(log s)/dt is bounded while s and G are: the rank does not fall.",
        source=THEOREM,
        check=check,
        formulas=(mathml(preservation.log_rate, rate_of=sp.Symbol("log s")),),
    )


def _beyond_one(expression: sp.Expr, depth: int | sp.Symbol) -> sp.Expr:
    """A symbolic depth as 2 + k, k = 0, 1, .., with every exponent over one denominator."""
    k = sp.Symbol("k", integer=True, nonnegative=True)
    shifted = (
        sp.sympify(expression).subs(depth, k + 2) if isinstance(depth, sp.Symbol) else expression
    )
    powers = lambda e: sp.Pow(e.base, sp.factor(sp.together(e.exp)))
    return sp.together(shifted.replace(lambda e: isinstance(e, sp.Pow), powers))
