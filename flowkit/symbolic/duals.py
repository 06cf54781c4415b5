"""Dual activations: Gaussian expectations of an activation and of its derivative.

Sources: Cho, Saul 2009 (Kernel methods for deep learning); Daniely, Frostig, Singer 2016
(arXiv:1602.05897); Price 1958 (A useful theorem for nonlinear devices having Gaussian inputs).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from flowkit.claim import Claim
from flowkit.symbolic.activations import ACTIVATIONS, X
from flowkit.symbolic.dual_claims import (
    arc_cosine_claim,
    limit_claim,
    measured_limit_claim,
    price_claim,
)
from flowkit.symbolic.gaussian import COV as COV, VAR_U as VAR_U, VAR_V as VAR_V
from flowkit.symbolic.generating import NotElementaryError, smooth_expectation
from flowkit.symbolic.polar import HalfPowers, Impulse
from flowkit.symbolic.quadrature import NODES, QuadratureDual


@dataclass(frozen=True)
class DualActivation:
    """The dual of an activation s: expectations over (u, v) ~ N(0, [[var_u, cov], [cov, var_v]]).

    Attributes:
        name: The activation.
        function: s itself, as half powers or as a `sympy.Lambda`.
        kappa: E[s(u) s(v)] in the symbols var_u, var_v and cov.
        kappa_dot: E[s'(u) s'(v)] in the same symbols.
        source: How it was derived, and where it is published.
        claims: What pins both expressions down, each with a check.
    """

    name: str
    function: HalfPowers | sp.Lambda
    kappa: sp.Expr
    kappa_dot: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """Both expectations; the dot marks that of the derivatives."""
        pairs = [(r"\kappa", self.kappa), (r"\dot{\kappa}", self.kappa_dot)]
        return tuple(sp.Eq(sp.Symbol(name), value, evaluate=False) for name, value in pairs)


Dual = DualActivation | QuadratureDual
Activation = str | sp.Expr | Dual | Callable


def dual(activation: Activation, **parameters: sp.Expr | int | float) -> Dual:
    """Derive E[s(u) s(v)] and E[s'(u) s'(v)] over N(0, [[var_u, cov], [cov, var_v]]).

    Kinks and jumps at 0 are integrated in polar coordinates (`polar.py`), and sums of products of
    powers, exponentials, sines, cosines and error functions by generating functions and by parts
    (`generating.py`). Everything else becomes an integration rule (`quadrature.py`). The
    derivative of a kinked s is the one almost everywhere; that of a jump (step, sign) is an
    impulse, whose expectation 1 / (2 pi sqrt(var_u var_v - cov^2)) is infinite at u = v.

    Args:
        activation: A name ("relu", "leaky_relu", "step", "sign", "abs", "identity", "erf", "gelu",
            "sin", "cos", "exp", "gaussian", "hermite", or by quadrature "tanh", "sigmoid",
            "softplus", "silu", "elu"), an expression in one real symbol, a JAX function of a
            scalar (smooth, or with a kink at 0 if `kinked=True`), or a dual, which is returned.
        **parameters: `power` of "relu" (1), `slope` of "leaky_relu" (1/100) for x < 0, `degree` of
            "hermite" (2; probabilists', E[s(x)^2] = 1), `nodes` per dimension where there is a
            rule (128), and `kinked` (False) of an expression or a function.

    Returns:
        A `DualActivation` with both expectations and claims, or a `QuadratureDual`, about which
        `flowkit.lowering.rule_claim` states the same. Cached.

    Raises:
        ValueError: `activation` is not among these, or does not have such parameters.

    Source:
        Cho, Saul 2009, section 2; arXiv:1602.05897. Checked by tests/test_duals.py and
        tests/symbolic/test_duals_*.py.
    """
    if isinstance(activation, DualActivation | QuadratureDual):
        return activation
    if isinstance(activation, str):
        return _of_name(activation, tuple(sorted(parameters.items())))
    if isinstance(activation, sp.Expr):
        return _of_expression(activation, *_options(**parameters))
    if callable(activation):
        name = getattr(activation, "__name__", type(activation).__name__)
        return QuadratureDual(name, activation, *_options(**parameters))
    raise ValueError(_complaint(activation))


def _options(**parameters: bool | int) -> tuple[bool, int]:
    """What may be said of an expression or a function: `kinked` and `nodes`."""
    if unknown := sorted(set(parameters) - {"kinked", "nodes"}):
        raise ValueError(
            "Argument `parameters` of a function must be among ['kinked', 'nodes'], but it is "
            f"`{unknown[0]}`."
        )
    return bool(parameters.get("kinked", False)), int(parameters.get("nodes", NODES))


def _complaint(activation: object) -> str:
    names = ", ".join(f"`{name}`" for name in ACTIVATIONS)
    return (
        f"Argument `activation` must be one of {names}, an expression in one symbol or a "
        f"function, but it is `{activation!r}`."
    )


@cache
def _of_name(name: str, parameters: tuple[tuple[str, sp.Expr | int | float], ...]) -> Dual:
    if name not in ACTIVATIONS:
        raise ValueError(_complaint(name))
    make, given = ACTIVATIONS[name], dict(parameters)
    known = set(inspect.signature(make).parameters)
    if unknown := sorted(set(given) - known):
        raise ValueError(
            f"Argument `parameters` of `{name}` must be among {sorted(known)}, but it is "
            f"`{unknown[0]}`."
        )
    function = make(**{key: sp.nsimplify(value) for key, value in given.items()})
    label = " ".join([name, *(f"{key}={value}" for key, value in parameters)])
    if isinstance(function, QuadratureDual):
        return function
    if isinstance(function, HalfPowers):
        return _of_half_powers(label, function)
    return _of_smooth(label, function)


@cache
def _of_expression(expression: sp.Expr, kinked: bool, nodes: int) -> Dual:  # noqa: FBT001
    if len(expression.free_symbols) != 1:
        raise ValueError(_complaint(expression))
    (symbol,) = expression.free_symbols
    function = expression.subs(symbol, X)
    if (half_powers := HalfPowers.recognised(function, X)) is not None:
        return _of_half_powers(str(expression), half_powers)
    try:
        return _of_smooth(str(expression), function)
    except NotElementaryError:
        return QuadratureDual(str(expression), sp.Lambda(X, function), kinked, nodes)


def _of_half_powers(name: str, function: HalfPowers) -> DualActivation:
    derivative = function.derivative
    kappa, kappa_dot = function.expectation(), derivative.expectation()
    claims = (
        price_claim(name, kappa, kappa_dot),
        limit_claim(name, "E[s(u) s(v)]", kappa, function),
    )
    if not isinstance(derivative, Impulse):  # the limits of an impulse are infinite
        claims += (limit_claim(name, "E[s'(u) s'(v)]", kappa_dot, derivative),)
    if function == HalfPowers(1, 1, 0):
        claims += (arc_cosine_claim(kappa, kappa_dot),)
    source = "polar integration; Cho, Saul 2009, section 2"
    return DualActivation(name, function, kappa, kappa_dot, source, claims)


def _of_smooth(name: str, function: sp.Expr) -> DualActivation:
    derivative = sp.diff(function, X)
    kappa, kappa_dot = smooth_expectation(function, X), smooth_expectation(derivative, X)
    claims = (
        price_claim(name, kappa, kappa_dot),
        measured_limit_claim(name, "E[s(u) s(v)]", kappa, function, X),
        measured_limit_claim(name, "E[s'(u) s'(v)]", kappa_dot, derivative, X),
    )
    source = "generating functions, integration by parts, Price 1958"
    return DualActivation(name, sp.Lambda(X, function), kappa, kappa_dot, source, claims)
