"""The end-to-end flow as an operator on the gradient: its eigenvalues, and that the loss falls.

Sources: Arora, Cohen, Hazan 2018 (arXiv:1802.06509), Theorem 1 and Claim 1.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, defined, mathml, vanishing
from flowkit.symbolic.factorization import end_to_end_flow
from flowkit.symbolic.spectral import ROOTS, pair_weight, rate_at_diagonal

SOURCE = "Arora, Cohen, Hazan 2018, arXiv:1802.06509, Claim 1"
S_I, S_J = sp.symbols("s_i s_j", positive=True)
VALUE = sp.Symbol("s", positive=True)


@dataclass(frozen=True)
class EndToEndSpectrum:
    """Eigenvalues of the operator that turns G into -dW/dt, in the basis u_i v_j^T.

    Attributes:
        depth: The number of factors N.
        flow: The end-to-end flow that the operator is read off.
        eigenvalue: (s_i^2 - s_j^2) / (s_i^{2/N} - s_j^{2/N}), in the symbols s_i and s_j.
        equal: Its limit for s_i = s_j = s.
        beside_zero: Its limit for s_i = s and s_j = 0.
        deep: The limit of the eigenvalue over N as N grows; for a symbolic depth, else None.
        source: Where the eigenvalues are published.
        claims: What they are, each with a check.
    """

    depth: int | sp.Symbol
    flow: Derivation
    eigenvalue: sp.Expr
    equal: sp.Expr
    beside_zero: sp.Expr
    deep: sp.Expr | None
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return f"spectrum of the end-to-end flow, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The eigenvalue, and its limits for equal singular values and beside a zero one."""
        parts = {r"\lambda_{ij}": self.eigenvalue, r"\lambda_{ii}": self.equal}
        parts |= {r"\lambda_{i0}": self.beside_zero}
        return tuple(defined(name, value) for name, value in parts.items())


@cache
def end_to_end_spectrum(depth: int | sp.Symbol) -> EndToEndSpectrum:
    """Diagonalise dW/dt = -sum_j (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N} as an operator on G.

    On u_i v_j^T a power of W W^T acts as that of s_i^2, one of W^T W as that of s_j^2. The sum
    of the powers of a_i = s_i^{2/N} and a_j is geometric: multiplied by a_i - a_j it telescopes.

    Args:
        depth: The number of factors N, an integer or a positive SymPy symbol.

    Returns:
        The eigenvalues per unit of flow time, their limits, and claims on both.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1802.06509, Claim 1. Checked by tests/symbolic/test_deep_linear_operator.py.
    """
    flow = end_to_end_flow(depth)
    above, below = _telescoped(flow, depth)
    eigenvalue = above / below
    at = {S_I: VALUE, S_J: VALUE}
    spectrum = EndToEndSpectrum(
        depth=depth,
        flow=flow,
        eigenvalue=eigenvalue,
        equal=sp.powsimp(sp.simplify((above.diff(S_I) / below.diff(S_I)).subs(at))),
        beside_zero=sp.powsimp(eigenvalue.subs({S_I: VALUE, S_J: 0})),
        deep=_deep(eigenvalue, depth) if isinstance(depth, sp.Symbol) else None,
        source=SOURCE,
    )
    return replace(spectrum, claims=_claims(spectrum))


