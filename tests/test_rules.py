"""Each rule's flow is the one its paper states: closed forms, and SciPy on the singular form."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.integrate import solve_ivp

import flowkit as fk
from flowkit import rules

CURVATURES = np.array([0.5, 2.0])
START = np.array([1.0, -0.7])
EPS = 1e-2


def well(y):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURES) * y**2)


@eqx.filter_jit
def integrate(field, start, t0, t1):
    solution = dfx.diffeqsolve(
        dfx.ODETerm(field),
        dfx.Tsit5(scan_kind="lax"),
        t0,
        t1,
        None,
        field.lift(t0, start),
        stepsize_controller=dfx.PIDController(rtol=1e-10, atol=1e-12),
        adjoint=dfx.ForwardMode(),
        max_steps=None,
    )
    return field.position(jax.tree.map(lambda leaf: leaf[-1], solution.ys))


def final(loss, rule, time, start=0.0):
    field, times = fk.ModelFlow(loss, rule=rule), jnp.array([start, start + time])
    return integrate(field, jnp.asarray(START), *times)


def oscillator(t, friction=1.5):
    """Damped from rest: the roots r of r^2 + friction r + curvature = 0."""
    root = np.sqrt(friction**2 - 4 * CURVATURES + 0j)
    slow, fast = (-friction + root) / 2, (-friction - root) / 2
    shape = (slow * np.exp(fast * t) - fast * np.exp(slow * t)) / (slow - fast)
    return START * shape.real


def bessel(t):
    """Su, Boyd and Candes, on quadratic losses: y = y0 2 J_1(r)/r, r = sqrt(curvature) t."""
    phase = np.sqrt(CURVATURES) * t
    return START * 2 * special.j1(phase) / phase


CLOSED_FORMS = {
    "momentum": (rules.Momentum(0.75), lambda t: START * np.exp(-4 * CURVATURES * t)),
    "heavy ball": (rules.HeavyBall(1.5), oscillator),
    "undamped": (rules.HeavyBall(0.0), lambda t: START * np.cos(np.sqrt(CURVATURES) * t)),
    "nesterov": (rules.Nesterov(), bessel),
}


@pytest.mark.parametrize("start", [0.0, 3.0])
@pytest.mark.parametrize(("rule", "exact"), CLOSED_FORMS.values(), ids=CLOSED_FORMS)
def test_momentum_on_a_quadratic_well_is_solved_in_closed_form(rule, exact, start):
    """From a start at any time: a rule counts its age from where training begins."""
    np.testing.assert_allclose(final(well, rule, 2.0, start), exact(2.0), atol=2e-8)


def da_silva_gazeau(t, state, a1, a2):
    """The bias-corrected averages themselves, singular at t = 0."""
    y, m, v = state.reshape(3, -1)
    g = CURVATURES * y
    dm = g - m if a1 is None else a1 / -np.expm1(-a1 * t) * (g - m)
    return np.concatenate(
        [-(g if a1 is None else m) / np.sqrt(v + EPS), dm, a2 / -np.expm1(-a2 * t) * (g**2 - v)]
    )


AVERAGES = {
    "adam": (rules.Adam(3.0, 0.8, EPS), 3.0, 0.8),
    "rmsprop": (rules.RMSProp(0.8, EPS), None, 0.8),
}


@pytest.mark.parametrize(("rule", "a1", "a2"), AVERAGES.values(), ids=AVERAGES)
def test_averages_follow_the_singular_equation_of_their_source(rule, a1, a2):
    """SciPy starts at 1e-8, where m = g and v = g^2 up to 1e-8."""
    g = CURVATURES * START
    first = np.concatenate([START, g, g**2])
    singular = solve_ivp(
        da_silva_gazeau, (1e-8, 1.5), first, method="LSODA", args=(a1, a2), rtol=1e-11, atol=1e-13
    )
    assert singular.success
    np.testing.assert_allclose(final(well, rule, 1.5), singular.y[:2, -1], atol=5e-7)


SLOPE = np.array([2.0, -0.05])


def linear(y):
    return jnp.dot(jnp.asarray(SLOPE), y)


CONSTANT_FORCE = {
    "adam": (rules.Adam(3.0, 0.8, EPS), lambda t: t / np.sqrt(SLOPE**2 + EPS)),
    "rmsprop": (rules.RMSProp(0.8, EPS), lambda t: t / np.sqrt(SLOPE**2 + EPS)),
    "sign": (rules.Sign(eps=EPS), lambda t: t / np.sqrt(SLOPE**2 + EPS)),
    "adagrad": (
        rules.AdaGrad(EPS),
        lambda t: 2 * (np.sqrt(SLOPE**2 * t + EPS) - np.sqrt(EPS)) / SLOPE**2,
    ),
}


@pytest.mark.parametrize(("rule", "path"), CONSTANT_FORCE.values(), ids=CONSTANT_FORCE)
def test_a_constant_gradient_has_no_bias_from_the_first_moment_on(rule, path):
    np.testing.assert_allclose(final(linear, rule, 2.0), START - SLOPE * path(2.0), atol=1e-8)


def test_normalised_descent_turns_nowhere_and_has_unit_speed():
    """One squared size for all entries: the curve of gradient flow, at a speed of about one."""
    rule = rules.Normalised(a=1e3, eps=1e-12)
    end = final(well, rule, 0.5)
    fall = np.log(np.asarray(end) / START) / CURVATURES
    np.testing.assert_allclose(fall, fall[0], rtol=1e-6)
    path = START[:, None] * np.exp(np.linspace(0, fall[0], 20001) * CURVATURES[:, None])
    length = np.linalg.norm(np.diff(path, axis=1), axis=0).sum()
    assert abs(length - 0.5) < 2e-3


@pytest.mark.parametrize("rule", [rules.Adam(3.0, 0.8, EPS), rules.RMSProp(0.8, EPS)])
def test_the_first_rate_is_finite_where_the_bias_is_corrected_by_zero(rule):
    field = fk.ModelFlow(well, rule=rule)
    g = CURVATURES * START
    first = field(0.0, field.lift(0.0, jnp.asarray(START)))[0]
    np.testing.assert_allclose(first, -g / np.sqrt(g**2 + EPS), rtol=1e-14)


def test_nesterov_starts_at_a_quarter_of_the_force():
    field = fk.ModelFlow(well, rule=rules.Nesterov())
    rate, acceleration, _ = field(0.0, field.lift(0.0, jnp.asarray(START)))
    np.testing.assert_array_equal(rate, 0.0)
    np.testing.assert_allclose(acceleration, -CURVATURES * START / 4, rtol=1e-14)


BAD = {
    "beta": (lambda: rules.Momentum(1.0), "`beta` must be at least 0 and below 1, but it is 1"),
    "friction": (lambda: rules.HeavyBall(-1.0), "`friction` must be not negative, but it is -1"),
    "a1": (lambda: rules.Adam(a1=0.0), "`a1` must be positive, but it is 0"),
    "a": (lambda: rules.RMSProp(a=np.nan), "`a` must be positive, but it is nan"),
    "eps": (lambda: rules.AdaGrad(eps=0.0), "`eps` must be positive, but it is 0"),
    "b2": (lambda: rules.Sign(b2=1.0), "`b2` must be at least 0 and below 1"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_negative_sum_of_squares_counts_as_none_and_has_a_slope():
    """Trial steps meet one; at none the slope is that of f / sqrt(v + eps) on the right."""
    rule, y = rules.AdaGrad(EPS), jnp.asarray(START)
    speed = lambda v: rule.rate(lambda y: -y, (y, jnp.full(2, v)), None)[0].sum()
    values, slopes = zip(*(jax.value_and_grad(speed)(v) for v in (0.0, -5.0)), strict=True)
    np.testing.assert_allclose(values, -START.sum() / np.sqrt(EPS), rtol=1e-12)
    np.testing.assert_allclose(slopes, [0.5 * START.sum() * EPS**-1.5, 0.0], rtol=1e-12)
