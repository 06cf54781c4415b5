"""Order studies: how fast descent approaches its flow as the learning rate falls."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, PyTree, Scalar
from scipy import special

from flowkit.agreement import Agreement, Numbers, Quantity, compare, fitted_order
from flowkit.dynamics.descent import descend
from flowkit.dynamics.flow import integrate
from flowkit.dynamics.optimisers import optimiser, time_step
from flowkit.fields import FactorFlow, ModelFlow
from flowkit.fields.modified import ModifiedFlow
from flowkit.observables import LossOf, end_to_end
from flowkit.problems import AbstractProblem
from flowkit.rules import AbstractRule
from flowkit.trajectory import FLOW_TIME, Trajectory

TIGHT = 1e-10  # rtol of the flow, whose own error must not be seen next to descent's
CONFIDENCE = 0.95
MOST_SAVES = 16


@dataclass(frozen=True, eq=False)
class OrderStudy:
    """Descent held against its flow at several learning rates.

    Attributes:
        learning_rates: The learning rates.
        steps: How far one step moves the flow's clock: the learning rates, or their roots under
            the rules `HeavyBall` and `Nesterov`.
        errors: For each, the largest distance at equal times after the first (of the products, for
            a problem), relative to the flow's largest norm.
        slope: The order at which the errors fall with `steps`, fitted on logarithms.
        interval: Its 95 % confidence interval, from the scatter about the fitted line.
        flows: The flow at each learning rate; one and the same unless it is modified.
        descents: The descent at each learning rate.
    """

    learning_rates: Float[np.ndarray, " rates"]
    steps: Float[np.ndarray, " rates"]
    errors: Float[np.ndarray, " rates"]
    slope: float
    interval: tuple[float, float]
    flows: tuple[Trajectory, ...] = field(repr=False)
    descents: tuple[Trajectory, ...] = field(repr=False)

    @property
    def flow(self) -> Trajectory:
        """The flow; of a modified one, that at the last learning rate."""
        return self.flows[-1]


def study_order(
    loss: AbstractProblem | Callable[[PyTree], Scalar],
    y0: PyTree,
    learning_rates: Numbers,
    time: int | float,
    *,
    modified: int = 0,
    rule: AbstractRule | None = None,
    weight_decay: int | float = 0.0,
) -> OrderStudy:
    """Measure the order of descent as an approximation of its flow.

    Args:
        loss: A problem, trained through the factors `y0`, or any scalar function of the state.
        y0: The initial state.
        learning_rates: At least three; the step of each on the clock must divide `time` into whole
            steps. The times that all of them reach are compared, 16 at most.
        time: How long both run, on the clock of the rule: flow time, or root time.
        modified: The order of the flow's correction for the learning rate, 0, 1 or 2.
        rule: The training rule; None is gradient descent.
        weight_decay: As in `ModelFlow`.

    Returns:
        The errors and their fitted order.

    Raises:
        ValueError: there are fewer than three learning rates, one does not divide `time`, or the
            rule has no flow of the order `modified`.

    Source:
        Descent is Euler's method for the flow: order 1, and `modified` + 1 against a modified one.
        arXiv:2107.06608 bounds the constant.
    """
    rates = np.asarray(learning_rates, dtype=float)
    clock = FLOW_TIME if rule is None else rule.clock
    _check_rates(rates)
    steps = np.array([time_step(clock, rate) for rate in rates.tolist()])
    counts = [_count(i, rates[i], step, time, clock) for i, step in enumerate(steps.tolist())]
    common = math.gcd(*counts)
    saves = max(n for n in range(1, MOST_SAVES + 1) if common % n == 0)
    flows = _flows(loss, y0, rates, np.linspace(0.0, time, saves + 1), modified, rule, weight_decay)
    descents = tuple(
        _descent(loss, y0, rate, count, saves, rule, weight_decay)
        for rate, count in zip(rates.tolist(), counts, strict=True)
    )
    of = end_to_end if isinstance(loss, AbstractProblem) else None
    errors = np.array([_error(*pair, of) for pair in zip(descents, flows, strict=True)])
    return OrderStudy(
        learning_rates=rates,
        steps=steps,
        errors=errors,
        slope=fitted_order(steps, errors),
        interval=_interval(steps, errors),
        flows=flows,
        descents=descents,
    )


def _check_rates(rates: Float[np.ndarray, "..."]) -> None:
    if rates.ndim != 1 or len(rates) < 3:
        raise ValueError(
            f"Argument `learning_rates` must hold at least three values to fit a slope and judge "
            f"its scatter, but it holds {rates.size}."
        )
    if (bad := np.flatnonzero(~((rates > 0) & np.isfinite(rates)))).size:
        raise ValueError(
            f"Argument `learning_rates` must be positive, but `learning_rates[{bad[0]}]` is "
            f"{rates[bad[0]]:g}."
        )


def _count(i: int, rate: float, step: float, time: int | float, clock: str) -> int:
    """The number of steps that fill `time`."""
    count = round(time / step)
    if count < 1 or abs(count * step - time) > 1e-9 * time:
        raise ValueError(
            f"Argument `learning_rates` must divide `time` = {time:g} into whole steps, but "
            f"`learning_rates[{i}]` is {rate:g}, a step of {step:g} in {clock}."
        )
    return count


def _flows(
    loss: AbstractProblem | Callable[[PyTree], Scalar],
    y0: PyTree,
    rates: Float[np.ndarray, " rates"],
    ts: Float[np.ndarray, " time"],
    modified: int,
    rule: AbstractRule | None,
    weight_decay: int | float,
) -> tuple[Trajectory, ...]:
    """The flow at every learning rate, integrated once where it does not depend on it."""

    def flow(rate: float | None) -> Trajectory:
        if isinstance(loss, AbstractProblem) and rule is None and not weight_decay:
            factors = FactorFlow(loss)
            field = factors if rate is None else ModifiedFlow(factors, rate, modified)
        else:
            field = ModelFlow(
                LossOf(loss) if isinstance(loss, AbstractProblem) else loss,
                modified=modified,
                learning_rate=rate,
                rule=rule,
                weight_decay=weight_decay,
            )
        return integrate(field, y0, ts, rtol=TIGHT)

    if not modified:
        return (flow(None),) * len(rates)
    return tuple(flow(rate) for rate in rates.tolist())


def _descent(
    loss: AbstractProblem | Callable[[PyTree], Scalar],
    y0: PyTree,
    rate: float,
    steps: int,
    saves: int,
    rule: AbstractRule | None,
    weight_decay: int | float,
) -> Trajectory:
    return descend(
        loss,
        y0,
        optimiser(rule, rate, weight_decay=weight_decay),
        steps,
        learning_rate=rate,
        clock=None if rule is None else rule.clock,
        save_every=steps // saves,
    )


def _error(descent: Trajectory, flow: Trajectory, of: Quantity) -> float:
    """The largest relative distance after the first time, where a flow may start displaced."""
    whole = compare(descent, flow, of=of)
    return Agreement(whole.ts[1:], whole.errors[1:], whole.scale).relative


def _interval(
    rates: Float[np.ndarray, " rates"], errors: Float[np.ndarray, " rates"]
) -> tuple[float, float]:
    (slope, _), covariance = np.polyfit(np.log(rates), np.log(errors), 1, cov=True)
    reach = special.stdtrit(len(errors) - 2, (1 + CONFIDENCE) / 2) * np.sqrt(covariance[0, 0])
    return float(slope - reach), float(slope + reach)
