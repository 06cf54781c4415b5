"""Training on single examples: the mean over orders of an epoch, and SGD's stochastic equation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import permutations

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, Variable, defined, derive, mathml, vanishing
from flowkit.symbolic.expansions import (
    ETA,
    Series,
    Vector,
    along,
    coefficients,
    combine,
    displacement,
    entrywise,
)
from flowkit.symbolic.gradient import Expression, gradient
from flowkit.symbolic.modified import modified_flow, refuse_names, refuse_time, square

SMITH = "Smith, Dherin, Barrett, De 2021, arXiv:2101.12176"
LI = "Li, Tai, E 2017, arXiv:1511.06251"
WITNESS_SIZE = 2  # the smallest matrices that do not commute


@cache
def reshuffled_flow(losses: tuple[sp.Expr, ...], parameters: tuple[Variable, ...]) -> Derivation:
    """Flow of the mean over orders of an epoch in which each of m losses takes one step.

    Gradient flow of C + eta/(4 m) sum_k |grad C_k|^2, C being the mean of the losses C_k.

    Args:
        losses: The losses C_1 .. C_m, as for `derive`.
        parameters: What is trained; each appears in some loss.

    Returns:
        The flow, with eta as data, per unit of flow time: an epoch takes m eta. With the claim
        that it agrees with the mean over all orders up to O(eta^3) an epoch.

    Raises:
        ValueError: there is no loss, one depends on time or has a symbol named eta, or as for
            `derive`.

    Source:
        arXiv:2101.12176, equation 1. Checked by tests/symbolic/test_training_sampling.py and
        derivations/C4_reshuffling.py.
    """
    steps = _forces(losses, parameters)
    count = len(losses)
    penalty = sp.Add(*(square(step) for step in steps))
    flow = derive(sp.Add(*losses) / count + ETA * penalty / (4 * count), parameters)
    flow = replace(flow, name=f"reshuffled flow of {count} losses", source=SMITH)
    return replace(flow, claims=(*flow.claims, epoch_claim(flow, steps)))


def _forces(
    losses: Sequence[sp.Expr], parameters: Sequence[Variable]
) -> tuple[tuple[Expression, ...], ...]:
    """Minus the gradient of each loss; zero by a parameter that a loss does not have."""
    if not losses:
        raise ValueError("Argument `losses` must hold at least one loss, but it is empty.")
    refuse_names("losses", set().union(*(loss.free_symbols for loss in losses)), ETA)
    refuse_time("losses", *losses)
    gradients = [gradient(loss, parameters) for loss in losses]
    return tuple(tuple((-of[p]).doit() for p in parameters) for of in gradients)


def epoch_claim(flow: Derivation, steps: Sequence[Vector]) -> Claim:
    """The claim that the mean over all orders of the steps of an epoch is a flow over m eta."""
    return Claim(
        name=f"epoch of the {flow.name}",
        statement="The mean over orders of an epoch agrees with the flow up to O(eta^3).",
        source=f"{SMITH}, equation 1",
        check=lambda: _check_epoch(flow, steps),
        formulas=flow.mathml(),
    )


def _check_epoch(flow: Derivation, steps: Sequence[Vector]) -> Verdict:
    """Entry by entry at size 2."""
    whole = entrywise(flow, WITNESS_SIZE)
    entries = [entrywise(replace(flow, rates=step), WITNESS_SIZE).rates for step in steps]
    per_epoch = tuple(combine((len(steps), rate)) for rate in coefficients(whole.rates, 2))
    moved = displacement(per_epoch, whole.state)
    mean = mean_epoch(entries, whole.state)
    defects = (combine((1, a), (-1, b)) for a, b in zip(moved, mean, strict=True))
    return vanishing(*(entry for defect in defects for entry in defect))


def mean_epoch(steps: Sequence[Vector], state: Sequence[Variable]) -> Series:
    """Mean over all orders of the displacement by an epoch of steps y -> y + eta f_k(y).

    Args:
        steps: The fields f_1 .. f_m.
        state: Their symbols.

    Returns:
        The coefficients of eta and eta^2: each order composes its steps.
    """
    orders = [_compose(order, state) for order in permutations(steps)]
    share = sp.Rational(1, len(orders))
    return tuple(combine(*((share, order[power]) for order in orders)) for power in (0, 1))


def _compose(steps: Sequence[Vector], state: Sequence[Variable]) -> Series:
    """f(y + eta d) = f(y) + eta f'(y) d + ..: each step is bent by the steps before it."""
    moved, bent = steps[0], combine((0, steps[0]))
    for step in steps[1:]:
        bent = combine((1, bent), (1, along(step, state, moved)))
        moved = combine((1, moved), (1, step))
    return moved, bent


