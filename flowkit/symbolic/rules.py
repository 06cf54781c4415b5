"""Flows of training rules: the limit of their updates as the learning rate falls to zero.

An update takes the state at time t to that at t + h, where h is the learning rate or its root. Each
rule is written as its code computes it; what is published about its limit is kept apart, and only
claims read it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim
from flowkit.symbolic.derivation import TIME, Derivation, mathml, vanishing
from flowkit.symbolic.expansions import along
from flowkit.symbolic.modified import BETA

STEP = sp.Symbol("h", positive=True)
THETA, FIRST, SECOND, VELOCITY = sp.symbols("theta m v p", real=True)
GRADIENT = sp.Symbol("g", real=True)
A1, A2, EPS = sp.symbols("a1 a2 eps", positive=True)
B1, B2 = sp.symbols("b1 b2", nonnegative=True)
FRICTION = sp.Symbol("gamma", nonnegative=True)

DA_SILVA = "da Silva, Gazeau 2020, arXiv:1810.13108"
POLYAK = "Polyak 1964, Some methods of speeding up the convergence of iteration methods"
SU = "Su, Boyd, Candes 2016, arXiv:1503.01243"
_gradient = sp.Function("gradient", real=True)


@dataclass(frozen=True)
class Update:
    """One step of a training rule on a single weight, at time t.

    Attributes:
        state: The weight and what else the rule remembers.
        new: The state at time t + h, with the gradient as a function of the weight.
        data: The parameters of the rule.
        published: The rates of the limit h -> 0 as the source states them; of a variable that
            the limit eliminates there is none.
        source: The paper.
    """

    state: tuple[sp.Symbol, ...]
    new: tuple[sp.Expr, ...]
    data: tuple[sp.Symbol, ...]
    published: tuple[sp.Expr, ...]
    source: str


def momentum_update() -> Update:
    """The heavy ball at a fixed momentum: m' = beta m + g, theta' = theta - h m'."""
    m = BETA * FIRST + _gradient(THETA)
    return Update(
        state=(THETA, FIRST),
        new=(THETA - STEP * m, m),
        data=(BETA,),
        published=(-GRADIENT / (1 - BETA),),
        source=POLYAK,
    )


def heavy_ball_update() -> Update:
    """The heavy ball with momentum 1 - gamma h and learning rate h^2: p is the step over h."""
    p = (1 - FRICTION * STEP) * VELOCITY - STEP * _gradient(THETA)
    return Update(
        state=(THETA, VELOCITY),
        new=(THETA + STEP * p, p),
        data=(FRICTION,),
        published=(VELOCITY, -FRICTION * VELOCITY - GRADIENT),
        source=POLYAK,
    )


def nesterov_update() -> Update:
    """Nesterov's step k = t/h with learning rate h^2: the gradient is taken at a point ahead."""
    carried = (TIME - STEP) / (TIME + 2 * STEP) * VELOCITY  # (k - 1)/(k + 2) of the step over h
    p = carried - STEP * _gradient(THETA + STEP * carried)
    return Update(
        state=(THETA, VELOCITY),
        new=(THETA + STEP * p, p),
        data=(),
        published=(VELOCITY, -3 * VELOCITY / TIME - GRADIENT),
        source=f"{SU}, equations 1 to 3",
    )


def adam_update() -> Update:
    """Adam with b_i = e^{-a_i h}: m and v are the averages after their bias is corrected."""
    g = _gradient(THETA)
    m, v = _average(FIRST, g, A1), _average(SECOND, g**2, A2)
    forgets = lambda a: a / (1 - sp.exp(-a * TIME))
    return Update(
        state=(THETA, FIRST, SECOND),
        new=(THETA - STEP * m / sp.sqrt(v + EPS), m, v),
        data=(A1, A2, EPS),
        published=(
            -FIRST / sp.sqrt(SECOND + EPS),
            forgets(A1) * (GRADIENT - FIRST),
            forgets(A2) * (GRADIENT**2 - SECOND),
        ),
        source=DA_SILVA,
    )


