"""Every dual activation is pinned down by claims, and a changed dual breaks them."""

import dataclasses

import pytest
import sympy as sp

from flowkit.symbolic import dual
from flowkit.symbolic.activations import ACTIVATIONS, X
from flowkit.symbolic.dual_claims import limit_claim, measured_limit_claim, price_claim
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V
from flowkit.symbolic.polar import HalfPowers

a = sp.Symbol("a", real=True)
CLOSED = {
    "leaky ReLU": ("leaky_relu", {}),
    "leaky ReLU of any slope": ("leaky_relu", {"slope": a}),
    "step": ("step", {}),
    "sign": ("sign", {}),
    "ReLU^2": ("relu", {"power": 2}),
    "ReLU^3": ("relu", {"power": 3}),
    "erf": ("erf", {}),
    "GELU": ("gelu", {}),
    "sin": ("sin", {}),
    "cos": ("cos", {}),
    "exp": ("exp", {}),
    "Gaussian": ("gaussian", {}),
    "Hermite 3": ("hermite", {"degree": 3}),
    "a sum": (2 * sp.sin(3 * X) + X**2, {}),
    "a product": (X * sp.sin(X), {}),
    "|x|^3": (sp.Abs(X) ** 3, {}),
}
CASES = pytest.mark.parametrize(("name", "parameters"), CLOSED.values(), ids=CLOSED.keys())


@CASES
def test_every_claim_holds(name, parameters):
    verdicts = [claim.check() for claim in dual(name, **parameters).claims]
    assert len(verdicts) >= 2
    assert verdicts[0].kind == "proved"
    assert [verdict.measured for verdict in verdicts if not verdict.passed] == []


@pytest.mark.parametrize(
    "case", ["leaky ReLU", "step", "ReLU^2", "erf", "sin", "Gaussian", "a sum"]
)
def test_prices_theorem_fails_for_a_changed_sign(case):
    name, parameters = CLOSED[case]
    found = dual(name, **parameters)
    changed = dataclasses.replace(found, kappa=-found.kappa)
    assert not price_claim("changed", changed.kappa, changed.kappa_dot).check().passed


@pytest.mark.parametrize("name", ["erf", "gelu", "sin", "cos", "exp", "gaussian"])
def test_the_limits_fail_for_an_offset_that_price_cannot_see(name):
    found, function = dual(name), ACTIVATIONS[name]()
    shifted = found.kappa + VAR_U * VAR_V / 10**6
    assert price_claim("shifted", shifted, found.kappa_dot).check().passed
    assert measured_limit_claim("kept", "", found.kappa, function, X).check().passed
    assert not measured_limit_claim("shifted", "", shifted, function, X).check().passed


def test_the_limits_fail_for_a_changed_exponent():
    kappa = dual("relu", power=2).kappa
    changed = kappa.replace(sp.Pow, lambda b, e: b**3 if (b, e) == (COV, 2) else b**e)
    assert changed != kappa
    assert not limit_claim("changed", "", changed, HalfPowers(2, 1, 0)).check().passed


def test_published_duals():
    """Cho, Saul 2009, equations 4 to 6; Williams 1997, equation 11; arXiv:1602.05897, table 1."""
    theta = sp.Symbol("theta", positive=True)
    at_unit = lambda e: e.subs({VAR_U: 1, VAR_V: 1}).subs(COV, sp.cos(theta))
    numeric = lambda e: sp.N(at_unit(e).subs(theta, sp.Rational(7, 10)), 30)
    square = 3 * sp.sin(theta) * sp.cos(theta) + (sp.pi - theta) * (1 + 2 * sp.cos(theta) ** 2)
    published = [
        (dual("step"), (sp.pi - theta) / (2 * sp.pi)),
        (dual("relu", power=2), square / (2 * sp.pi)),
        (dual("erf"), 2 / sp.pi * sp.asin(2 * sp.cos(theta) / 3)),
        (dual("sin"), sp.exp(-1) * sp.sinh(sp.cos(theta))),
    ]
    for found, stated in published:
        assert abs(numeric(found.kappa) - numeric(stated)) < 1e-25  # of 30 digits


def test_hermite_duals_are_the_powers_of_the_correlation():
    for degree in range(7):
        kappa = dual("hermite", degree=degree).kappa.subs({VAR_U: 1, VAR_V: 1})
        assert sp.expand(kappa - COV**degree) == 0


@pytest.mark.parametrize(
    ("activation", "parameters", "message"),
    [
        ("relu", {"slope": 1}, "`relu` must be among"),
        ("relu", {"power": -1}, "`power` must be a natural number"),
        ("hermite", {"degree": 1.5}, "`degree` must be a natural number"),
        (sp.sin(a) + X, {}, "an expression in one symbol"),
        (sp.sin(a), {"power": 2}, "of a function must be among"),
        ("relus", {}, "must be one of `relu`"),
    ],
)
def test_what_is_no_activation_is_refused(activation, parameters, message):
    with pytest.raises(ValueError, match=message):
        dual(activation, **parameters)


def test_spellings_of_one_activation_agree():
    assert dual(sp.Max(a, 0)).kappa == dual("relu").kappa
    assert dual(sp.Heaviside(X)).kappa == dual("step").kappa
    assert dual(dual("relu")) is dual("relu")
    assert dual("relu", power=1).kappa == dual("relu").kappa
