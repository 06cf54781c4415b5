"""Completing the square is a matrix identity, and every step of the integration can fail."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp

from flowkit.lowering.gaps import determinant
from flowkit.symbolic import QuadratureDual, dual
from flowkit.symbolic.activations import X
from flowkit.symbolic.dual_claims import price_claim
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V, Gaussian
from flowkit.symbolic.generating import NotElementaryError, smooth_expectation, terms_of
from flowkit.symbolic.polar import HalfPowers

EPSILON = 2.0**-52
a, b, c, d = sp.symbols("a b c d", real=True)


def test_completing_the_square_is_the_matrix_identity():
    """T^-1 = S^-1 - 2 A, factor sqrt(det T / det S), mean T B, exponent B^T T B / 2."""
    S = sp.Matrix([[VAR_U, COV], [COV, VAR_V]])
    T = (S.inv() - 2 * sp.diag(a, c)).inv()
    B = sp.Matrix([b, d])
    factor, exponent, law = Gaussian().tilted(a, b, c, d)
    found = sp.Matrix([[law.uu, law.uv], [law.uv, law.vv]])
    assert (found - T).applyfunc(sp.simplify) == sp.zeros(2, 2)
    mean = sp.Matrix([law.mean_u, law.mean_v])
    assert (mean - T * B).applyfunc(sp.simplify) == sp.zeros(2, 1)
    assert sp.simplify(exponent - (B.T * T * B)[0] / 2) == 0
    assert sp.simplify(factor**2 - T.det() / S.det()) == 0


def test_moments_are_those_of_isserlis():
    """E[u^2 v^2] = var_u var_v + 2 cov^2, E[u^3 v^3] = 9 var_u var_v cov + 6 cov^3."""
    assert sp.expand(smooth_expectation(X**2, X) - VAR_U * VAR_V - 2 * COV**2) == 0
    third = 9 * VAR_U * VAR_V * COV + 6 * COV**3
    assert sp.expand(smooth_expectation(X**3, X) - third) == 0
    assert smooth_expectation(sp.Integer(3), X) == 9


@pytest.mark.parametrize("wrong", ["uv", "uu"])
def test_prices_theorem_fails_for_a_wrong_covariance_after_the_square(monkeypatch, wrong):
    right = Gaussian.tilted

    def tilted(self, *exponents):
        factor, exponent, law = right(self, *exponents)
        values = {name: getattr(law, name) for name in ("uu", "vv", "uv")}
        return factor, exponent, Gaussian(**(values | {wrong: 2 * values[wrong]}))

    function = X * sp.exp(-(X**2))
    expectations = lambda: [smooth_expectation(f, X) for f in (function, sp.diff(function, X))]
    assert price_claim("right", *expectations()).check().passed
    monkeypatch.setattr(Gaussian, "tilted", tilted)
    assert not price_claim("wrong", *expectations()).check().passed


@pytest.mark.parametrize(
    "function", [sp.tanh(X), sp.exp(X**2), sp.exp(X**3), 1 / X, sp.erf(X) ** 2, sp.erf(X + 1)]
)
def test_what_has_no_closed_form_is_refused_by_name(function):
    with pytest.raises(NotElementaryError, match="Cannot integrate"):
        terms_of(function, X)


def test_what_has_no_closed_form_becomes_a_rule():
    assert isinstance(dual(sp.tanh(X) + X), QuadratureDual)
    assert isinstance(dual(sp.erf(X) * sp.exp(X)), QuadratureDual)


def test_half_powers_are_recognised_by_their_two_sides():
    recognised = lambda f: HalfPowers.recognised(f, X)
    assert recognised(sp.Max(0, X) ** 2) == HalfPowers(2, 1, 0)
    assert recognised(sp.Max(0, X) - 3 * sp.Min(0, X)) == HalfPowers(1, 1, -3)
    assert recognised(sp.sign(X)) == HalfPowers(0, 1, -1)
    assert recognised(sp.Abs(X) + X**2) is None
    assert recognised(sp.exp(-sp.Abs(X))) is None


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_determinant_keeps_its_digits(transform):
    """Relative error of a few units in the last place, where plain arithmetic has none left."""
    generator = np.random.default_rng(0)
    var_u, var_v = generator.uniform(0.1, 10, (2, 200))
    cov = np.sqrt(var_u * var_v) * (1 - 10.0 ** generator.uniform(-15, 0, 200))
    with mpmath.workdps(40):
        triples = [tuple(map(mpmath.mpf, triple)) for triple in zip(var_u, var_v, cov, strict=True)]
        truth = np.array([float(u * v - c * c) for u, v, c in triples])
    found = np.asarray(transform(determinant)(*map(jnp.asarray, (var_u, var_v, cov))))
    positive = truth > 0
    errors = abs(found - truth)[positive] / truth[positive]
    assert errors.max() < 8 * EPSILON
    plain = abs(var_u * var_v - cov**2 - truth)[positive] / truth[positive]
    assert plain.max() > 1e-3
    assert (found[~positive] == 0).all()
