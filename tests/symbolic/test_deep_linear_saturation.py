"""Two singular values follow the published path, and the weaker one saturates from depth 3 on."""

import dataclasses

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

from flowkit.symbolic.factorization import singular_value_flow
from flowkit.symbolic.saturation import (
    RATIO,
    STRONG,
    STRONG_START,
    WEAK_START,
    published_claim,
    saturation_claim,
    solution_claim,
    two_coordinates,
)

N = sp.Symbol("N", integer=True, positive=True)
START, SLOWER = 0.1, 0.6
RTOL, SOLVER_ERROR = 1e-10, 1e-7  # of the integration, and what it may add up to


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, N])
def test_every_claim_is_proved(depth):
    verdicts = [claim.check() for claim in two_coordinates(depth).claims]
    assert len(verdicts) == (3 if depth in (3, 4) else 2)
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize(("depth", "limit"), [(3, 1.5625), (4, 0.625)])
def test_the_weak_value_saturates_at_the_published_number(depth, limit):
    verdict = saturation_claim(two_coordinates(depth)).check()
    assert verdict.numbers["limit"] == limit


@pytest.mark.parametrize("depth", [1, 2])
def test_shallow_products_do_not_saturate(depth):
    assert two_coordinates(depth).limit == sp.oo


def test_the_symbolic_depth_specialises():
    general = two_coordinates(N)
    assert sp.simplify(general.limit.subs(N, 3) - two_coordinates(3).limit) == 0


@pytest.mark.parametrize("claim", [solution_claim, published_claim])
@pytest.mark.parametrize("depth", [1, 2, 3, N])
def test_a_changed_sign_fails(claim, depth):
    path = two_coordinates(depth)
    wrong = dataclasses.replace(path, value=path.value.subs(RATIO, -RATIO))
    assert not claim(wrong).check().passed


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_changed_slope_fails(depth):
    path = two_coordinates(depth)
    wrong = dataclasses.replace(path, slope=path.slope * STRONG)
    assert not solution_claim(wrong).check().passed


@pytest.mark.parametrize("name", ["limit", "value"])
@pytest.mark.parametrize("depth", [3, 4])
def test_a_changed_limit_fails(depth, name):
    path = two_coordinates(depth)
    wrong = dataclasses.replace(path, **{name: getattr(path, name) * 2})
    assert not saturation_claim(wrong).check().passed


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_path_is_that_of_the_integrated_flows(depth):
    """Both singular values under gradients -a and -1, against the path at the strong one."""
    flow = singular_value_flow(depth)
    rate = sp.lambdify((*flow.state, *flow.data), flow.rates[0])
    field = lambda t, s: [rate(s[0], -SLOWER), rate(s[1], -1.0)]
    solved = solve_ivp(field, (0, 2.0), [START, START], rtol=RTOL, atol=RTOL)
    path = two_coordinates(depth).value.subs({WEAK_START: START, STRONG_START: START})
    along = sp.lambdify(STRONG, path.subs(RATIO, SLOWER))(solved.y[1])
    np.testing.assert_allclose(along, solved.y[0], rtol=SOLVER_ERROR)


@pytest.mark.parametrize("depth", [0, -1, 2.0, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        two_coordinates(depth)
