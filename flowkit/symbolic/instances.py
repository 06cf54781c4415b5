"""Derivations that need a model, on the smallest one that shows what they do."""

import sympy as sp

from flowkit.symbolic.derivation import Derivation, derive
from flowkit.symbolic.law_counts import LawCount, linear_network_laws, relu_network_laws
from flowkit.symbolic.modified import modified_flow, momentum_flow, penalised_flow
from flowkit.symbolic.sampling import StochasticDerivation, reshuffled_flow, sgd_equation

ANY_DEPTH = sp.Symbol("N", integer=True, positive=True)
INFINITE_DEPTH = sp.oo

X, Y = sp.symbols("x y", real=True)
WELL = (X - 1) ** 2 / 2 + (Y - X**2) ** 2
"""A well with a curved floor: its third derivatives are not zero."""

CUBIC = X**3 - X
"""An activation without a kink or a bound."""

EXAMPLES = (WELL, (X * Y - 1) ** 2 / 2)
"""Two losses that do not share their minimum."""


def modified_well() -> Derivation:
    """The modified flow of order 2 of descent in a curved well."""
    return modified_flow(derive(WELL, (X, Y)), 2)


def penalised_well() -> Derivation:
    """Gradient flow of the penalised loss of a curved well."""
    return penalised_flow(WELL, (X, Y))


def heavy_ball_in_well() -> Derivation:
    """The flow that the heavy ball follows in a curved well, to order 2."""
    return momentum_flow(derive(WELL, (X, Y)), 2)


def reshuffled_wells() -> Derivation:
    """The mean epoch of two examples."""
    return reshuffled_flow(EXAMPLES, (X, Y))


def sampled_wells() -> StochasticDerivation:
    """The stochastic equation of SGD on two examples."""
    return sgd_equation(EXAMPLES, (X, Y))


def two_layer_laws() -> LawCount:
    """All laws of two layers with three, two and two units."""
    return linear_network_laws(3, 2, 2)


def relu_laws() -> LawCount:
    """All laws of two ReLU units with two inputs."""
    return relu_network_laws(2, 2, 1)
