"""Two lambda-balanced layers obey the Riccati equation, which the closed form solves."""

import dataclasses

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm
from sympy import Identity, MatrixSymbol

from flowkit.claims.two_layers import closed_form
from flowkit.symbolic.gradient import rate_along
from flowkit.symbolic.rewriting import coefficients, rewrite, spelled, zero_matrices
from flowkit.symbolic.riccati import (
    integral_claim,
    riccati_solution,
    solution_claim,
    start_claim,
)
from flowkit.symbolic.two_layers import (
    BALANCE,
    generator_claim,
    riccati_claim,
    singular_claim,
    two_layer_riccati,
)

OUT, HIDDEN, IN = 4, 3, 3
ROUNDING = 1e-11  # of a matrix exponential and two solves of well-conditioned systems


def test_every_claim_is_proved():
    equation, solution = two_layer_riccati(), riccati_solution()
    claims = (*equation.claims, *equation.layers.claims, *solution.claims)
    verdicts = [claim.check() for claim in claims]
    assert len(verdicts) == 8
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize("claim", [riccati_claim, generator_claim, singular_claim])
def test_the_other_sign_of_lambda_fails(claim):
    equation = two_layer_riccati()
    (first, S_T), (S, last) = equation.F
    flipped = ((first.subs(BALANCE, -BALANCE), S_T), (S, last.subs(BALANCE, -BALANCE)))
    assert not claim(dataclasses.replace(equation, F=flipped)).check().passed


def test_another_square_fails():
    equation = two_layer_riccati()
    (P,), (rate,) = equation.riccati.state, equation.riccati.rates
    wrong = dataclasses.replace(equation.riccati, rates=((rate + 2 * P * P).doit(),))
    assert not riccati_claim(dataclasses.replace(equation, riccati=wrong)).check().passed


def test_layers_that_run_twice_as_fast_fail():
    equation = two_layer_riccati()
    rates = (2 * equation.layers.rates[0], equation.layers.rates[1])
    faster = dataclasses.replace(equation.layers, rates=rates)
    assert not riccati_claim(dataclasses.replace(equation, layers=faster)).check().passed


def test_a_closed_form_with_another_sign_fails():
    solution = riccati_solution()
    _, J = solution.clock.state
    wrong = dataclasses.replace(solution, value=solution.value.xreplace({J: -J}))
    assert not solution_claim(wrong).check().passed


def test_a_closed_form_of_twice_the_size_fails():
    solution = riccati_solution()
    wrong = dataclasses.replace(solution, value=2 * solution.value)
    assert not solution_claim(wrong).check().passed
    assert not start_claim(wrong).check().passed


def test_an_exponential_of_another_rate_fails():
    solution = riccati_solution()
    E_rate, J_rate = solution.clock.rates
    for rates in ((2 * E_rate, J_rate), (E_rate, 2 * J_rate)):
        clock = dataclasses.replace(solution.clock, rates=rates)
        wrong = dataclasses.replace(solution, clock=clock)
        assert not solution_claim(wrong).check().passed
        assert not integral_claim(wrong).check().passed


@pytest.mark.parametrize("balance", [0.3, -0.3])
@pytest.mark.parametrize("time", [0.0, 0.7, 2.0])
def test_the_symbols_are_the_closed_form_that_solves_meet(balance, time):
    """Against the numerical closed form, which integrated flows confirm for either lambda."""
    rng = np.random.default_rng(0)
    target, Q = rng.normal(size=(OUT, IN)), rng.normal(size=(OUT + IN, HIDDEN))
    F = np.block([[-balance / 2 * np.eye(IN), target.T], [target, balance / 2 * np.eye(OUT)]])
    solution = riccati_solution()
    E, J = solution.clock.state
    ((F_symbol,), (start,)) = solution.clock.data, solution.value.atoms(MatrixSymbol) - {E, J}
    sizes = {start.rows: OUT + IN, start.cols: HIDDEN}
    at_sizes = lambda *symbols: [symbol.subs(sizes) for symbol in symbols]
    grown = expm(F * time)
    integral = sp.lambdify(at_sizes(E, F_symbol), solution.invertible.subs(sizes))(grown, F)
    value = sp.lambdify(at_sizes(E, J, start), solution.value.subs(sizes))(grown, integral, Q)
    stated = closed_form(Q, target, balance, time)
    np.testing.assert_allclose(value, stated, rtol=ROUNDING, atol=ROUNDING * np.abs(stated).max())


n = sp.Symbol("n", integer=True, positive=True)
A, B, C = (MatrixSymbol(name, n, n) for name in "ABC")


def test_rules_apply_until_none_does():
    rules = {(A, B): B * A}
    assert zero_matrices(rewrite(A * A * B, rules) - B * A * A).passed
    assert zero_matrices(rewrite((A * B) ** 2, {(A, B): Identity(n)}) - Identity(n)).passed
    assert not zero_matrices(rewrite(A * B, {(A, C): C}) - B * A).passed


def test_words_take_powers_apart():
    assert coefficients(3 * A * B * A * B - A) == {(A, B, A, B): 3, (A,): -1}
    squared = rate_along(spelled((A * A + B).doit()), {A: C})
    assert zero_matrices(squared - A * C - C * A).passed
