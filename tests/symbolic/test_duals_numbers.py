"""Lowered duals agree with independent integration, up to correlations of 1 - 1e-12."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import sympy as sp
from scipy.stats import norm

from flowkit.kernels import FullyConnected, expectation
from flowkit.lowering import lower, quadrature_error, rule_claim
from flowkit.symbolic import dual
from flowkit.symbolic.activations import ACTIVATIONS, X
from flowkit.symbolic.quadrature import normal_rule

COVARIANCES = {
    "independent": (1.0, 0.7, 0.0),
    "general": (1.3, 0.4, 0.5),
    "negative": (0.9, 0.5, -0.6),
    "nearly degenerate": (0.7, 0.7, 0.7 * (1 - 1e-12)),
    "nearly degenerate, unequal": (0.3, 1.1, (0.3 * 1.1) ** 0.5 * (1 - 1e-12)),
}
PLACES = pytest.mark.parametrize("place", COVARIANCES.values(), ids=COVARIANCES.keys())
AGREEMENT = 1e-12  # relative to the deviations sqrt(E[s(u)^2] E[s(v)^2])

SMOOTH = {
    "erf": sp.erf(X),
    "gelu": ACTIVATIONS["gelu"](),
    "sin": sp.sin(X),
    "cos": sp.cos(X),
    "exp": sp.exp(X),
    "gaussian": sp.exp(-(X**2)),
    "hermite": ACTIVATIONS["hermite"](),
    "tanh": sp.tanh(X),
    "sigmoid": 1 / (1 + sp.exp(-X)),
    "softplus": sp.log(1 + sp.exp(X)),
    "silu": X / (1 + sp.exp(-X)),
}
KINKED = {  # degree, s, s'
    "relu": (1, lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0.5)),
    "leaky_relu": (1, lambda x: np.maximum(x, x / 100), lambda x: np.where(x > 0, 1, 0.01)),
    "step": (0, lambda x: np.heaviside(x, 0.5), None),
}


def exact_gap(var_u, var_v, cov):
    """1 - rho^2 of the given floats, to 40 digits."""
    with mpmath.workdps(40):
        u, v, c = map(mpmath.mpf, (var_u, var_v, cov))
        return float(1 - c * c / (u * v)), float(mpmath.acos(c / mpmath.sqrt(u * v)))


def gauss_hermite(function, var_u, var_v, cov, nodes=200):
    """E[f(u) f(v)] of a function analytic near the real axis."""
    x, w = scipy.special.roots_hermitenorm(nodes)
    w = w / w.sum()
    rest = np.sqrt(var_v * exact_gap(var_u, var_v, cov)[0])
    f = sp.lambdify(X, function, ["scipy", "numpy"])
    u = np.sqrt(var_u) * x[:, None]
    v = cov / np.sqrt(var_u) * x[:, None] + rest * x[None]
    return np.sum(w[:, None] * w[None] * f(u) * f(v))


def polar(function, degree, var_u, var_v, cov):
    """E[f(u) f(v)] of a homogeneous f, over the angle piece by smooth piece."""
    a, b, theta = np.sqrt(var_u), np.sqrt(var_v), exact_gap(var_u, var_v, cov)[1]
    kinks = sorted({k % (2 * np.pi) for s in (0, theta) for k in (s - np.pi / 2, s + np.pi / 2)})
    integrand = lambda phi: float(function(a * np.cos(phi)) * function(b * np.cos(theta - phi)))
    pieces = itertools.pairwise([kinks[-1] - 2 * np.pi, *kinks])
    parts = [scipy.integrate.quad(integrand, lo, hi, epsabs=1e-14)[0] for lo, hi in pieces]
    return {1: 2.0, 0: 1.0}[degree] / (2 * np.pi) * sum(parts)


def scale(function, place):
    """sqrt(E[s(u)^2] E[s(v)^2]) for both expectations."""
    squares = [function(var, var, var) for var in place[:2]]
    return [np.sqrt(float(squares[0][i] * squares[1][i])) for i in (0, 1)]


@PLACES
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_duals_agree_with_gauss_hermite(name, place):
    function, expression = lower(dual(name)), SMOOTH[name]
    truths = [gauss_hermite(f, *place) for f in (expression, sp.diff(expression, X))]
    for found, truth, size in zip(function(*place), truths, scale(function, place), strict=True):
        assert abs(found - truth) < AGREEMENT * max(size, abs(truth))


@PLACES
@pytest.mark.parametrize("name", KINKED)
def test_kinked_duals_agree_with_integration_over_the_angle(name, place):
    degree, s, slope = KINKED[name]
    kappa, kappa_dot = lower(dual(name))(*place)
    a_b = np.sqrt(place[0] * place[1]) ** degree
    assert abs(kappa - polar(s, degree, *place)) < AGREEMENT * a_b
    if slope is not None:
        assert abs(kappa_dot - polar(slope, degree - 1, *place)) < AGREEMENT


def test_a_jump_has_the_density_at_the_origin_as_its_second_dual():
    place = COVARIANCES["nearly degenerate, unequal"]
    with mpmath.workdps(40):
        u, v, c = map(mpmath.mpf, place)
        density = float(1 / (2 * mpmath.pi * mpmath.sqrt(u * v - c * c)))
    assert abs(lower(dual("step"))(*place)[1] / density - 1) < AGREEMENT


def elu_given(mean, deviation, order):
    """E[elu(v)] or E[elu'(v)] of v ~ N(mean, deviation^2), by hand."""
    below = norm.cdf(-mean / deviation - deviation) * np.exp(mean + deviation**2 / 2)
    z = mean / deviation
    linear = mean * norm.cdf(z) + deviation * norm.pdf(z) - norm.cdf(-z)
    return below + (norm.cdf(z) if order else linear)


@PLACES
def test_the_elu_agrees_with_conditional_means(place):
    var_u, var_v, cov = place
    rest = np.sqrt(var_v * exact_gap(*place)[0])
    for order, found in enumerate(lower(dual("elu"))(*place)):
        outer = lambda u, k=order: np.where(u > 0, 1.0 if k else u, np.exp(u) - (0 if k else 1))
        integrand = lambda u, k=order, f=outer: (
            f(u) * elu_given(cov / var_u * u, rest, k) * norm.pdf(u, scale=np.sqrt(var_u))
        )
        ends = np.sqrt(var_u) * np.array([-9, -4, -1, -1e-5, 0, 1e-5, 1, 4, 9])
        parts = [scipy.integrate.quad(integrand, *e)[0] for e in itertools.pairwise(ends)]
        assert abs(found - sum(parts)) < AGREEMENT


@pytest.mark.parametrize("name", ["tanh", "silu", "elu"])
def test_the_error_bound_bounds_the_error(name):
    """With few nodes the error is visible, and the bound lies above it."""
    place, fine = (3.0, 2.0, 1.0), lower(dual(name, nodes=256))
    for nodes in (16, 32):
        coarse = dual(name, nodes=nodes)
        error = max(abs(a - b) for a, b in zip(lower(coarse)(*place), fine(*place), strict=True))
        assert error <= quadrature_error(coarse, *place)
    assert error > 1e-13


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "silu", "elu"])
def test_the_claim_about_a_rule_holds_and_fails_with_too_few_nodes(name):
    assert rule_claim(dual(name)).check().passed
    assert not rule_claim(dual(name, nodes=8)).check().passed