def rmsprop_update() -> Update:
    """RMSProp with decay e^{-a2 h}: v is the average of squares after its bias is corrected."""
    g = _gradient(THETA)
    v = _average(SECOND, g**2, A2)
    return Update(
        state=(THETA, SECOND),
        new=(THETA - STEP * g / sp.sqrt(v + EPS), v),
        data=(A2, EPS),
        published=(
            -GRADIENT / sp.sqrt(SECOND + EPS),
            A2 / (1 - sp.exp(-A2 * TIME)) * (GRADIENT**2 - SECOND),
        ),
        source=DA_SILVA,
    )


def adagrad_update() -> Update:
    """AdaGrad with the learning rate sqrt(h) and eps/h under the root: v is h times its sum."""
    g = _gradient(THETA)
    total = SECOND / STEP + g**2
    return Update(
        state=(THETA, SECOND),
        new=(
            THETA - sp.sqrt(STEP) * g / sp.sqrt(sp.together(total + EPS / STEP)),
            sp.expand(STEP * total),
        ),
        data=(EPS,),
        published=(-GRADIENT / sp.sqrt(SECOND + EPS), GRADIENT**2),
        source=DA_SILVA,
    )


def sign_update() -> Update:
    """Adam at fixed b1 and b2, long after the start, where no bias is left to correct."""
    g = _gradient(THETA)
    m, v = B1 * FIRST + (1 - B1) * g, B2 * SECOND + (1 - B2) * g**2
    return Update(
        state=(THETA, FIRST, SECOND),
        new=(THETA - STEP * m / sp.sqrt(v + EPS), m, v),
        data=(B1, B2, EPS),
        published=(-GRADIENT / sp.sqrt(GRADIENT**2 + EPS),),
        source="Ma, Wu, E 2022, arXiv:2009.06125",
    )


def _average(old: sp.Symbol, value: sp.Expr, a: sp.Symbol) -> sp.Expr:
    """The bias-corrected average at t + h: the raw one is w(t) times it, with w = 1 - e^{-a t}."""
    weight = lambda time: 1 - sp.exp(-a * time)
    b = sp.exp(-a * STEP)
    return (b * weight(TIME) * old + (1 - b) * value) / weight(TIME + STEP)


UPDATES: dict[str, Callable[[], Update]] = {
    "adagrad": adagrad_update,
    "adam": adam_update,
    "heavy ball": heavy_ball_update,
    "momentum": momentum_update,
    "nesterov": nesterov_update,
    "rmsprop": rmsprop_update,
    "sign": sign_update,
}


@cache
def rule_flow(name: str) -> Derivation:
    """The flow of a training rule on one weight, derived from its update; see `limit_flow`.

    Args:
        name: "adagrad", "adam", "heavy ball", "momentum", "nesterov", "rmsprop" or "sign".

    Returns:
        State theta, and as the rule has them m (average of gradients), v (of squares) and p
        (velocity); data g, the gradient at theta, which moves with the state, and the rule's
        parameters; claims that the rates are the published ones, and on the energy of the rules
        that have one. Per unit of flow time (step k at k h, h the learning rate), or of root time
        (k sqrt(learning rate)) for "heavy ball" and "nesterov". Rates of averages are singular at
        t = 0, where m = g and v = g^2.

    Raises:
        ValueError: `name` is none of these.

    Source:
        arXiv:1810.13108 (Adam, RMSProp, AdaGrad), arXiv:1503.01243 (Nesterov), arXiv:2009.06125
        (sign). Checked by tests/symbolic/test_training_rules.py, derivations/C2_momentum.py and
        derivations/C3_adam.py.
    """
    if name not in UPDATES:
        known = ", ".join(map(repr, UPDATES))
        raise ValueError(f"Argument `name` must be one of {known}, but it is {name!r}.")
    update = UPDATES[name]()
    flow = limit_flow(name, update)
    claims = (published_claim(flow, update),)
    if name in ENERGIES:
        claims += (energy_claim(flow, *ENERGIES[name]),)
    return replace(flow, claims=claims)


