"""Duals at any variance: right where a number can hold the value, and never nan."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp

from flowkit.lowering import lower
from flowkit.symbolic import dual
from flowkit.symbolic.activations import ACTIVATIONS, X
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V
from flowkit.symbolic.quadrature import QuadratureDual
from flowkit.symbolic.scaling import SMALL_U, SMALL_V, scale

VARIANCES = {
    np.float64: [0.0, 1e-300, 1e-100, 1e-12, 1.0, 1e12, 1e100, 1e150],
    np.float32: [0.0, 1e-38, 1e-19, 1e-12, 1.0, 1e12, 1e18],
}
CORRELATIONS = (-1.0, 0.0, 0.5, 1.0, 1 - 1e-12)
CLOSED = [name for name in ACTIVATIONS if not isinstance(dual(name), QuadratureDual)]
JUMPS = ("step", "sign")  # the slope of their second dual overflows sooner than the value


def moments(dtype):
    """Variances and covariances, correlations 1 and -1 exactly where both variances agree."""
    variances = [dtype(v) for v in VARIANCES[dtype]]
    places = []
    for u, v, r in itertools.product(variances, variances, CORRELATIONS):
        root = u if u == v else np.sqrt(u) * np.sqrt(v)
        places.append((u, v, dtype(r) * root))
    return jnp.asarray(np.array(places, dtype)).T


@pytest.mark.parametrize("dtype", VARIANCES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_dual_gives_nan_and_slopes_are_finite_where_values_are(name, dtype):
    function, places = lower(dual(name)), moments(dtype)
    for which, values in enumerate(jax.jit(function)(*places)):
        assert not jnp.isnan(values).any()
        value = lambda *place, which=which: function(*place)[which]
        slopes = jnp.stack(jax.jit(jax.vmap(jax.grad(value, (0, 1, 2))))(*places))
        assert not jnp.isnan(slopes).any()
        if name not in JUMPS and (name, which) != ("abs", 1):  # an angle of 1e-9 at variance 1e-300
            assert jnp.isfinite(slopes[:, jnp.isfinite(values)]).all()


@pytest.mark.parametrize("name", CLOSED)
def test_values_are_right_wherever_a_number_holds_them(name):
    found, places = dual(name), np.asarray(moments(np.float64))
    kept = np.isin(places[:2], [1e-300, 1e-12, 1.0, 1e100, 1e150]).all(0)
    places = places[:, kept]
    values = np.asarray(jnp.stack(lower(found)(*map(jnp.asarray, places))))
    sizes = {v: exact(found.kappa, v, v, v) or mpmath.mpf(0) for v in places[:2].ravel()}
    spread = [sizes[u] * sizes[v] for u, v, _ in places.T]
    for which, expression in enumerate((found.kappa, found.kappa_dot)):
        for place, value, size in zip(places.T, values[which], spread, strict=True):
            truth = exact(expression, *place)
            if truth is None or abs(truth) > np.finfo(float).max:
                assert np.isinf(value)
                continue
            with mpmath.workdps(1000):
                bound = mpmath.mpf(1e-12) * (mpmath.sqrt(size) if which == 0 else 1)
                bound += mpmath.mpf(1e-12) * abs(truth) + mpmath.mpf(1e-307)
                assert abs(mpmath.mpf(float(value)) - truth) < bound, place


def exact(expression, u, v, c):
    """The value in 1000 digits, at a correlation of at most 1; None where it is infinite."""
    with mpmath.workdps(1000):
        u, v, c = (mpmath.mpf(float(x)) for x in (u, v, c))
        if c * c > u * v:
            c = mpmath.sign(c) * mpmath.sqrt(u * v) * (1 - mpmath.mpf("1e-950"))
        try:
            return mpmath.re(sp.lambdify((VAR_U, VAR_V, COV), expression, "mpmath")(u, v, c))
        except ZeroDivisionError:
            return None


@pytest.mark.parametrize(
    "activation", ["relu", "erf", "gelu", "gaussian", "hermite", X * sp.exp(X), X**3 - X], ids=str
)
def test_scaled_variables_are_a_rewriting(activation):
    """Both factors cancel: the expectation does not depend on them."""
    found, numbers = dual(activation), (sp.Rational(7, 5), sp.Rational(3, 4), sp.Rational(2, 3))
    symbols = sp.symbols("scaled_u scaled_v small_u small_v", positive=True)
    scaled_cov = sp.Symbol("scaled_cov", real=True)
    for expression in (found.kappa, found.kappa_dot):
        result = scale(expression)
        a, b = sp.Rational(1, 4), sp.Integer(8)
        u, v, c = numbers
        place = {VAR_U: u, VAR_V: v, COV: c, SMALL_U: a, SMALL_V: b, scaled_cov: a * b * c}
        place |= {symbols[0]: a**2 * u, symbols[1]: b**2 * v}
        factor = a ** -result.degrees[0] * b ** -result.degrees[1]
        difference = factor * result.expression.subs(place) - expression.subs(place)
        assert abs(sp.N(difference, 40)) < 1e-35
        assert not any(
            power.exp < 0
            for power in sp.Mul.make_args(result.expression)
            if power.is_Pow and power.base in (SMALL_U, SMALL_V)
        )


@pytest.mark.parametrize("activation", [sp.exp(X - X**2), sp.cos(X) * sp.exp(-(X**2) / 2)], ids=str)
def test_a_determinant_in_an_exponent_is_known_there(activation):
    found, place = dual(activation), (0.7, 1.3, 0.9)
    for value, expression in zip(lower(found)(*place), (found.kappa, found.kappa_dot), strict=True):
        truth = sp.N(expression.subs(dict(zip((VAR_U, VAR_V, COV), place, strict=True))), 30)
        np.testing.assert_allclose(value, float(truth), rtol=1e-13)


def test_infinite_variances_give_infinite_values():
    for name in ("relu", "gelu", "exp"):
        assert jnp.isposinf(jnp.stack(lower(dual(name))(jnp.inf, 1.0, 0.5))).all()
    slopes = jax.grad(lambda *c: lower(dual("relu"))(*c)[0], (0, 1, 2))(jnp.inf, 1.0, 0.5)
    assert not jnp.isnan(jnp.stack(slopes)).any()


def test_a_covariance_beyond_the_variances_leaves_sines_bounded():
    beyond = np.nextafter(1e30, 1e31)
    kappa, kappa_dot = lower(dual("sin"))(1e30, 1e30, beyond)
    assert (kappa, kappa_dot) == (0.5, 0.5)
