"""Dual activations are Gaussian expectations: derived, lowered, and finite on the diagonal."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import sympy as sp

from flowkit.kernels import expectation
from flowkit.lowering import lower
from flowkit.symbolic import dual
from flowkit.symbolic.dual_claims import arc_cosine_claim, limit_claim, price_claim
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V
from flowkit.symbolic.polar import HalfPowers

NAMES = ("relu", "abs", "identity")
FUNCTIONS = {
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: np.heaviside(x, 0.0)),
    "abs": (np.abs, np.sign),
    "identity": (lambda x: x, np.ones_like),
}
COVARIANCES = {
    "independent": (1.0, 1.0, 0.0),
    "positive": (1.3, 0.4, 0.5),
    "negative": (2.0, 5.0, -2.5),
    "near the diagonal": (3.0, 3.0, 3.0 * (1 - 1e-9)),
}

QUADRATURE = 1e-10  # the quadrature's own error bound, asked for below
ROUNDING = 1e-14  # a handful of operations in float64
DIFFERENCE = 1e-8  # central differences, step 1e-5: error step^2 and eps / step


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_about_a_dual_is_proved(name):
    verdicts = [claim.check() for claim in dual(name).claims]
    assert len(verdicts) == (4 if name == "relu" else 3)
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_relu_dual_on_the_diagonal_is_half_the_covariance():
    deviations = sp.sqrt(VAR_U * VAR_V)
    relu = dual("relu")
    assert sp.simplify(relu.kappa.subs(COV, deviations) - deviations / 2) == 0
    assert sp.simplify(relu.kappa_dot.subs(COV, deviations) - sp.Rational(1, 2)) == 0


def test_identity_dual_is_the_covariance():
    assert (dual("identity").kappa, dual("identity").kappa_dot) == (COV, 1)


def test_a_changed_constant_breaks_the_claims():
    relu, function = dual("relu"), HalfPowers(1, right=1, left=0)
    wrong = sp.Rational(101, 100)
    offset = relu.kappa + VAR_U / 100  # the same derivative by cov, so Price alone misses it
    assert not price_claim("wrong", wrong * relu.kappa, relu.kappa_dot).check().passed
    assert not limit_claim("wrong", "", wrong * relu.kappa, function).check().passed
    assert not limit_claim("wrong", "", offset, function).check().passed
    assert price_claim("offset", offset, relu.kappa_dot).check().passed


@pytest.mark.parametrize("which", [0, 1])
def test_other_kernels_are_no_arc_cosines(which):
    relu = dual("relu")
    pair = relu.kappa, relu.kappa_dot
    assert arc_cosine_claim(*pair).check().passed
    for change in (lambda e: -e, lambda e: e.subs(COV, COV**2), lambda e: 2 * e):
        wrong = [change(e) if i == which else e for i, e in enumerate(pair)]
        assert not arc_cosine_claim(*wrong).check().passed


def test_dual_is_derived_once():
    assert dual("relu") is dual("relu")
    assert lower(dual("relu")) is lower(dual("relu"))


def test_unknown_activation_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"`activation` must be one of `relu`, .* but it is `'tang"
    ):
        dual("tangent")


@pytest.mark.parametrize("covariance", COVARIANCES.values(), ids=COVARIANCES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_lowered_dual_matches_polar_quadrature(name, covariance):
    kappa, kappa_dot = lower(dual(name))(*covariance)
    activation, derivative = FUNCTIONS[name]
    assert abs(kappa - polar_quadrature(activation, 1, *covariance)) < QUADRATURE
    assert abs(kappa_dot - polar_quadrature(derivative, 0, *covariance)) < QUADRATURE


def polar_quadrature(function, degree, var_u, var_v, cov):
    """E[f(u) f(v)] of a homogeneous f by numerical integration over the angle alone."""
    a, b = np.sqrt(var_u), np.sqrt(var_v)
    theta = np.arccos(cov / (a * b))
    kinks = sorted({k % (2 * np.pi) for s in (0, theta) for k in (s - np.pi / 2, s + np.pi / 2)})
    integrand = lambda phi: float(function(a * np.cos(phi)) * function(b * np.cos(theta - phi)))
    ends = [kinks[-1] - 2 * np.pi, *kinks]  # one whole turn, piece by smooth piece
    parts = [
        scipy.integrate.quad(integrand, lo, hi, epsabs=QUADRATURE / 10)[0]
        for lo, hi in itertools.pairwise(ends)
    ]
    return {1: 2.0, 0: 1.0}[degree] / (2 * np.pi) * sum(parts)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_identical_arguments_have_correlation_exactly_one(transform):
    variance = np.random.default_rng(0).uniform(1e-6, 1e6, 10_000)
    kappa, kappa_dot = transform(lower(dual("relu")))(variance, variance, variance)
    assert jnp.all(kappa == variance / 2)
    assert jnp.all(kappa_dot == 0.5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("covariance", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0)])
def test_zero_variance_gives_zero_and_finite_gradients(name, covariance):
    function = lower(dual(name))
    assert function(*covariance)[0] == 0
    for which in (0, 1):
        gradients = jax.grad(lambda *c, i=which: function(*c)[i], (0, 1, 2))(*covariance)
        assert all(jnp.isfinite(gradient) for gradient in gradients)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_on_the_diagonal_is_that_of_prices_theorem(name, sign):
    function = lower(dual(name))
    point = (2.0, 8.0, sign * 4.0)
    gradients = jax.grad(lambda *c: function(*c)[0], (0, 1, 2))(*point)
    np.testing.assert_allclose(gradients, (0, 0, function(*point)[1]), atol=ROUNDING)
    gradients = jax.grad(lambda *c: function(*c)[1], (0, 1, 2))(*point)
    assert all(jnp.isfinite(gradient) for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_off_the_diagonal_matches_differences(name):
    function, point, step = lower(dual(name)), np.array([1.5, 0.7, 0.6]), 1e-5
    for which in (0, 1):
        value = lambda c, i=which: function(c[0], c[1], c[2])[i]
        gradient = jax.grad(value)(jnp.asarray(point))
        shifts = step * np.eye(3)
        differences = [(value(point + s) - value(point - s)) / (2 * step) for s in shifts]
        np.testing.assert_allclose(gradient, differences, atol=DIFFERENCE)


def test_rounding_beyond_the_diagonal_is_harmless():
    above = np.nextafter(1.0, 2.0)
    kappa, kappa_dot = lower(dual("relu"))(1.0, 1.0, above)
    assert abs(kappa - 0.5) < ROUNDING
    assert kappa_dot == 0.5


def test_expectation_broadcasts_and_keeps_the_dtype():
    variances = np.ones((4, 1), np.float32)
    value = expectation("relu", variances, np.ones(3, np.float32), np.zeros(3, np.float32))
    assert value.shape == (4, 3)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, 1 / (2 * np.pi), rtol=1e-6)  # float32
    assert expectation("identity", 1, 1, 1) == 1


def test_expectation_refuses_a_negative_variance():
    with pytest.raises(RuntimeError, match="`var_u` and `var_v` must not be negative"):
        expectation("relu", -1.0, 1.0, 0.0)
