"""The matrix Riccati equation dP/dt = F P + P F - P^2 in closed form.

Sources: Braun, Domine, Fitzgerald, Saxe 2022; Domine et al. 2024 (arXiv:2409.14623).
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp
from sympy import Identity, Inverse, MatrixExpr, MatrixSymbol, ZeroMatrix

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, defined, mathml
from flowkit.symbolic.gradient import rate_along
from flowkit.symbolic.rewriting import rewrite, spelled, zero_matrices
from flowkit.symbolic.two_layers import SOURCE, two_layer_riccati


@dataclass(frozen=True)
class RiccatiSolution:
    """P(t) in closed form, with E = e^{F t} and J the integral of e^{2 F s} over s from 0 to t.

    Attributes:
        riccati: The equation that is solved.
        value: P(t) in the symbols E, J and Q, which is [W_1^T; W_2] at the start.
        clock: The symbols E and J with their rates F E and E^2; they start at the identity and
            at zero.
        invertible: J for an invertible F, in E and F.
        source: Where the solution is published.
        claims: That it solves the equation, with checks.
    """

    riccati: Derivation
    value: MatrixExpr
    clock: Derivation
    invertible: MatrixExpr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return "solution of two lambda-balanced layers"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """P(t), the rates of the symbols in it, and J for an invertible F."""
        whole = defined("P(t)", self.value), defined("J", self.invertible)
        return (whole[0], *self.clock.equations, whole[1])


@cache
def riccati_solution() -> RiccatiSolution:
    """Solve dP/dt = F P + P F - P^2 from P(0) = Q Q^T, for a symmetric F.

    P(t) = E Q [I + Q^T J Q]^{-1} Q^T E. Without the square P would be E P(0) E; the square is
    what the inverse answers for, whose rate is -[..]^{-1} Q^T E^2 Q [..]^{-1}.

    Returns:
        P(t), per unit of the equation's flow time, with proofs that it solves the equation and
        that J is (e^{2 F t} - I) F^{-1} / 2 where F can be inverted.

    Source:
        arXiv:2409.14623. Checked by tests/symbolic/test_deep_linear_two_layers.py.
    """
    riccati = two_layer_riccati().riccati
    (F,) = riccati.data
    hidden = sp.Symbol("h", integer=True, positive=True)
    Q, E, J = (
        MatrixSymbol("Q", F.rows, hidden),
        MatrixSymbol("E", *F.shape),
        MatrixSymbol("J", *F.shape),
    )
    clock = Derivation(
        name="e^{F t} and its integral",
        state=(E, J),
        rates=(F * E, E * E),
        data=(F,),
        source=SOURCE,
    )
    solution = RiccatiSolution(
        riccati=riccati,
        value=E * Q * Inverse(Identity(hidden) + Q.T * J * Q) * Q.T * E,
        clock=clock,
        invertible=(E * E - Identity(F.rows)) * Inverse(F) / 2,
        source=SOURCE,
    )
    claims = (solution_claim(solution), start_claim(solution), integral_claim(solution))
    return replace(solution, claims=claims)


def solution_claim(solution: RiccatiSolution) -> Claim:
    """The claim that P(t) has the rate that the equation states."""
    return Claim(
        name="closed form of the Riccati equation",
        statement="P(t) = E Q [I + Q^T J Q]^{-1} Q^T E moves at the rate F P + P F - P^2.",
        source=SOURCE,
        check=lambda: _check_solution(solution),
        formulas=(mathml(solution.value),),
    )


def _check_solution(solution: RiccatiSolution) -> Verdict:
    """The product rule, with the inverse K of Z as a symbol of the rate -K (dZ/dt) K."""
    (P,), (rate,), (F,) = solution.riccati.state, solution.riccati.rates, solution.riccati.data
    value, moving = _without_inverse(solution.value, _clock_rates(solution))
    stated = rate.xreplace({P: value})
    return zero_matrices(rewrite(rate_along(value, moving) - stated, _commuting(solution, F)))


def _clock_rates(solution: RiccatiSolution) -> dict[MatrixSymbol, MatrixExpr]:
    return dict(zip(solution.clock.state, solution.clock.rates, strict=True))


def _without_inverse(
    expression: MatrixExpr, moving: dict[MatrixSymbol, MatrixExpr]
) -> tuple[MatrixExpr, dict[MatrixSymbol, MatrixExpr]]:
    """The expression with its one inverse as a symbol, and the rates with that symbol's own."""
    (inverse,) = expression.atoms(Inverse)
    K = MatrixSymbol("K", *inverse.shape)
    rate = -K * rate_along(inverse.arg, moving) * K
    return expression.xreplace({inverse: K}), moving | {K: rate}


def _commuting(solution: RiccatiSolution, F: MatrixSymbol) -> dict:
    """F commutes with its own exponential: F E becomes E F."""
    E, _ = solution.clock.state
    return {(F, E): E * F}


def start_claim(solution: RiccatiSolution) -> Claim:
    """The claim that P(0) = Q Q^T."""

    def check() -> Verdict:
        E, J = solution.clock.state
        start = {E: Identity(E.rows), J: ZeroMatrix(*J.shape)}
        (Q,) = solution.value.atoms(MatrixSymbol) - {E, J}
        integral = solution.invertible.xreplace(start).doit()
        return zero_matrices(solution.value.xreplace(start).doit() - Q * Q.T, integral)

    return Claim(
        name="start of the Riccati equation",
        statement="At t = 0, where E = I and J = 0, P is Q Q^T.",
        source=SOURCE,
        check=check,
    )


def integral_claim(solution: RiccatiSolution) -> Claim:
    """The claim that J = (e^{2 F t} - I) F^{-1} / 2 for an invertible F."""

    def check() -> Verdict:
        (F,), (_, J) = solution.clock.data, solution.clock.state
        moving = _clock_rates(solution)
        C = MatrixSymbol("C", *F.shape)
        explicit = spelled(solution.invertible.xreplace({Inverse(F): C}))
        rules = _commuting(solution, F) | {(F, C): Identity(F.rows)}
        return zero_matrices(rewrite(rate_along(explicit, moving) - moving[J], rules))

    return Claim(
        name="integral of the exponential",
        statement="(e^{2 F t} - I) F^{-1} / 2 moves at the rate e^{2 F t}.",
        source=SOURCE,
        check=check,
        formulas=(mathml(solution.invertible),),
    )
