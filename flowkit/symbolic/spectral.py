"""Flow of the singular vectors of a deep linear factorization.

Source: Arora, Cohen, Hu, Luo 2019 (arXiv:1905.13655), Lemma 2.
"""

from dataclasses import replace
from functools import cache

import sympy as sp
from sympy import MatAdd

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.balancedness import exponents
from flowkit.symbolic.derivation import Derivation, mathml, vanishing
from flowkit.symbolic.factorization import end_to_end_flow
from flowkit.symbolic.vanishing import vanishes

SOURCE = "Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Lemma 2"
S_R, S_Q = sp.symbols("s_r s_q", nonnegative=True)
M_RQ, M_QR, M_XQ, M_QY = sp.symbols("M_rq M_qr M_xq M_qy", real=True)
U_RQ, V_RQ, U_XQ, V_YQ = sp.symbols("u_rq v_rq u_xq v_yq", real=True)
ROOTS = sp.symbols("a_r a_q", positive=True)  # a = (s^2)^(1/N): every power is a whole one


@cache
def singular_vector_flow(depth: int | sp.Symbol) -> Derivation:
    """Flow of the singular vectors of the product W of balanced factors, pair by pair.

    With M = U^T G V and F = 1/((s_q^2)^{1/N} - (s_r^2)^{1/N}), u_q turns towards u_r and v_q
    towards v_r at the rates

        -F (M_rq s_q + s_r M_qr)    and    -F (M_qr s_q + s_r M_rq),

    and towards a direction x or y outside of the singular vectors at -(s_q^2)^{1/2-1/N} M_xq and
    -(s_q^2)^{1/2-1/N} M_qy, M_xq = <G, x v_q^T> and M_qy = <G, u_q y^T>. Derived from the
    end-to-end flow, which moves entry (r, q) in the singular basis by a weight of its own, and the
    first-order perturbation of a singular value decomposition; a direction outside is a partner
    whose singular value is zero.

    Args:
        depth: The number of factors N, an integer or a SymPy symbol.

    Returns:
        State u_rq, v_rq, u_xq, v_yq: the components of u_q and v_q along u_r, v_r, x and y, all
        zero at the moment at which the rates are taken; data s_r, s_q (distinct, s_q positive),
        M_rq, M_qr, M_xq and M_qy. With proofs that the rates solve the matrix flow (for an
        integer depth) and that they scale like the (1 - 2/N)-th power of the singular values.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1905.13655, Lemma 2. Checked by tests/test_symbolic_spectral.py.
    """
    gap = _inverse_gap(end_to_end_flow(depth), depth)
    turns = tuple(
        gap * (first * S_Q + S_R * second) for first, second in ((M_RQ, M_QR), (M_QR, M_RQ))
    )
    outside = tuple(
        sp.powsimp(turn.subs({S_R: 0, along: beside}))
        for turn, along, beside in zip(turns, (M_RQ, M_QR), (M_XQ, M_QY), strict=True)
    )
    flow = Derivation(
        name=f"singular vector flow, depth {depth}",
        state=(U_RQ, V_RQ, U_XQ, V_YQ),
        rates=(*turns, *outside),
        data=(S_R, S_Q, M_RQ, M_QR, M_XQ, M_QY),
        source=SOURCE,
    )
    claims = (scaling_claim(flow, depth),)
    if not isinstance(depth, sp.Symbol):
        claims += (reassembly_claim(flow, end_to_end_flow(depth)),)
    return replace(flow, claims=claims)


def _inverse_gap(flow: Derivation, depth: int | sp.Symbol) -> sp.Expr:
    """The weight of the flow over s_q^2 - s_r^2.

    From omega_rq = (X_rq s_q + s_r X_qr) / (s_q^2 - s_r^2), where X = U^T (dW/dt) V has the entries
    weight_rq M_rq. The weight is the same for rq and qr, so that it leaves the numerator.
    """
    r, q = ROOTS
    weight = pair_weight(flow, depth)
    if sp.simplify(weight - weight.subs({r: q, q: r}, simultaneous=True)) != 0:
        raise ArithmeticError(f"The weight `{weight}` is not symmetric.")
    gap = sp.simplify(weight / (q**depth - r**depth))
    power = sp.Integer(1) / depth
    return gap.subs({r: (S_R**2) ** power, q: (S_Q**2) ** power})


