"""A wrong identity fails at once at a point; a proof is what algebra reduces to zero."""

import time

import pytest
import sympy as sp

from flowkit.symbolic import vanishing as room
from flowkit.symbolic.vanishing import counterexample, vanishes, vanishing

x, y = sp.symbols("x y", positive=True)
z = sp.Symbol("z", real=True)
f = sp.Function("f", real=True)
AT_ONCE = 2.0  # seconds; `simplify` of `BIG` takes minutes
BIG = sp.Add(
    *(sp.sqrt(x + k) * sp.exp(k * z) / (1 + y**k) - sp.log(k + z**2) for k in range(2, 40))
)

IDENTITIES = {
    "zero": sp.Integer(0),
    "trigonometry": sp.sin(z) ** 2 + sp.cos(z) ** 2 - 1,
    "roots of positive numbers": sp.sqrt(x**2 * y**4) - x * y**2,
    "nested roots": (sp.sqrt(2) * sp.sqrt(3) - sp.sqrt(6)) * sp.exp(z),
    "any function": f(z).diff(z) * f(z) - (f(z) ** 2).diff(z) / 2,
    "integer power": sp.cos(2 * sp.pi * sp.Symbol("n", integer=True)) - 1,
}


@pytest.mark.parametrize("defect", IDENTITIES.values(), ids=IDENTITIES)
def test_identities_are_proved(defect):
    verdict = vanishing(defect, defect)
    assert verdict.passed
    assert verdict.kind == "proved"
    assert verdict.measured == verdict.expected == "defects 0, 0"


WRONG = {
    "constant": sp.Integer(3),
    "root of any number": sp.sqrt(z**2) - z,
    "sign": sp.sin(z) ** 2 - sp.cos(z) ** 2 - 1,
    "another derivative": f(z).diff(z) - f(z).diff(z, 2),
    "integer power": sp.Symbol("n", positive=True, integer=True) ** 2 - 1,
    "one of two": f(z) - f(x),
}


@pytest.mark.parametrize("defect", WRONG.values(), ids=WRONG)
def test_wrong_identities_have_a_counterexample(defect):
    verdict = vanishing(sp.Integer(0), defect)
    assert not verdict.passed
    assert verdict.measured == f"defect {counterexample(defect)}"


def test_a_big_wrong_defect_fails_at_once_without_algebra(monkeypatch):
    monkeypatch.setattr(room.sp, "simplify", lambda defect: pytest.fail("was simplified"))
    begun = time.perf_counter()
    verdict = vanishing(sp.Integer(0), BIG)
    assert not verdict.passed
    assert time.perf_counter() - begun < AT_ONCE
    assert " at x = " in verdict.measured


def test_numbers_alone_prove_nothing(monkeypatch):
    """Below what the numbers resolve, where they are blind, and where algebra finds no zero."""
    for defect in (x / 10**40, sp.nan):
        assert counterexample(defect) is None
        assert not vanishes(defect)
    identity = IDENTITIES["trigonometry"]
    assert vanishes(identity)
    monkeypatch.setattr(room.sp, "simplify", lambda defect: defect)
    assert counterexample(identity) is None
    assert not vanishes(identity)


def test_points_are_drawn_as_symbols_are_declared():
    """Each of these is zero where its symbol may be, and nowhere else."""
    positive, negative = sp.Symbol("p", positive=True), sp.Symbol("q", negative=True)
    even, odd = sp.Symbol("e", even=True), sp.Symbol("o", odd=True, positive=True)
    for defect in (
        sp.Abs(positive) - positive,
        sp.Abs(negative) + negative,
        sp.cos(sp.pi * even) - 1,
        sp.cos(sp.pi * odd) + 1,
    ):
        assert counterexample(defect) is None
