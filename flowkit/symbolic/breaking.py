"""What breaks the balancedness of factors: weight decay, and steps of finite size.

Source: Arora, Cohen, Hazan 2018 (arXiv:1802.06509), Theorem 1 and its remarks on weight decay and
on a finite learning rate.
"""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp
from sympy import MatAdd, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, defined, derive, mathml
from flowkit.symbolic.factorization import factor_flow
from flowkit.symbolic.gradient import expand, rate_along
from flowkit.symbolic.rewriting import zero_matrices

SOURCE = "Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1"
DECAY = sp.Symbol("a", positive=True)
LEARNING_RATE = sp.Symbol("eta", positive=True)


@dataclass(frozen=True)
class StepDefect:
    """What one descent step of size eta does to the laws D_j = W_{j+1}^T W_{j+1} - W_j W_j^T.

    Attributes:
        depth: The number of factors N.
        flow: The flow of which descent is the Euler method: W_j <- W_j + eta rate_j.
        first: The part of each law's change that is proportional to eta.
        second: The coefficient of eta^2 in each law's change; there are no others.
        source: Where the laws are published.
        claims: What both orders are, each with a check.
    """

    depth: int
    flow: Derivation
    first: tuple[MatrixExpr, ...]
    second: tuple[MatrixExpr, ...]
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return f"step defect, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The coefficient of eta^2 in the change of every law."""
        return tuple(
            defined(rf"\Delta D_{{{j}}} / \eta^2", part) for j, part in enumerate(self.second, 1)
        )


@cache
def decayed_factor_flow(depth: int) -> Derivation:
    """Gradient flow of l(W_N ... W_1) + a/2 sum_j ||W_j||^2 on each factor.

    dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T - a W_j. The penalty is no function of the
    product: what the flow without it conserves decays at the rate 2 a.

    Args:
        depth: The number of factors N.

    Returns:
        State W_1 .. W_N, data G and a (per unit of flow time); with proofs that the rates are the
        gradient and that every law decays.

    Raises:
        ValueError: `depth` is not a positive integer.

    Source:
        arXiv:1802.06509, Theorem 1 with weight decay. Checked by
        tests/symbolic/test_deep_linear_breaking.py.
    """
    plain = factor_flow(depth)
    (G,) = plain.data
    product = sp.MatMul(*reversed(plain.state)).doit()
    penalty = sp.Add(*(sp.Trace(W.T * W) for W in plain.state)) * DECAY / 2
    flow = derive(sp.Trace(G.T * product) + penalty, plain.state)
    decays = tuple(decay_claim(law, flow) for law in plain.conserved)
    return replace(
        flow,
        name=f"factor flow with weight decay, depth {depth}",
        source=SOURCE,
        claims=flow.claims + decays,
    )


def decay_claim(law: MatrixExpr, flow: Derivation) -> Claim:
    """The claim that a law of the flow without decay falls like e^{-2 a t} along this flow."""

    def check() -> Verdict:
        rates = dict(zip(flow.state, flow.rates, strict=True))
        return zero_matrices(expand(rate_along(law, rates) + 2 * DECAY * law))

    return Claim(
        name=f"decay of {law}",
        statement=f"Under weight decay a, {law} decays at the rate 2 a, for any loss.",
        source=SOURCE,
        check=check,
        formulas=(mathml(sp.Eq(sp.Symbol("D"), law)), mathml(-2 * DECAY * sp.Symbol("D"))),
    )


@cache
def step_defect(depth: int) -> StepDefect:
    """How far one step of gradient descent moves each law of the flow.

    With W_j <- W_j - eta Gr_j, Gr_j the gradient by W_j, the change of D_j is expanded in powers
    of eta. The first vanishes as it does along the flow; what is left is
    eta^2 (Gr_{j+1}^T Gr_{j+1} - Gr_j Gr_j^T), exactly.

    Args:
        depth: The number of factors N.

    Returns:
        Both orders of the change of D_1 .. D_{N-1}, written out in the factors and G.

    Raises:
        ValueError: `depth` is not a positive integer.

    Source:
        arXiv:1802.06509, Theorem 1, for a finite step. Checked by
        tests/symbolic/test_deep_linear_breaking.py.
    """
    flow = factor_flow(depth)
    orders = [_orders(_change(law, flow)) for law in flow.conserved]
    defect = StepDefect(
        depth=depth,
        flow=flow,
        first=tuple(expand(MatAdd(*order[1])) for order in orders),
        second=tuple(expand(MatAdd(*order[2])) for order in orders),
        source=SOURCE,
    )
    return replace(defect, claims=(first_order_claim(defect), second_order_claim(defect)))


def _change(law: MatrixExpr, flow: Derivation) -> MatrixExpr:
    """A law after one step, less the law before it."""
    pairs = zip(flow.state, flow.rates, strict=True)
    step = {W: W + LEARNING_RATE * rate for W, rate in pairs}
    return expand(law.xreplace(step) - law)


def _orders(change: MatrixExpr) -> dict[int, list[MatrixExpr]]:
    """The terms of a polynomial in eta by their power, each without it; refuses any but 1 and 2."""
    orders: dict[int, list[MatrixExpr]] = defaultdict(list)
    for term in MatAdd.make_args(change):
        coefficient, factors = term.as_coeff_matrices()
        number, power = coefficient.as_coeff_exponent(LEARNING_RATE)
        orders[int(power)].append(sp.MatMul(number, *factors))
    if not set(orders) <= {1, 2}:
        raise ArithmeticError(f"The change has the orders {sorted(orders)} in the learning rate.")
    zero = sp.ZeroMatrix(*change.shape)
    return {order: orders[order] or [zero] for order in (1, 2)}


def first_order_claim(defect: StepDefect) -> Claim:
    """The claim that a step does not move the laws to first order in its size."""
    return Claim(
        name=f"no drift of first order, depth {defect.depth}",
        statement="The part of every law's change that is proportional to the step size vanishes.",
        source=SOURCE,
        check=lambda: zero_matrices(*defect.first),
    )


def second_order_claim(defect: StepDefect) -> Claim:
    """The claim that a step moves each law by eta^2 (Gr_{j+1}^T Gr_{j+1} - Gr_j Gr_j^T)."""

    def check() -> Verdict:
        gradients = [-rate for rate in defect.flow.rates]
        stated = [
            above.T * above - below * below.T for below, above in itertools.pairwise(gradients)
        ]
        pairs = zip(defect.second, stated, strict=True)
        return zero_matrices(*(expand(found - law) for found, law in pairs))

    return Claim(
        name=f"drift of second order, depth {defect.depth}",
        statement="One step moves W_{j+1}^T W_{j+1} - W_j W_j^T by exactly eta^2 times the same "
        "difference of the gradients.",
        source=SOURCE,
        check=check,
        formulas=_drift_formula(),
    )


def _drift_formula() -> tuple[str, ...]:
    n = sp.Symbol("n", integer=True, positive=True)
    above, below = MatrixSymbol("Gr_{j+1}", n, n), MatrixSymbol("Gr_j", n, n)
    return (mathml(LEARNING_RATE**2 * (above.T * above - below * below.T)),)