def pair_weight(flow: Derivation, depth: int | sp.Symbol) -> sp.Expr:
    """What the end-to-end flow multiplies entry (r, q) with: (W W^T)^p acts as a_r^(N p)."""
    (rate,) = flow.rates
    sums = rate.atoms(sp.Sum)
    if not sums:
        return sp.Add(*(_pair_term(term, flow, depth) for term in MatAdd.make_args(rate)))
    ((summand, limits),) = (one.args for one in sums)
    total = -sp.summation(_pair_term(summand, flow, depth), tuple(limits))
    return total.replace(lambda e: isinstance(e, sp.Piecewise), lambda e: e.args[-1].expr)


def _pair_term(term: sp.MatrixExpr, flow: Derivation, depth: int | sp.Symbol) -> sp.Expr:
    coefficient, left, right = exponents(term, flow)
    r, q = ROOTS
    return coefficient * r ** sp.simplify(depth * left) * q ** sp.simplify(depth * right)


def scaling_claim(flow: Derivation, depth: int | sp.Symbol) -> Claim:
    """The claim that the rates are homogeneous of degree 1 - 2/N in the singular values."""
    c, s, z = sp.symbols("c s z", positive=True)

    def check() -> Verdict:
        power = 1 - sp.Integer(2) / depth
        positive = [rate.subs({S_R: s, S_Q: z}) for rate in flow.rates]
        scaled = [rate.subs({S_R: c * s, S_Q: c * z}) for rate in flow.rates]
        pairs = zip(scaled, positive, strict=True)
        return vanishing(*(sp.expand_power_base(a) - c**power * b for a, b in pairs))

    return Claim(
        name=f"scaling of the {flow.name}",
        statement="Singular values c times as large turn the vectors c^(1-2/N) times as fast.",
        source=SOURCE,
        check=check,
    )


def reassembly_claim(flow: Derivation, end_to_end: Derivation) -> Claim:
    """The claim that the rates of vectors and values together are the flow of the matrix."""
    return Claim(
        name=f"reassembly of the {flow.name}",
        statement="dU S V^T + U dS V^T + U S dV^T is dW/dt, with U and V kept orthonormal.",
        source=SOURCE,
        check=lambda: _check_reassembly(flow, end_to_end),
        formulas=tuple(
            mathml(rate, rate_of=x) for x, rate in zip(flow.state, flow.rates, strict=True)
        ),
    )


def _check_reassembly(flow: Derivation, end_to_end: Derivation) -> Verdict:
    """At W = diag(s_0, s_1, 0), U = V = I: two modes and a direction outside on either side.

    The entry between the two outside directions is left out: it belongs to no singular vector.
    """
    values, size = (*sp.symbols("s_0 s_1", positive=True), sp.Integer(0)), 3
    G = sp.Matrix(size, size, sp.symbols("g_:3:3", real=True))
    moved = rate_at_diagonal(end_to_end, values, G)
    U, V = sp.zeros(size, size), sp.zeros(size, size)
    for q in range(size - 1):
        for r in (r for r in range(size) if r != q):
            U[r, q], V[r, q] = _turn(flow, values, G, r, q)
    for q in range(size - 1):
        U[q, -1], V[q, -1] = -U[-1, q], -V[-1, q]
    S, change = sp.diag(*values), sp.diag(*moved.diagonal())
    defect = U * S + change + S * V.T - moved
    entries = [defect[i] for i in range(size * size - 1)] + [*(U + U.T), *(V + V.T)]
    wrong = sum(not vanishes(entry) for entry in entries)
    return Verdict(
        passed=wrong == 0,
        kind="proved",
        measured=f"{wrong} of {len(entries)} entries differ",
        expected="0 entries differ",
        numbers={"entries that differ": wrong},
    )


def _turn(flow: Derivation, values: tuple, G: sp.Matrix, r: int, q: int) -> tuple:
    """How u_q and v_q turn towards direction r; the last direction is outside."""
    at = {S_R: values[r], S_Q: values[q], M_RQ: G[r, q], M_QR: G[q, r]}
    at |= {M_XQ: G[r, q], M_QY: G[q, r]}
    pair = flow.rates[2:] if r == len(values) - 1 else flow.rates[:2]
    return tuple(rate.subs(at, simultaneous=True) for rate in pair)


def rate_at_diagonal(flow: Derivation, values: tuple, G: sp.Matrix) -> sp.Matrix:
    """The end-to-end flow at a diagonal matrix, where powers act on the entries."""
    power = lambda exponent: sp.diag(*((value**2) ** exponent for value in values))
    rate = sp.zeros(*G.shape)
    for term in MatAdd.make_args(flow.rates[0]):
        coefficient, left, right = exponents(term, flow)
        rate += coefficient * power(left) * G * power(right)
    return rate
