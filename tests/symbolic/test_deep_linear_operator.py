"""The end-to-end operator has the published eigenvalues, all positive; every check can fail."""

import dataclasses

import numpy as np
import pytest
import sympy as sp

from flowkit.symbolic.factorization import end_to_end_flow
from flowkit.symbolic.operator import (
    S_I,
    S_J,
    VALUE,
    deep_claim,
    descent_claim,
    end_to_end_spectrum,
    limits_claim,
    operator_claim,
    sum_claim,
)

N = sp.Symbol("N", integer=True, positive=True)
DEPTHS = (1, 2, 3, 4)
ROUNDING = 1e-12  # of a dozen products of numbers near 1
DEEP, LIMIT_ERROR = 10**6, 1e-5  # the limit of many factors is met in proportion to 1/N


@pytest.mark.parametrize("depth", [*DEPTHS, N])
def test_every_claim_is_proved(depth):
    verdicts = [claim.check() for claim in end_to_end_spectrum(depth).claims]
    assert len(verdicts) == 4
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_the_symbolic_depth_specialises():
    general = end_to_end_spectrum(N).eigenvalue.subs(N, 3)
    assert sp.simplify(general - end_to_end_spectrum(3).eigenvalue) == 0


@pytest.mark.parametrize(("claim", "depth"), [(sum_claim, 3), (sum_claim, N), (descent_claim, 3)])
def test_a_changed_exponent_fails(depth, claim):
    spectrum = end_to_end_spectrum(depth)
    assert claim(spectrum).check().passed
    wrong = spectrum.eigenvalue.subs(S_I, S_I**2)
    assert not claim(dataclasses.replace(spectrum, eigenvalue=wrong)).check().passed


@pytest.mark.parametrize("claim", [sum_claim, descent_claim, operator_claim])
def test_a_changed_sign_fails(claim):
    spectrum = end_to_end_spectrum(3)
    wrong = dataclasses.replace(spectrum, eigenvalue=-spectrum.eigenvalue)
    assert not claim(wrong).check().passed


@pytest.mark.parametrize("name", ["equal", "beside_zero"])
def test_a_changed_limit_fails(name):
    spectrum = end_to_end_spectrum(3)
    wrong = dataclasses.replace(spectrum, **{name: VALUE * getattr(spectrum, name)})
    assert not limits_claim(wrong).check().passed


def test_a_changed_deep_limit_fails():
    spectrum = end_to_end_spectrum(N)
    assert (
        not deep_claim(dataclasses.replace(spectrum, deep=sp.Mul(2, spectrum.deep))).check().passed
    )


def test_the_operator_of_another_depth_fails():
    other = dataclasses.replace(end_to_end_spectrum(3), flow=end_to_end_flow(4))
    assert not operator_claim(other).check().passed


def test_the_eigenvalues_are_those_of_the_operator_as_a_matrix():
    """Against NumPy: the operator on 9 entries of G at a W that is not diagonal."""
    rng, depth, size = np.random.default_rng(1), 3, 3
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    s = np.array([1.7, 0.9, 0.4])
    P, Q = left * s ** (2 / depth) @ left.T, right * s ** (2 / depth) @ right.T
    power = np.linalg.matrix_power
    terms = [np.kron(power(P, j), power(Q, depth - 1 - j)) for j in range(depth)]
    measured = np.sort(np.linalg.eigvalsh(sum(terms)))
    spectrum = end_to_end_spectrum(depth)
    value = sp.lambdify((S_I, S_J), spectrum.eigenvalue)
    equal = sp.lambdify(VALUE, spectrum.equal)
    derived = [equal(a) if a == b else value(a, b) for a in s for b in s]
    np.testing.assert_allclose(np.sort(derived), measured, rtol=ROUNDING)


def test_many_factors_come_near_the_deep_limit():
    spectrum = end_to_end_spectrum(N)
    at = {S_I: sp.Rational(17, 10), S_J: sp.Rational(2, 5)}
    finite = sp.N((spectrum.eigenvalue / N).subs({N: DEEP, **at}), 30)
    assert abs(finite / sp.N(spectrum.deep.subs(at), 30) - 1) < LIMIT_ERROR


@pytest.mark.parametrize("depth", [0, -1, 2.0, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        end_to_end_spectrum(depth)
