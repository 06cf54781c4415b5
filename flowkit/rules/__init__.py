"""Training rules: what an optimiser follows as its learning rate falls to zero."""

from flowkit.rules.adaptive import (
    AdaGrad as AdaGrad,
    Adam as Adam,
    Normalised as Normalised,
    RMSProp as RMSProp,
    Sign as Sign,
)
from flowkit.rules.base import ROOT_TIME as ROOT_TIME, AbstractRule as AbstractRule
from flowkit.rules.momentum import (
    HeavyBall as HeavyBall,
    Momentum as Momentum,
    Nesterov as Nesterov,
)