@dataclass(frozen=True)
class StochasticDerivation:
    """A stochastic differential equation of scalar symbols, in Ito's sense.

    Attributes:
        name: What diffuses.
        drift: The flow of the mean.
        covariance: The covariance of the noise per unit of time, in the drift's symbols.
        source: The paper that states it.
        claims: What is stated about it, each with a check.
    """

    name: str
    drift: Derivation
    covariance: sp.ImmutableMatrix
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The drift of each symbol, and the entries of the covariance on and above the diagonal."""
        size = self.covariance.rows
        pairs = [(i, j) for i in range(size) for j in range(i, size)]
        entries = (defined(rf"\Sigma_{{{i + 1}{j + 1}}}", self.covariance[i, j]) for i, j in pairs)
        return *self.drift.equations, *entries


@cache
def sgd_equation(
    losses: tuple[sp.Expr, ...], parameters: tuple[sp.Symbol, ...], order: int = 1
) -> StochasticDerivation:
    """The stochastic equation of descent on one of m losses, drawn anew for each step.

    dy = -grad(C + eta/4 |grad C|^2) dt + sqrt(eta) Sigma^{1/2} dB with C the mean of the losses and
    Sigma the covariance of their gradients; order 0 is without the eta in the drift.

    Args:
        losses: The losses C_1 .. C_m, as for `derive`.
        parameters: Scalar symbols, which are trained.
        order: 0, or 1 for the modified drift.

    Returns:
        The equation, with eta as data, per unit of flow time (step k is at k eta); with the claim
        that the moments of a step agree.

    Raises:
        ValueError: a parameter is no scalar symbol, or as for `reshuffled_flow`.

    Source:
        arXiv:1511.06251, Theorem 1. Checked by tests/symbolic/test_training_sampling.py.
    """
    if not all(isinstance(parameter, sp.Symbol) for parameter in parameters):
        raise ValueError(f"Argument `parameters` must be scalar symbols, but it is {parameters}.")
    forces = _forces(losses, parameters)
    mean = derive(sp.Add(*losses) / len(losses), parameters)
    vectors = [sp.Matrix(force) for force in forces]
    square = sum((v * v.T for v in vectors), sp.zeros(len(parameters))) / len(losses)
    force = sum(vectors, sp.zeros(len(parameters), 1)) / len(losses)
    equation = StochasticDerivation(
        name=f"SGD's equation, order {order}",
        drift=modified_flow(mean, order),
        covariance=sp.ImmutableMatrix(ETA * (square - force * force.T)),
        source=LI,
    )
    return replace(equation, claims=(moments_claim(equation, forces, order),))


def moments_claim(equation: StochasticDerivation, forces: Sequence[Vector], order: int) -> Claim:
    """The claim that the equation over a time eta has the first two moments of a step."""
    return Claim(
        name=f"moments of {equation.name}",
        statement=f"Means agree up to O(eta^{order + 2}), second moments up to O(eta^3).",
        source=f"{LI}, Theorem 1",
        check=lambda: _check_moments(equation, forces, order),
        formulas=tuple(mathml(rate) for rate in (*equation.drift.rates, equation.covariance)),
    )


def _check_moments(equation: StochasticDerivation, forces: Sequence[Vector], order: int) -> Verdict:
    state = equation.drift.state
    starts = sp.symbols(f"y_:{len(state)}", real=True)
    moved = [s - start for s, start in zip(state, starts, strict=True)]
    back = dict(zip(starts, state, strict=True))
    defects = []
    for i, first in enumerate(moved):
        of_step = ETA * _mean([force[i] for force in forces])
        defects.append((_expected(first, equation).subs(back) - of_step, order + 1))
        for j, second in enumerate(moved[: i + 1]):
            of_step = ETA**2 * _mean([force[i] * force[j] for force in forces])
            defects.append((_expected(first * second, equation).subs(back) - of_step, 2))
    return vanishing(
        *(sp.expand(defect).coeff(ETA, n) for defect, last in defects for n in range(last + 1))
    )


def _mean(values: Sequence[sp.Expr]) -> sp.Expr:
    return sp.Add(*values) / len(values)


def _expected(observable: sp.Expr, equation: StochasticDerivation) -> sp.Expr:
    """The mean of an observable after a time eta, up to O(eta^3), by the generator's series."""
    once = _generator(observable, equation)
    return observable + ETA * once + ETA**2 / 2 * _generator(once, equation)


def _generator(observable: sp.Expr, equation: StochasticDerivation) -> sp.Expr:
    """Ito's formula: drift . grad + 1/2 tr(covariance . Hessian)."""
    state = equation.drift.state
    (drift,) = along((observable,), state, equation.drift.rates)
    return drift + sp.trace(equation.covariance * sp.hessian(observable, state)) / 2