def test_the_trapezoidal_rule_beats_gauss_hermite_near_poles():
    """tanh has poles at distance pi/2: at variance 4 and 64 nodes."""
    integral = lambda x, w: np.sum(w * np.tanh(2 * x) ** 2)
    truth = integral(*normal_rule(1000))
    x, w = scipy.special.roots_hermitenorm(64)
    hermite_error = abs(integral(x, w / w.sum()) - truth)
    assert abs(integral(*normal_rule(64)) - truth) < hermite_error / 10


GUARDED = ["gelu", "erf", "sin", "cos", "exp", "gaussian", "hermite", "leaky_relu", "tanh", "elu"]


@pytest.mark.parametrize("name", [*GUARDED, "softplus", "silu", "sigmoid"])
def test_values_and_gradients_are_finite_where_variables_coincide_or_vanish(name):
    function = lower(dual(name))
    gradients = [jax.jit(jax.grad(lambda *c, i=i: function(*c)[i], (0, 1, 2))) for i in (0, 1)]
    for place in [(2.0, 8.0, 4.0), (2.0, 8.0, -4.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)]:
        assert jnp.isfinite(jnp.stack(function(*place))).all()
        for gradient in gradients:
            assert jnp.isfinite(jnp.stack(gradient(*place))).all()


@pytest.mark.parametrize("name", ["gelu", "sin", "tanh", "elu"])
@pytest.mark.parametrize("cov", [4.0, -4.0])
def test_prices_theorem_holds_of_the_gradient_on_the_diagonal(name, cov):
    function = lower(dual(name))
    slope = jax.grad(lambda c: function(2.0, 8.0, c)[0])(cov)
    assert abs(slope - function(2.0, 8.0, cov)[1]) < 1e-7  # tanh's error at variance 8


@pytest.mark.parametrize("name", ["tanh", "elu", "gelu"])
def test_gradients_agree_with_differences(name):
    function, place, step = lower(dual(name)), jnp.array([0.9, 0.5, 0.3]), 1e-5
    for which in (0, 1):
        value = jax.jit(lambda c, i=which: function(c[0], c[1], c[2])[i])
        shifts = step * np.eye(3)
        differences = [(value(place + s) - value(place - s)) / (2 * step) for s in shifts]
        np.testing.assert_allclose(jax.grad(value)(place), differences, atol=1e-8)  # step^2


def test_a_function_is_integrated_like_the_expression():
    place = COVARIANCES["general"]
    assert abs(expectation(jnp.tanh, *place) - expectation("tanh", *place)) < AGREEMENT
    cubic = expectation(lambda x: x**3 - x, *place)
    assert abs(cubic - expectation(X**3 - X, *place)) < AGREEMENT


def test_sines_of_a_small_covariance_keep_their_digits():
    assert abs(lower(dual("sin"))(1.0, 1.0, 1e-12)[0] / (1e-12 * np.exp(-1)) - 1) < AGREEMENT
    assert jnp.isfinite(jnp.stack(lower(dual("sin"))(2e3, 2e3, -2e3))).all()


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("step", "sign")])
def test_networks_take_every_activation(name):
    x = jnp.array([[0.6, 0.8], [0.6, -0.8]])
    kernel = FullyConnected(3, name)
    gram = kernel.gram(x)
    assert jnp.isfinite(gram).all()
    assert jnp.linalg.eigvalsh(gram)[0] > 0
