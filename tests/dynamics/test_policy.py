"""The default policy takes the solver that the step size speaks for, and says which."""

from typing import ClassVar, final

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowkit as fk
from flowkit.dynamics.policy import NON_STIFF, STIFF, _scaled_step, as_solvers
from flowkit.fields import AbstractVectorField

RTOL = 1e-6  # of a step; the tail of an order-2 method gathers some more
TSIT5_STABLE = 3.507  # the negative real axis of Tsit5, from its stability polynomial


def solvers(trajectory):
    return [phase["solver"] for phase in trajectory.stats["phases"]]


def linear(eigenvalues):
    """1/2 sum of lambda y^2: y_i = e^{-lambda_i t}."""
    return fk.ModelFlow(lambda y: 0.5 * jnp.sum(eigenvalues * y**2))


@pytest.mark.parametrize("h", [0.01, 1.0, 3.0])
def test_the_step_is_measured_by_the_spectral_radius(h):
    """On one stiff mode the estimate from the last two stages is exact."""
    term = dfx.ODETerm(lambda t, y, args: -50.0 * y)
    solver, y0 = dfx.Tsit5(), jnp.ones(1)
    t1 = h / 50.0
    state = solver.init(term, 0.0, t1, y0, None)
    dense = solver.step(term, 0.0, t1, y0, None, state, False)[2]
    assert float(_scaled_step(solver, dense)) == pytest.approx(h, rel=1e-9)


def test_the_thresholds_lie_within_the_stability_of_tsit5():
    assert NON_STIFF < STIFF < TSIT5_STABLE


def test_a_flow_that_is_not_stiff_keeps_its_solver():
    trajectory = fk.integrate(linear(jnp.linspace(0.5, 1.0, 8)), jnp.ones(8), [0.0, 3.0])
    assert solvers(trajectory) == ["Tsit5"]
    assert trajectory.stats["phases"][0]["start"] == 0.0


def test_a_stiff_tail_changes_the_solver_and_stays_accurate():
    rates = jnp.geomspace(1e-3, 1e2, 40)
    ts = [0.0, 10.0, 1e3]
    trajectory = fk.integrate(linear(rates), jnp.ones(40), ts, rtol=RTOL)
    assert solvers(trajectory) == ["Tsit5", "RKC2"]
    for t in ts:
        np.testing.assert_allclose(trajectory.at(t), np.exp(-rates * t), atol=30 * RTOL)
    needed_for_stability = 6 * 1e2 * 1e3 / TSIT5_STABLE
    assert trajectory.stats["num_evaluations"] < 0.05 * needed_for_stability


def test_phases_add_up_to_the_whole():
    trajectory = fk.integrate(linear(jnp.geomspace(1e-3, 1e2, 40)), jnp.ones(40), [0.0, 1e3])
    stats = trajectory.stats
    for count in ("num_accepted_steps", "num_rejected_steps"):
        assert stats[count] == sum(phase[count] for phase in stats["phases"])
    assert stats["num_steps"] == stats["num_accepted_steps"] + stats["num_rejected_steps"]


@final
class Fading(AbstractVectorField):
    """A field whose stiffness fades by t = 4; y = sin t all along."""

    clock: ClassVar[str] = "flow time"

    def __call__(self, t, y, args=None):
        stiffness = 1.0 + 1e4 * jnp.exp(-((jnp.asarray(t) / 3.0) ** 8))
        return -stiffness * (y - jnp.sin(t)) + jnp.cos(t)

    def loss(self, y):
        return jnp.sum(y**2)

    def check(self, y0):
        pass


def test_the_first_solver_returns_where_the_flow_is_no_longer_stiff():
    ts = np.linspace(0.0, 40.0, 9)
    trajectory = fk.integrate(Fading(), jnp.zeros(2), ts, rtol=1e-8)
    assert solvers(trajectory)[:3] == ["Tsit5", "RKC2", "Tsit5"]
    np.testing.assert_allclose(trajectory.states[:, 0], np.sin(ts), atol=1e-7)


def test_a_linear_flow_known_by_products_takes_order_four_and_meets_its_tolerance():
    values = np.geomspace(1e-4, 1.0, 40)
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))
    gram, targets = jnp.asarray((Q * values) @ Q.T), jnp.ones((40, 1))
    by_products = fk.KernelFlow(jax.tree_util.Partial(jnp.matmul, gram), targets)
    ts = [0.0, 1e2, 1e5]
    stepped = fk.integrate(by_products, jnp.zeros((40, 1)), ts, rtol=RTOL)
    exact = fk.integrate(fk.KernelFlow((gram + gram.T) / 2, targets), jnp.zeros((40, 1)), ts)
    assert solvers(stepped) == ["Tsit5", "RKC4"]
    assert fk.compare(stepped, exact).relative < RTOL
    needed_for_stability = 6 * 1e5 / TSIT5_STABLE
    assert stepped.stats["num_evaluations"] < 0.05 * needed_for_stability


def test_in_single_precision_a_linear_flow_takes_fewer_stages():
    field = lambda dtype: fk.KernelFlow(jnp.eye(2, dtype=dtype), jnp.ones((2, 1), dtype))
    single, double = (as_solvers(None, field(dtype))[1].solver for dtype in ("float32", "float64"))
    assert single.max_stages < double.max_stages
