"""Order studies: how fast descent approaches its flow as the learning rate falls."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import optax
from jaxtyping import Float, PyTree, Scalar
from scipy import special

from flowkit.agreement import Numbers, compare, fitted_order
from flowkit.dynamics.descent import descend
from flowkit.dynamics.flow import integrate
from flowkit.fields import FactorFlow, ModelFlow
from flowkit.observables import end_to_end
from flowkit.problems import AbstractProblem
from flowkit.trajectory import Trajectory

TIGHT = 1e-10  # rtol of the flow, whose own error must not be seen next to descent's
CONFIDENCE = 0.95
MOST_SAVES = 16


@dataclass(frozen=True, eq=False)
class OrderStudy:
    """Gradient descent held against gradient flow at several learning rates.

    Attributes:
        learning_rates: The learning rates.
        errors: For each, the largest distance at equal times (of the products, for a problem),
            relative to the flow's largest norm.
        slope: The order at which the errors fall, fitted on logarithms.
        interval: Its 95 % confidence interval, from the scatter about the fitted line.
        flow: The flow.
        descents: The descent at each learning rate.
    """

    learning_rates: Float[np.ndarray, " rates"]
    errors: Float[np.ndarray, " rates"]
    slope: float
    interval: tuple[float, float]
    flow: Trajectory = field(repr=False)
    descents: tuple[Trajectory, ...] = field(repr=False)


def study_order(
    loss: AbstractProblem | Callable[[PyTree], Scalar],
    y0: PyTree,
    learning_rates: Numbers,
    time: int | float,
) -> OrderStudy:
    """Measure the order of gradient descent as an approximation of gradient flow.

    Args:
        loss: A problem, trained through the factors `y0`, or any scalar function of the state.
        y0: The initial state.
        learning_rates: At least three; each must divide `time` into whole steps. The times that
            all of them reach are compared, 16 at most.
        time: The flow time over which both run.

    Returns:
        The errors and their fitted order.

    Raises:
        ValueError: there are fewer than three learning rates, or one does not divide `time`.

    Source:
        Descent is Euler's method for the flow: order 1. arXiv:2107.06608 bounds the constant.
    """
    rates = np.asarray(learning_rates, dtype=float)
    counts = [_steps(rate, i, time) for i, rate in enumerate(rates)]
    if len(counts) < 3:
        raise ValueError(
            f"Argument `learning_rates` must hold at least three values to fit a slope and judge "
            f"its scatter, but it holds {len(counts)}."
        )
    common = math.gcd(*counts)
    saves = max(n for n in range(1, MOST_SAVES + 1) if common % n == 0)
    is_problem = isinstance(loss, AbstractProblem)
    flow = integrate(
        FactorFlow(loss) if is_problem else ModelFlow(loss),
        y0,
        np.linspace(0.0, time, saves + 1),
        rtol=TIGHT,
    )
    descents = tuple(
        descend(loss, y0, optax.sgd(rate), steps, learning_rate=rate, save_every=steps // saves)
        for rate, steps in zip(rates.tolist(), counts, strict=True)
    )
    of = end_to_end if is_problem else None
    errors = np.array([compare(descent, flow, of=of).relative for descent in descents])
    return OrderStudy(
        learning_rates=rates,
        errors=errors,
        slope=fitted_order(rates, errors),
        interval=_interval(rates, errors),
        flow=flow,
        descents=descents,
    )


def _steps(rate: float, i: int, time: int | float) -> int:
    """The number of steps that fill `time`."""
    steps = round(time / rate) if rate > 0 else 0
    if steps < 1 or abs(steps * rate - time) > 1e-9 * time:
        raise ValueError(
            f"Argument `learning_rates` must divide `time` = {time:g} into whole steps, but "
            f"`learning_rates[{i}]` is {rate:g}."
        )
    return steps


def _interval(
    rates: Float[np.ndarray, " rates"], errors: Float[np.ndarray, " rates"]
) -> tuple[float, float]:
    (slope, _), covariance = np.polyfit(np.log(rates), np.log(errors), 1, cov=True)
    reach = special.stdtrit(len(errors) - 2, (1 + CONFIDENCE) / 2) * np.sqrt(covariance[0, 0])
    return float(slope - reach), float(slope + reach)