def limit_flow(name: str, update: Update) -> Derivation:
    """The limit of an update as its step h falls to zero.

    Where an update at h = 0 leaves a variable as it is, the rate is d(new)/dh at h = 0. A variable
    that moves even then is fast: it sits where it no longer moves, and is eliminated.

    Args:
        name: What the flow is called.
        update: The update.

    Returns:
        The flow of the slow variables, without claims.
    """
    pairs = list(zip(update.state, update.new, strict=True))
    moved = {s: sp.simplify(new.subs(STEP, 0).doit() - s) for s, new in pairs}
    fast = [s for s, change in moved.items() if change != 0]
    settled = sp.solve([moved[s] for s in fast], fast, dict=True)[0] if fast else {}
    rates = {
        s: new.diff(STEP).subs(STEP, 0).doit().subs(settled).subs(_gradient(THETA), GRADIENT)
        for s, new in pairs
        if s not in fast
    }
    rates = {s: _simplify(rate) for s, rate in rates.items()}
    used = [d for d in (GRADIENT, *update.data) if any(rate.has(d) for rate in rates.values())]
    return Derivation(
        name=f"flow of {name}",
        state=tuple(rates),
        rates=tuple(rates.values()),
        data=tuple(used),
        source=update.source,
    )


def _simplify(rate: sp.Expr) -> sp.Expr:
    """Simplify with each e^{-a t} held as a symbol: e^{+a t}, which overflows, must not appear."""
    decays = {decay: sp.Dummy(positive=True) for decay in rate.atoms(sp.exp)}
    held = sp.simplify(rate.subs(decays))
    return held.subs({symbol: decay for decay, symbol in decays.items()})


def published_claim(flow: Derivation, update: Update) -> Claim:
    """The claim that the limit of the update is the equation that its source states."""
    return Claim(
        name=f"limit of the update: {flow.name}",
        statement="As the learning rate falls to zero, the update becomes the published equation.",
        source=update.source,
        check=lambda: vanishing(
            *(a - b for a, b in zip(flow.rates, update.published, strict=True))
        ),
        formulas=flow.mathml(),
    )


LOSS, BEST = sp.Function("L", real=True), sp.Symbol("theta_*", real=True)

# Rule -> an energy, its rate of change as published, and where.
ENERGIES = {
    "heavy ball": (LOSS(THETA) + VELOCITY**2 / 2, -FRICTION * VELOCITY**2, POLYAK),
    "nesterov": (
        TIME**2 * (LOSS(THETA) - LOSS(BEST)) + 2 * (THETA + TIME * VELOCITY / 2 - BEST) ** 2,
        2 * TIME * (LOSS(THETA) - LOSS(BEST) - (THETA - BEST) * LOSS(THETA).diff(THETA)),
        f"{SU}, Theorem 3",
    ),
}


def energy_claim(flow: Derivation, energy: sp.Expr, stated: sp.Expr, source: str) -> Claim:
    """The claim on how fast an energy changes along a flow under the gradient of any loss L.

    For Nesterov's flow the rate is not positive where L is convex: L falls below its best by
    2 |theta_0 - theta_*|^2 / t^2 at most.
    """

    def check():
        (change,) = along((energy,), (*flow.state, TIME), (*flow.rates, sp.Integer(1)))
        return vanishing(change.subs(GRADIENT, LOSS(THETA).diff(THETA)) - stated)

    return Claim(
        name=f"energy along the {flow.name}",
        statement="The energy changes at the stated rate, whatever the loss.",
        source=source,
        check=check,
        formulas=(mathml(energy),),
    )
