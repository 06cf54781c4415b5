"""Unbalanced scalar factors and diagonal networks move, and end, as derived and published."""

import dataclasses

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.diagonal_networks import (
    PUSH,
    RATIO,
    SCALE,
    convexity_claim,
    diagonal_network,
    path_claim,
    regimes_claim,
    regression_claim,
    stationarity_claim,
)
from flowkit.symbolic.scalars import (
    IMBALANCE,
    PRODUCT,
    START,
    TARGET,
    elimination_claim,
    scalar_factors,
    time_claim,
    value_claim,
)

RTOL, SOLVER_ERROR = 1e-10, 1e-7  # of the integration, and what it may add up to
LATE = 60.0  # the slowest of the two residuals below has decayed to rounding by then
MINIMISER_ERROR = 1e-5  # of a general-purpose minimiser on a smooth convex problem


def test_every_claim_is_proved():
    factors, network = scalar_factors(), diagonal_network()
    claims = factors.factors.claims + factors.claims + network.factors.claims + network.claims
    verdicts = [claim.check() for claim in claims]
    assert len(verdicts) == 12
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


WRONG_FACTORS = {
    "sign in the rate": (elimination_claim, "rate", lambda e: e.subs(PRODUCT, -PRODUCT)),
    "power in the rate": (elimination_claim, "rate", lambda e: e.subs(IMBALANCE, IMBALANCE**2)),
    "time of another rate": (time_claim, "rate", lambda e: 2 * e),
    "time with another sign": (time_claim, "time", lambda e: -e),
    "value with another sign": (value_claim, "value", lambda e: -e),
    "value with another target": (value_claim, "value", lambda e: e.subs(TARGET, -TARGET)),
    "value with an offset": (value_claim, "value", lambda e: e + IMBALANCE),
}


@pytest.mark.parametrize(("claim", "name", "change"), WRONG_FACTORS.values(), ids=WRONG_FACTORS)
def test_changed_scalar_factors_fail(claim, name, change):
    solution = scalar_factors()
    wrong = dataclasses.replace(solution, **{name: change(getattr(solution, name))})
    assert not claim(wrong).check().passed


WRONG_NETWORK = {
    "sign of the path": (path_claim, "path", lambda e: -e),
    "gain of the path": (path_claim, "path", lambda e: e.subs(PUSH, PUSH / 2)),
    "gain": (regression_claim, "gain", lambda e: e / 2),
    "gain of the slope": (stationarity_claim, "gain", lambda e: -e),
    "penalty": (stationarity_claim, "penalty", lambda e: 2 * e),
    "concave penalty": (convexity_claim, "penalty", lambda e: -e),
    "penalty of another size": (regimes_claim, "penalty", lambda e: e.subs(RATIO, RATIO / 2)),
}


@pytest.mark.parametrize(("claim", "name", "change"), WRONG_NETWORK.values(), ids=WRONG_NETWORK)
def test_changed_diagonal_networks_fail(claim, name, change):
    network = diagonal_network()
    wrong = dataclasses.replace(network, **{name: change(getattr(network, name))})
    assert not claim(wrong).check().passed


@pytest.mark.parametrize("start", [(0.9, 0.2), (2.5, 1.5), (0.9, -0.7)])
def test_the_closed_form_is_the_integrated_flow(start):
    """From below and above the target s = 1.5, and from the other side of zero."""
    u, v = start
    target = 1.5
    field = lambda t, w: [-(w[0] * w[1] - target) * w[1], -(w[0] * w[1] - target) * w[0]]
    times = np.linspace(0, 3, 13)
    solved = solve_ivp(field, (0, 3), start, t_eval=times, rtol=RTOL, atol=RTOL)
    at = {TARGET: target, START: u * v, IMBALANCE: u**2 - v**2}
    value = sp.lambdify(TIME, scalar_factors().value.subs(at))(times)
    np.testing.assert_allclose(value, solved.y[0] * solved.y[1], atol=SOLVER_ERROR)


def test_the_closed_form_does_not_overflow():
    at = {TARGET: 1.5, START: 0.1, IMBALANCE: 0.4, TIME: 1e6}
    assert float(scalar_factors().value.subs(at)) == pytest.approx(1.5, rel=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_the_limit_of_the_flow_minimises_the_penalty(scale):
    """Two measurements of three numbers: the integrated flow against a minimiser of sum q."""
    X, y = np.array([[1.0, 0.4, -0.3], [0.2, 1.0, 0.7]]), np.array([0.8, -0.5])
    beta = lambda w: w[:3] ** 2 - w[3:] ** 2

    def field(t, w):
        slope = X.T @ (X @ beta(w) - y)
        return np.concatenate([-2 * w[:3] * slope, 2 * w[3:] * slope])

    solved = solve_ivp(field, (0, LATE / scale**2), np.full(6, scale), rtol=RTOL, atol=1e-12)
    limit = beta(solved.y[:, -1])
    np.testing.assert_allclose(X @ limit, y, atol=SOLVER_ERROR)

    penalty = sp.lambdify(RATIO, diagonal_network().penalty)
    particular = np.linalg.lstsq(X, y, rcond=None)[0]
    kernel = np.linalg.svd(X)[2][-1]
    total = lambda a: np.sum(penalty((particular + a[0] * kernel) / scale**2))
    best = particular + minimize(total, [0.0], tol=1e-12).x[0] * kernel
    np.testing.assert_allclose(limit, best, atol=MINIMISER_ERROR)


def test_the_path_is_published_with_alpha_squared():
    stated = 2 * SCALE**2 * sp.sinh(-4 * PUSH)
    assert sp.simplify((diagonal_network().path - stated).rewrite(sp.exp)) == 0