def _telescoped(flow: Derivation, depth: int | sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The sum of the powers times a_i - a_j, and a_i - a_j, in s_i and s_j."""
    r, q = ROOTS
    telescoped = sp.powsimp(sp.expand(sp.simplify(-pair_weight(flow, depth) * (r - q))))
    power = sp.Integer(2) / depth
    values = {r: S_I**power, q: S_J**power}
    return sp.powdenest(telescoped.subs(values)), (r - q).subs(values)


def _deep(eigenvalue: sp.Expr, depth: sp.Symbol) -> sp.Expr:
    """The limit of eigenvalue / N for infinitely many factors, in h = 1/N."""
    h = sp.Symbol("h", positive=True)
    return sp.simplify(sp.limit((eigenvalue / depth).subs(depth, 1 / h), h, 0, "+"))


def in_roots(expression: sp.Expr, depth: int | sp.Expr) -> sp.Expr:
    """An expression in s_i and s_j in terms of a = s^{2/N}, of which it holds whole powers."""
    r, q = ROOTS
    half = sp.sympify(depth) / 2
    return sp.powdenest(expression.subs({S_I: r**half, S_J: q**half}), force=True)


def _claims(spectrum: EndToEndSpectrum) -> tuple[Claim, ...]:
    claims = (sum_claim(spectrum), limits_claim(spectrum), descent_claim(spectrum))
    if isinstance(spectrum.depth, sp.Symbol):
        return (*claims, deep_claim(spectrum))
    return (*claims, operator_claim(spectrum))


def sum_claim(spectrum: EndToEndSpectrum) -> Claim:
    """The claim that the eigenvalue is the sum of the powers; by induction for a symbolic N."""
    return Claim(
        name=f"eigenvalues of the end-to-end operator, depth {spectrum.depth}",
        statement="sum_k s_i^{2 k/N} s_j^{2 (N-1-k)/N} is (s_i^2 - s_j^2)/(s_i^{2/N} - s_j^{2/N}).",
        source=SOURCE,
        check=lambda: _check_sum(spectrum),
        formulas=(mathml(spectrum.eigenvalue),),
    )


def _check_sum(spectrum: EndToEndSpectrum) -> Verdict:
    """S(N+1) = a_i S(N) + a_j^N and S(1) = 1 define the sum; an integer one is written out."""
    (r, q), depth = ROOTS, spectrum.depth
    closed = in_roots(spectrum.eigenvalue, depth)
    if isinstance(depth, sp.Symbol):
        step = closed.subs(depth, depth + 1) - r * closed - q**depth
        return vanishing(sp.expand(step * (r - q)), closed.subs(depth, 1) - 1)
    return vanishing(closed - sp.Add(*(r**k * q ** (depth - 1 - k) for k in range(depth))))


def limits_claim(spectrum: EndToEndSpectrum) -> Claim:
    """The claim on equal singular values and on one that is zero."""
    power = 2 - sp.Integer(2) / spectrum.depth

    def check() -> Verdict:
        return vanishing(
            spectrum.equal - spectrum.depth * VALUE**power, spectrum.beside_zero - VALUE**power
        )

    return Claim(
        name=f"limits of the end-to-end eigenvalues, depth {spectrum.depth}",
        statement="The eigenvalue is N s^{2-2/N} where s_i = s_j = s, and s^{2-2/N} where s_j = 0.",
        source=SOURCE,
        check=check,
        formulas=(mathml(spectrum.equal), mathml(spectrum.beside_zero)),
    )


def descent_claim(spectrum: EndToEndSpectrum) -> Claim:
    """The claim that every eigenvalue is positive, so that no loss rises along the flow."""
    return Claim(
        name=f"the loss falls, depth {spectrum.depth}",
        statement="dl/dt = -sum_ij lambda_ij M_ij^2 with M = U^T G V, and every lambda_ij is the "
        "mean of a positive function.",
        source=SOURCE,
        check=lambda: _check_positive(spectrum),
    )


def _check_positive(spectrum: EndToEndSpectrum) -> Verdict:
    """The eigenvalue is the mean of the slope of its numerator between a_j and a_i."""
    r, q = ROOTS
    u = sp.Symbol("u", positive=True)
    eigenvalue = in_roots(spectrum.eigenvalue, spectrum.depth)
    slope = sp.simplify((eigenvalue * (r - q)).diff(r).subs(r, u))
    mean = sp.integrate(slope, (u, q, r)) / (r - q)
    identity = vanishing(mean - eigenvalue)
    return Verdict(
        passed=identity.passed and bool(slope.is_positive),
        kind="proved",
        measured=f"{identity.measured}, mean of {slope}, positive: {slope.is_positive}",
        expected="defects 0, mean of a positive function",
    )


def deep_claim(spectrum: EndToEndSpectrum) -> Claim:
    """The claim on infinitely many factors."""
    stated = (S_I**2 - S_J**2) / (2 * sp.log(S_I / S_J))
    return Claim(
        name="the end-to-end operator of infinite depth",
        statement="Over N, the eigenvalue tends to (s_i^2 - s_j^2) / (2 ln(s_i/s_j)).",
        source=SOURCE,
        check=lambda: vanishing(sp.expand_log(spectrum.deep - stated)),
        formulas=(mathml(spectrum.deep),),
    )


def operator_claim(spectrum: EndToEndSpectrum) -> Claim:
    """The claim that the matrix flow itself has these eigenvalues at an explicit diagonal W."""

    def check() -> Verdict:
        values = sp.symbols("s_1 s_2", positive=True)
        G = sp.Matrix(2, 2, sp.symbols("g_:2:2", real=True))
        moved = rate_at_diagonal(spectrum.flow, values, G)
        indices = [(i, j) for i in range(2) for j in range(2)]
        return vanishing(*(moved[i, j] + _at(spectrum, values, i, j) * G[i, j] for i, j in indices))

    return Claim(
        name=f"end-to-end operator at a diagonal matrix, depth {spectrum.depth}",
        statement="On W = diag(s_1, s_2), entry (i, j) of the flow is -lambda_ij G_ij.",
        source=SOURCE,
        check=check,
    )


def _at(spectrum: EndToEndSpectrum, values: tuple, i: int, j: int) -> sp.Expr:
    if i == j:
        return spectrum.equal.subs(VALUE, values[i])
    return spectrum.eigenvalue.subs({S_I: values[i], S_J: values[j]})
