"""RKC4: its coefficients are what they claim, its order is four, and it wins at small errors."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from flowkit.dynamics.chebyshev_polynomials import (
    DAMPING,
    ERROR_SCALE,
    defects,
    derivatives,
    ladder,
    polynomial,
    solve_zeros,
)
from flowkit.dynamics.chebyshev_zeros import ZEROS
from flowkit.dynamics.rkc4 import EXTRA, FEWEST, RKC4, coefficients
from flowkit.dynamics.stabilized import RKC2
from flowkit.dynamics.stages import Step

TABLE = {stages: np.array(zeros) for stages, *zeros in ZEROS}


def test_the_tabulated_zeros_are_those_computed_anew():
    assert list(TABLE) == ladder()
    for stages in (5, 14, 47, 207):
        np.testing.assert_allclose(
            solve_zeros(stages, TABLE[stages] * 1.001), TABLE[stages], rtol=1e-9
        )


def test_the_polynomials_have_order_four_and_nearly_the_longest_interval():
    """The longest undamped one is 0.353 s^2 as s grows: Abdulle 2002; damping takes its part."""
    for stages in (12, 47, 207, 979):
        r = polynomial(TABLE[stages], stages)
        assert np.abs(defects(TABLE[stages], stages)).max() < 1e-10
        length = 2 * derivatives(r)[1]
        assert 0.33 < length / stages**2 < 0.353


@pytest.fixture(scope="module")
def one_step():
    """z1 and the error estimate of a step of y' = z y, for many z at once."""
    one, zero = jnp.ones(()), jnp.zeros(())
    solver = RKC4(max_stages=1000)
    loop = lambda start, stop, body, carry: lax.fori_loop(start, stop, body, carry)

    @jax.jit
    def step(stages, z):
        y0 = jnp.ones_like(z)
        end = solver.advance(Step(lambda t, y: z * y, zero, one, y0, z, one, loop), stages)
        return end.z1, end.error

    return step


@pytest.mark.parametrize("stages", [12, 25, 98, 465, 979])
def test_a_step_is_stable_and_damped_and_judges_its_error(one_step, stages):
    table = coefficients(1000)
    length = table.length[list(table.stages).index(stages)]
    z = -np.append(np.linspace(0.0, length, 8000), 1.02 * length)
    solution, error = (np.asarray(part) for part in one_step(jnp.array(stages + EXTRA), z))
    inside = (z <= -4) & (z >= -length)
    assert np.abs(solution[:-1]).max() <= 1
    assert np.abs(solution[inside]).max() <= DAMPING + 1e-3
    assert np.abs(solution[-1]) > 1
    assert np.abs(error[:-1]).max() < 0.5  # what is stiff and damped is not mistaken for an error
    small = -np.array([0.02, 0.04] * 4000 + [0.08])
    solution, error = (np.asarray(part) for part in one_step(jnp.array(stages + EXTRA), small))
    np.testing.assert_allclose(error[:2], ERROR_SCALE * small[:2] ** 4, rtol=0.05)
    order = np.log2(
        np.abs(solution - np.exp(small))[[1, -1]] / np.abs(solution - np.exp(small))[[0, 1]]
    )
    np.testing.assert_allclose(order, 5, atol=0.2)


def _field(t, y, _):
    """Coupled, non-linear, and with coefficients that depend on time."""
    decay = jnp.stack([-(y[0] ** 2), -y[0] * y[1], -2 * (y[2] - jnp.cos(t)) - jnp.sin(t)])
    driven = jnp.stack([3 * t**2, 4 * t**3, -y[0] * y[5] ** 2 * t + y[1] * jnp.sin(y[3])])
    return jnp.concatenate([decay, driven])


@pytest.mark.parametrize("scaled_step", [1.0, 1000.0])
def test_the_error_is_of_order_four(scaled_step):
    """At the fewest stages and at many; t^2 and t^3 are integrated without an error."""
    y0 = jnp.array([1.0, 2.0, 1.0, 0.0, 0.0, 1.0])

    @eqx.filter_jit
    def solve(solver, dt0):
        return dfx.diffeqsolve(
            dfx.ODETerm(_field), solver, 0.0, 1.0, dt0, y0, adjoint=dfx.ForwardMode()
        ).ys[0]

    truth = solve(dfx.Dopri8(scan_kind="lax"), jnp.array(1e-2))
    counts = [5, 10, 20, 40]
    ends = [
        solve(RKC4(spectral_radius=jnp.array(scaled_step * n)), jnp.array(1 / n)) for n in counts
    ]
    errors = np.abs(np.stack(ends) - np.asarray(truth))
    assert errors[:, 3:5].max() < 1e-12
    for component in (0, 1, 2, 5):
        slope = np.polyfit(np.log(counts), np.log(errors[:, component]), 1)[0]
        assert slope < -3.9


def test_a_stiff_linear_flow_costs_fewer_products_than_order_two_takes():
    """du/dt = -K (u - y), condition number 1e6, to 10 / lambda_min, by products with K alone."""
    rng = np.random.default_rng(0)
    size, end = 200, 1e7
    values = np.logspace(-6, 0, size)
    vectors, _ = np.linalg.qr(rng.standard_normal((size, size)))
    target = rng.standard_normal(size)
    ts = np.logspace(0, 7, 29)
    along = (vectors.T @ target) * (1 - np.exp(-np.outer(ts, values)))
    exact = along @ vectors.T

    @eqx.filter_jit
    def solve(solver, rtol, kernel):
        return dfx.diffeqsolve(
            dfx.ODETerm(lambda t, u, _: -kernel @ (u - target)),
            solver,
            0.0,
            end,
            None,
            jnp.zeros(size),
            saveat=dfx.SaveAt(
                subs=[dfx.SubSaveAt(ts=ts), dfx.SubSaveAt(t1=True)], solver_state=True
            ),
            stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol, pcoeff=0.2, icoeff=0.4),
            adjoint=dfx.ForwardMode(),
            max_steps=None,
        )

    def measure(solver, rtol):
        kernel = jnp.asarray((vectors * values) @ vectors.T)
        solution = solve(solver, jnp.array(rtol), kernel)
        assert int(solution.stats["num_rejected_steps"]) == 0  # so that all products are counted
        errors = np.linalg.norm(solution.ys[0] - exact, axis=1)
        scale = np.linalg.norm(exact, axis=1).max()
        return int(solution.solver_state.num_evaluations), errors.max() / scale

    products, error = measure(RKC4(max_stages=4000), 1e-3)
    assert products <= 20_000
    assert error < 1e-4
    products, error = measure(RKC4(max_stages=4000), 1e-5)
    of_order_two, worse = measure(RKC2(max_stages=4000), 1e-6)
    assert products < 0.65 * of_order_two
    assert error < 0.25 * worse


def test_every_tabulated_method_fits_in_the_largest_number_of_stages():
    table = coefficients(100)
    assert table.stages[0] == FEWEST
    assert table.stages[-1] + EXTRA <= 100
    needed = [float(RKC4(max_stages=100).stages_for(jnp.array(x))) for x in (0.0, 1e3, 1e9)]
    assert needed[0] == RKC4.least_stages
    assert table.length[list(table.stages + EXTRA).index(needed[1])] >= 1e3
    assert needed[2] == np.inf
