"""The closed forms of one mode are its flow, at integer, real and infinite depth."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import sympy as sp

from flowkit import lower
from flowkit.lowering.mode_times import elapsed_time
from flowkit.symbolic import closed_forms, mode_solution, separation
from flowkit.symbolic.mode_forms import check_clock, clock_claim, forms_claim
from flowkit.symbolic.modes import limit_claim, reduction_claim, separation_claim, value_claim
from flowkit.symbolic.separation import START, TARGET, VALUE

N = sp.Symbol("N", positive=True)
DEPTHS = (1, 2, 3, 4, 5, 6, sp.oo)
REAL_DEPTHS = (1.0, 1.5, 2.0, 2.7, 3.0, 7.3, 1e3)
STARTS = (1e-3, 0.3, 1.9, 2.0, 2.5, 40.0)  # of modes whose target is 2
SOLVE = 1e-12  # rtol of the reference solves
SOLVED = 1e-9  # their global error: a few hundred steps, each magnified while the mode grows
ROUNDING = 1e-12  # relative; hundreds of operations in float64
INVERTED = 1e-11  # relative; the elementary times lose some digits near the target
DIFFERENCE = 1e-7  # relative; central differences with steps of 1e-5


@pytest.mark.parametrize(
    "depth",
    [pytest.param(n, marks=pytest.mark.slow if n == 5 else ()) for n in (*DEPTHS, N)],
    ids=str,
)
def test_every_claim_of_a_solution_holds(depth):
    claims = mode_solution(depth).claims
    assert claims
    assert all(claim.check().passed for claim in claims)
    assert len({claim.name for claim in claims}) == len(claims)


@pytest.mark.parametrize("symbol", [sp.Symbol("N"), sp.Symbol("depth", integer=True)], ids=str)
def test_a_symbol_needs_no_assumptions(symbol):
    claim, *_ = mode_solution(symbol).claims
    assert claim.check().passed


def test_the_general_time_is_the_published_hypergeometric_one():
    published = {
        0: VALUE ** (2 / N - 1) / ((2 - N) * TARGET) * _gauss(2 / N - 1, VALUE / TARGET),
        1: VALUE ** (2 / N - 2) / (2 * (N - 1)) * _gauss(2 - 2 / N, TARGET / VALUE),
    }
    times = mode_solution(N).times
    for side, primitive in published.items():
        stated = primitive - primitive.subs(VALUE, START)
        at = {VALUE: 1 + 2 * side, START: sp.Rational(1, 2) + 3 * side, TARGET: 2}
        for depth in (sp.Rational(3, 2), 3, 7):
            defect = (times[side] - stated).subs(at).subs(N, depth)
            assert abs(sp.N(defect, 30)) < 1e-25


def _gauss(b, z):
    return sp.hyper([1, b], [b + 1], z)


MUTATIONS = {
    "sign": lambda time: -time,
    "factor": lambda time: 2 * time,
    "exponent": lambda time: time * TARGET / 2,
    "start": lambda time: time + START,
}


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS.keys())
@pytest.mark.parametrize("depth", [1, 2, 3, 4, sp.oo], ids=str)
def test_a_changed_time_fails(depth, change):
    solution = mode_solution(depth)
    changed = dataclasses.replace(solution, time=change(solution.time))
    assert separation_claim(solution).check().passed
    assert not separation_claim(changed).check().passed


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_changed_general_time_fails_on_either_side(change):
    solution = mode_solution(N)
    for side in (0, 1):
        cases = [list(case.args) for case in solution.time.args]
        cases[side][0] = change(cases[side][0])
        changed = dataclasses.replace(solution, time=sp.Piecewise(*cases))
        assert not separation_claim(changed).check().passed


def test_a_changed_parameter_of_the_series_is_no_solution():
    solution = mode_solution(N)
    wrong = lambda h: sp.hyper(h.ap, [h.bq[0] + 1], h.argument)
    changed = dataclasses.replace(
        solution, time=solution.time.replace(lambda e: isinstance(e, sp.hyper), wrong)
    )
    with pytest.raises(ArithmeticError, match="ratio"):
        separation_claim(changed).check()
    assert not reduction_claim(changed, mode_solution).check().passed


@pytest.mark.parametrize("depth", [1, 2, sp.oo], ids=str)
def test_a_changed_value_fails(depth):
    solution, t = mode_solution(depth), closed_forms.TIME
    value = sp.sympify(solution.value)
    for wrong in (value.subs(START, 2 * START), value.subs(t, 2 * t), value + t):
        assert not value_claim(solution, wrong).check().passed


WRONG_FORMS = {
    "rate": (3, lambda s: {"rate": s.rate * VALUE}),
    "sign of the rate": (N, lambda s: {"rate": -s.rate}),
    "value, depth 1": (1, lambda s: {"value": s.value.subs(START, -START)}),
    "value, depth 2": (2, lambda s: {"value": s.value.subs(START, START**2)}),
    "time, depth 4": (4, lambda s: {"time": -s.time}),
    "time, infinite depth": (sp.oo, lambda s: {"time": 2 * s.time}),
}


@pytest.mark.parametrize(("depth", "change"), WRONG_FORMS.values(), ids=WRONG_FORMS)
def test_other_forms_are_not_the_published_ones(depth, change):
    solution = mode_solution(depth)
    assert forms_claim(solution).check().passed
    assert not forms_claim(dataclasses.replace(solution, **change(solution))).check().passed


@pytest.mark.parametrize("speed", [lambda m: -2 / m, lambda m: 2 / m**2, lambda m: 1 / m])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_mean_of_squares_runs_at_no_other_speed(depth, speed):
    assert clock_claim(depth).check().passed
    assert not check_clock(depth, speed).passed


def test_a_changed_rate_is_not_integrated(monkeypatch):
    right = closed_forms._rate
    for wrong in (lambda depth: -right(depth), lambda depth: VALUE * right(depth)):
        monkeypatch.setattr(closed_forms, "_rate", wrong)
        with pytest.raises(ArithmeticError):
            mode_solution.__wrapped__(3)


def test_a_wrong_antiderivative_is_refused(monkeypatch):
    right = separation._coefficient_ratio
    monkeypatch.setattr(separation, "_coefficient_ratio", lambda series: 2 * right(series))
    with pytest.raises(ArithmeticError):
        separation.hypergeometric_primitives(mode_solution(N).rate)


def test_the_limit_and_the_reduction_fail_for_a_wrong_partner():
    general = mode_solution(N)
    twice = lambda depth: dataclasses.replace(
        mode_solution(depth), time=mode_solution(depth).time * sp.Rational(101, 100)
    )
    assert not limit_claim(general, twice).check().passed
    assert not reduction_claim(general, twice).check().passed


@pytest.mark.parametrize("depth", [0, -1, 2.0, 1.5, True, "3", sp.Rational(3, 2), -sp.oo])
@pytest.mark.usefixtures("as_a_user")
def test_any_other_depth_is_refused_by_name(depth):
    mode_solution(1)
    mode_solution(2)  # equal to 2.0 and True, and no excuse
    with pytest.raises(ValueError, match="`depth` must be a positive integer, a SymPy symbol or"):
        mode_solution(depth)


@cache
def _reference(depth, start, target=2.0):
    """Times and values of the flow, integrated by SciPy in the clock N t and the logarithm of s."""
    power, clock = (2.0, 1.0) if depth == sp.oo else (2 - 2 / depth, depth)
    rate = lambda _, y: np.exp((power - 1) * y) * (target - np.exp(y))
    end = 3 * (1 + min(start, target) ** (1 - power))
    times = np.linspace(0.0, end, 9)
    options = {"rtol": SOLVE, "atol": SOLVE, "first_step": 1e-4}
    solved = scipy.integrate.solve_ivp(
        rate, (0.0, end), [np.log(start)], "DOP853", times, **options
    )
    assert solved.success
    return times / clock, np.exp(solved.y[0])


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "depth",
    [pytest.param(n, marks=pytest.mark.slow if n == 5 else ()) for n in DEPTHS],
    ids=str,
)
def test_lowered_solutions_follow_the_integrated_flow(depth, start):
    times, values = _reference(depth, start)
    np.testing.assert_allclose(lower(mode_solution(depth))(times, start, 2.0), values, rtol=SOLVED)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("depth", REAL_DEPTHS)
def test_real_depths_follow_the_integrated_flow(depth, start):
    times, values = _reference(depth, start)
    s = lower(mode_solution(N))(times, start, 2.0, depth=depth)
    np.testing.assert_allclose(s, values, rtol=SOLVED)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
def test_real_depths_agree_with_integer_ones(depth):
    times, starts = np.linspace(0.0, 2.0, 5)[:, None], np.array(STARTS)[None, :]
    general = lower(mode_solution(N))(times, starts, 2.0, depth=depth)
    np.testing.assert_allclose(
        general, lower(mode_solution(depth))(times, starts, 2.0), rtol=INVERTED
    )


@pytest.mark.parametrize("start", STARTS)
def test_infinite_depth_is_lamberts_function(start):
    times = np.linspace(0.0, 5.0, 7)
    ratio = 2.0 / start - 1
    argument = np.log(abs(ratio)) + ratio - 4 * times if ratio else np.full(7, -np.inf)
    if ratio > 0:
        expected = 2.0 / (1 + scipy.special.wrightomega(argument))
    else:
        expected = 2.0 / (1 + scipy.special.lambertw(-np.exp(argument)).real)
    s = lower(mode_solution(sp.oo))(times, start, 2.0)
    np.testing.assert_allclose(s, expected, rtol=1e-10)  # W's branch point is near for s_0 >> S


@pytest.mark.parametrize(("start", "end"), [(1e-6, 1e-5), (1e-3, 1.999), (0.3, 0.3001)])
@pytest.mark.parametrize("depth", REAL_DEPTHS)
def test_the_time_of_a_rise_is_exact_to_rounding(depth, start, end):
    _check_time(depth, start, end)


@pytest.mark.parametrize(("start", "end"), [(50.0, 2.001), (2.2, 2.1999), (1e4, 1e3)])
@pytest.mark.parametrize("depth", REAL_DEPTHS)
def test_the_time_of_a_fall_is_exact_to_rounding(depth, start, end):
    _check_time(depth, start, end)


def _check_time(depth, start, end, target=2.0):
    with mpmath.workdps(30):
        integrand = lambda y: (
            1 / (depth * mpmath.exp(y * (1 - mpmath.mpf(2) / depth)) * (target - mpmath.exp(y)))
        )
        ends = mpmath.linspace(mpmath.log(start), mpmath.log(end), 24)
        expected = float(mpmath.quad(integrand, ends))
    found = elapsed_time(*(jnp.asarray(x) for x in (end, start, target, depth)))
    # the ends are rounded: near each other, or near the target, the time feels their last digit
    feels = max(abs(x / (x - y)) for x, y in ((end, start), (end, target)))
    assert float(found) == pytest.approx(expected, rel=ROUNDING + 1e-15 * feels)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("depth", [*DEPTHS, N], ids=str)
def test_time_zero_and_late_times_are_start_and_target(depth, start):
    extra = {"depth": 2.5} if depth == N else {}
    s = lambda t: lower(mode_solution(depth))(t, start, 2.0, **extra)
    assert float(s(0.0)) == pytest.approx(start, rel=ROUNDING)
    for late in (1e4, 1e12, 1e300):
        assert float(s(late)) == pytest.approx(2.0, rel=ROUNDING)
    at_target = lower(mode_solution(depth))(jnp.array([0.0, 1.0, 1e300]), 2.0, 2.0, **extra)
    assert jnp.all(at_target == 2.0)


@pytest.mark.parametrize("t", [0.0, 0.7, 1e3])
@pytest.mark.parametrize("start", [1e-2, 0.9, 1.0, 2.5])
@pytest.mark.parametrize("depth", [1.0, 2.0, 2.0 + 1e-9, 3.5])
def test_real_depths_are_differentiable_in_all_arguments(depth, start, t):
    s = lambda *at: lower(mode_solution(N))(*at[:3], depth=at[3])
    point, h = (t + 2e-5, start, 1.0, depth + 2e-5), 1e-5
    for i in range(4):
        shifted = [tuple(x + d * h * (i == j) for j, x in enumerate(point)) for d in (1, -1)]
        difference = float(s(*shifted[0]) - s(*shifted[1])) / (2 * h)
        gradient = float(jax.grad(s, argnums=i)(*point))
        assert gradient == pytest.approx(difference, rel=DIFFERENCE, abs=DIFFERENCE)


@pytest.mark.parametrize("start", [1e-1, 1.0, 2.5])
def test_infinite_depth_is_differentiable_in_all_arguments(start):
    s, point, h = lower(mode_solution(sp.oo)), (0.7, start, 1.0), 1e-5
    for i in range(3):
        shifted = [tuple(x + d * h * (i == j) for j, x in enumerate(point)) for d in (1, -1)]
        difference = float(s(*shifted[0]) - s(*shifted[1])) / (2 * h)
        assert float(jax.grad(s, argnums=i)(*point)) == pytest.approx(difference, abs=DIFFERENCE)


def test_real_depths_broadcast_under_jit():
    s = jax.jit(lambda t, depth: lower(mode_solution(N))(t, 0.1, 1.0, depth=depth))
    values = s(jnp.linspace(0.0, 1.0, 4)[:, None], jnp.array([[1.0, 2.0, 5.5]]))
    assert values.shape == (4, 3)
    assert jnp.all(jnp.diff(values, axis=0) > 0)


@pytest.mark.parametrize("depth", [0.5, 0.0, -1.0, float("nan")])
def test_a_real_depth_below_one_is_refused(depth):
    with pytest.raises(Exception, match="`depth` of a mode must be at least 1"):
        lower(mode_solution(N))(1.0, 0.1, 1.0, depth=depth)
