"""RKC2 is of order two, stable on the interval it claims, and adapts its stages."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from flowkit.dynamics import RKC2
from flowkit.dynamics.stabilized import STABILITY, _chebyshev_step

ORDER_TOLERANCE = 0.1


def _solve(field, y0, t1, *, steps=None, rtol=None, solver=None):
    controller = (
        dfx.ConstantStepSize()
        if rtol is None
        else dfx.PIDController(
            rtol=rtol,
            atol=rtol,
            dtmin=1e-12,
            force_dtmin=False,
            norm=lambda e: jnp.nan_to_num(optx.rms_norm(e), nan=jnp.inf),
        )
    )
    return dfx.diffeqsolve(
        dfx.ODETerm(field),
        solver or RKC2(),
        0.0,
        t1,
        None if steps is None else t1 / steps,
        y0,
        stepsize_controller=controller,
        saveat=dfx.SaveAt(t1=True, solver_state=True),
        adjoint=dfx.ForwardMode(),
        max_steps=None,
        throw=False,
    )


FIELDS = {
    "autonomous": (lambda t, y, _: -(y**2), jnp.array([1.0]), lambda t: 1 / (1 + t)),
    "time-dependent": (
        lambda t, y, _: -2 * (y - jnp.cos(t)) - jnp.sin(t),
        jnp.array([1.0]),
        jnp.cos,
    ),
    "polynomial in time": (lambda t, y, _: 0 * y + 3 * t**2, jnp.array([0.0]), lambda t: t**3),
}


@pytest.mark.parametrize(("field", "y0", "exact"), FIELDS.values(), ids=FIELDS.keys())
def test_global_error_is_of_order_two(field, y0, exact):
    counts = np.array([10, 20, 40, 80])
    errors = [
        float(jnp.abs(_solve(field, y0, 1.0, steps=int(n)).ys[0] - exact(1.0)).max())
        for n in counts
    ]
    slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(2, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize("stages", [2, 3, 5, 10, 40, 200])
def test_the_stability_interval_is_as_long_as_claimed(stages):
    """|R(z)| <= 1 for z from 0 to -STABILITY (s^2 - 1), and no further than a third beyond."""
    end = STABILITY * (stages**2 - 1)

    def growth(z):
        rate = lambda t, y: z * y
        one = jnp.ones(1)
        return _chebyshev_step(rate, 0.0, one, z * one, jnp.array(1.0), jnp.array(stages))[0]

    inside = jax.vmap(growth)(-jnp.linspace(0.0, end, 2001))
    assert float(jnp.abs(inside).max()) <= 1 + 1e-10
    assert abs(float(growth(jnp.array(-1.35 * end)))) > 1


def _diffusion(size):
    """The heat equation on (0, 1), central differences: spectral radius 4 (size + 1)^2."""
    scale = (size + 1.0) ** 2

    def field(t, u, _):
        padded = jnp.pad(u, 1)
        return scale * (padded[2:] - 2 * u + padded[:-2])

    x = jnp.arange(1, size + 1) / (size + 1)
    decay = 4 * scale * np.sin(np.pi / (2 * (size + 1))) ** 2
    return field, jnp.sin(jnp.pi * x), lambda t: np.exp(-decay * t) * np.sin(np.pi * x)


def test_the_heat_equation_costs_the_square_root_of_its_stiffness():
    """Evaluations at 4 times the points grow about 4-fold, not 16-fold as for Runge-Kutta."""
    costs = {}
    for size in (50, 200):
        field, y0, exact = _diffusion(size)
        solution = _solve(field, y0, 0.5, rtol=1e-6)
        assert float(jnp.abs(solution.ys[0] - exact(0.5)).max()) < 1e-4
        costs[size] = int(solution.solver_state.num_evaluations)
    assert costs[200] < 6 * costs[50]


def test_evaluations_are_counted():
    calls = []

    def field(t, y, _):
        jax.debug.callback(lambda: calls.append(1))
        return -y

    solution = _solve(field, jnp.ones(2), 1.0, steps=5)
    jax.effects_barrier()
    # A Jacobian-vector product runs no callback: the linearised field is what is applied.
    iterations = 20 + 4 * RKC2().power_iterations
    assert int(solution.solver_state.num_evaluations) - iterations == pytest.approx(
        len(calls), abs=6
    )


def test_steps_that_need_too_many_stages_are_rejected_until_they_fit():
    field, y0, exact = _diffusion(100)
    few = _solve(field, y0, 0.1, rtol=1e-3, solver=RKC2(max_stages=5))
    many = _solve(field, y0, 0.1, rtol=1e-3)
    assert few.result == dfx.RESULTS.successful
    assert float(jnp.abs(few.ys[0] - exact(0.1)).max()) < 1e-3
    assert int(few.stats["num_steps"]) > 3 * int(many.stats["num_steps"])


def test_a_jacobian_of_zero_is_no_harm():
    solution = _solve(lambda t, y, _: jnp.ones_like(y), jnp.zeros(3), 2.0, rtol=1e-6)
    np.testing.assert_allclose(solution.ys[0], 2.0, rtol=1e-12)


def test_dense_output_keeps_the_order_between_steps():
    """Cubic Hermite interpolation of a second-order solution: the solution's error dominates."""
    exact = lambda t: 1 / (1 + t)
    solve = lambda steps: dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, _: -(y**2)),
        RKC2(),
        0.0,
        1.0,
        1.0 / steps,
        jnp.array([1.0]),
        saveat=dfx.SaveAt(dense=True),
        adjoint=dfx.ForwardMode(),
        max_steps=steps + 1,
    )
    ts = jnp.linspace(0.01, 0.99, 41)
    errors = [
        float(jnp.abs(jax.vmap(solve(n).evaluate)(ts)[:, 0] - exact(ts)).max())
        for n in (10, 20, 40)
    ]
    slope = np.polyfit(np.log([1 / 10, 1 / 20, 1 / 40]), np.log(errors), 1)[0]
    assert slope >= 2 - ORDER_TOLERANCE


def test_a_field_that_turns_nan_fails_and_says_so():
    solution = _solve(lambda t, y, _: jnp.where(y > 2, jnp.nan, 1.0), jnp.ones(1), 9.0, rtol=1e-3)
    assert solution.result == dfx.RESULTS.dt_min_reached
