"""The optimisers of the study, at learning rates at which they train well."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flowkit import rules

SIZE, OBSERVED = 50, 600  # of the matrix on which the learning rates were chosen
CHOSEN_ON = 0  # its seed
TINY = 1e-16  # under the roots of the adaptive rules: nothing
BATCHES = 6  # a batch of stochastic descent is the observations over this


@dataclass(frozen=True)
class Choice:
    """An optimiser with its learning rate.

    Attributes:
        label: What it is called in tables.
        rate: The learning rate on the matrix of `SIZE` and `OBSERVED`.
        steps: How many steps it gets.
        rule: Its rule at a learning rate; None is gradient descent.
        adaptive: Whether the rate is a length, which does not depend on the size of the gradient.
        batched: Whether it takes minibatches.
    """

    label: str
    rate: float
    steps: int
    rule: Callable[[float], rules.AbstractRule] | None = None
    adaptive: bool = False
    batched: bool = False

    def rate_for(self, size: int, observed: int, depth: int) -> float:
        """The learning rate on another matrix."""
        if self.adaptive:
            return self.rate
        return self.rate * rate_scale(size / SIZE, observed / OBSERVED, depth)

    def rule_for(self, rate: float) -> rules.AbstractRule | None:
        """The rule that the optimiser follows in steps."""
        return None if self.rule is None else self.rule(rate)


def rate_scale(size: float, observed: float, depth: int) -> float:
    """Of learning rates, on a matrix so many times larger of so many times the observations.

    Curvatures go as s^(2-2/N) / m, with singular values s that go as the size.
    """
    return observed * size ** -(2 - 2 / depth)


def forgetting(decay: float, rate: float) -> float:
    """The rate at which an average forgets, per unit of time, that keeps `decay` a step."""
    return float(-np.log(decay) / rate)


def _heavy_ball(rate: float) -> rules.AbstractRule:
    return rules.HeavyBall(0.1 / np.sqrt(rate))  # momentum 0.9


def _adam(rate: float) -> rules.AbstractRule:
    return rules.Adam(forgetting(0.9, rate), forgetting(0.999, rate), TINY)


def _rmsprop(rate: float) -> rules.AbstractRule:
    return rules.RMSProp(forgetting(0.99, rate), TINY)


def _normalised(rate: float) -> rules.AbstractRule:
    return rules.Normalised(forgetting(0.99, rate), TINY)


# AdaGrad's rate is the square of Optax's own, see `rules.AdaGrad`.
CHOICES = {
    "gd": Choice("gradient descent", 1.0, 10_000),
    "sgd": Choice("minibatch descent", 0.5, 20_000, batched=True),
    "heavy-ball": Choice("heavy ball", 0.2, 10_000, _heavy_ball),
    "nesterov": Choice("Nesterov", 0.02, 10_000, lambda rate: rules.Nesterov()),
    "adam": Choice("Adam", 1e-3, 6_000, _adam, adaptive=True),
    "adam-slow": Choice("Adam, a tenth of the rate", 1e-4, 16_000, _adam, adaptive=True),
    "rmsprop": Choice("RMSProp", 1e-4, 12_000, _rmsprop, adaptive=True),
    "adagrad": Choice("AdaGrad", 1e-4, 10_000, lambda rate: rules.AdaGrad(TINY), adaptive=True),
    "normalised": Choice("size-normalised", 2e-3, 16_000, _normalised, adaptive=True),
}
