"""What stabilized methods share: counted work, rejected steps, radius, gradients, any state."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.dynamics.rkc4 import RKC4
from flowkit.dynamics.stabilized import RKC2, RKL2
from flowkit.dynamics.stages import COLD_ITERATIONS, StabilizedState

SIZE = 50
SCALE = (SIZE + 1.0) ** 2
RADIUS = 4 * SCALE * np.cos(np.pi / (2 * (SIZE + 1))) ** 2
DECAY = 4 * SCALE * np.sin(np.pi / (2 * (SIZE + 1))) ** 2
SINE = np.sin(np.pi * np.arange(1, SIZE + 1) / (SIZE + 1))


def _laplacian(u):
    padded = jnp.pad(u, 1)
    return padded[2:] - 2 * u + padded[:-2]


def _heat(t, u, _):
    """The heat equation on (0, 1); its slowest mode is `SINE`, decaying at `DECAY`."""
    return jnp.asarray(SCALE, u.dtype) * _laplacian(u)


def _solve(field, y0, t1, *, solver, steps=None, rtol=1e-3, **options):
    adaptive = dfx.PIDController(rtol=rtol, atol=rtol)
    defaults = {
        "saveat": dfx.SaveAt(t1=True, solver_state=True),
        "stepsize_controller": adaptive if steps is None else dfx.ConstantStepSize(),
        "adjoint": dfx.ForwardMode(),
        "max_steps": 10_000,
        "throw": False,
    }
    dt0 = None if steps is None else t1 / steps
    return dfx.diffeqsolve(dfx.ODETerm(field), solver, 0 * t1, t1, dt0, y0, **(defaults | options))


@pytest.mark.parametrize("given", [True, False])
def test_evaluations_are_counted(given):
    """With the radius given, the counter is the true number of calls.

    Else Jacobian-vector products are counted too, and the point where a step linearises the field
    is not: what they apply is linear, and calls nothing.
    """
    calls, steps = [], 5

    def field(t, y, _):
        jax.debug.callback(lambda: calls.append(1))
        return -y

    solver = RKC2(spectral_radius=300.0 if given else None)
    state = _solve(field, jnp.ones(2), 1.0, steps=steps, solver=solver).solver_state
    jax.effects_barrier()
    products = 0 if given else COLD_ITERATIONS + (steps - 1) * solver.power_iterations
    linearised = 0 if given else steps
    assert int(state.num_evaluations) - products == len(calls) - linearised
    # s evaluations a step, as the rate at its start is the one at the end of the step before
    assert int(state.num_evaluations) == 1 + steps * int(state.num_stages) + products


def test_the_rate_at_the_start_is_reused_only_where_it_is_the_same():
    term = dfx.ODETerm(lambda t, y, _: -y * (1 + t))
    solver = RKC2(spectral_radius=2.0)
    y0, t = jnp.ones(3), jnp.linspace(0.0, 0.3, 4)
    first = solver.step(term, t[0], t[1], y0, None, solver.init(term, t[0], t[1], y0, None), False)
    cost = lambda t0, jumped: int(
        solver.step(term, t0, t[3], first[0], None, first[3], jumped)[3].num_evaluations
        - first[3].num_evaluations
    )
    np.testing.assert_allclose(first[3].rate, term.vf(t[1], first[0], None), rtol=1e-15)
    again = cost(t[1], False)
    assert cost(t[1], True) == again + 1
    assert cost(t[2], False) == again + 1


def test_steps_that_need_too_many_stages_are_rejected_before_they_are_made():
    """Five stages allow steps of 0.653 (5^2 - 1) / radius: so many must be accepted at least."""
    solver, start = RKC2(max_stages=5), jnp.asarray(SINE)
    few = _solve(_heat, start, 0.1, rtol=1e-4, solver=solver)
    assert few.result == dfx.RESULTS.successful
    assert np.abs(few.ys[0] - np.exp(-DECAY * 0.1) * SINE).max() < 1e-4
    assert int(few.stats["num_accepted_steps"]) >= 0.1 * RADIUS / (0.653 * 24)
    term, time = dfx.ODETerm(_heat), jnp.zeros(())
    before = solver.init(term, time, time + 1, start, None)
    step = jax.jit(lambda y, state: solver.step(term, time, time + 1, y, None, state, False))
    _, error, _, after, _ = step(start, before)
    assert np.isinf(error).all()
    assert int(after.num_evaluations) == 1 + COLD_ITERATIONS + solver.least_stages


def test_a_constant_step_that_needs_too_many_stages_is_no_solution():
    """Nothing rejects it: not even one that ends the solve may pass for a state."""
    start = jnp.asarray(SINE)
    solve = lambda steps: _solve(_heat, start, 0.1, steps=steps, solver=RKC2(max_stages=5))
    assert solve(2).result == dfx.RESULTS.dt_min_reached
    assert np.isnan(solve(1).ys[0]).all()


@pytest.mark.parametrize(
    "solver", [RKC2(), *(pytest.param(s, marks=pytest.mark.slow) for s in (RKL2(), RKC4()))]
)
def test_a_solve_backward_is_its_mirror_image(solver):
    """Diffrax turns the time round, and neither the term nor the field."""

    def solve(field, t0, t1):
        adaptive = dfx.PIDController(rtol=1e-5, atol=1e-5)
        return dfx.diffeqsolve(
            dfx.ODETerm(field), solver, t0, t1, None, jnp.ones(1), stepsize_controller=adaptive
        )

    back = solve(lambda t, y, _: 1e3 * (y - jnp.cos(t)), 1.0, 0.0)
    there = solve(lambda t, y, _: -1e3 * (y - jnp.cos(1 - t)), 0.0, 1.0)
    assert abs(back.stats["num_steps"] - there.stats["num_steps"]) <= 0.2 * there.stats["num_steps"]
    np.testing.assert_allclose(back.ys, there.ys, atol=1e-4)
    # the solution: (r^2 cos t + r sin t) / (r^2 + 1) at t = 0, what is left of the start aside
    np.testing.assert_allclose(back.ys[0], 1 / (1 + 1e-6), atol=1e-4)


def test_a_field_that_turns_nan_is_rejected_and_leaves_a_finite_state():
    field = lambda t, y, _: jnp.where(y > 2, jnp.nan, 1.0)
    solver = RKC2()
    controller = dfx.PIDController(rtol=1e-3, atol=1e-3, dtmin=1e-6, force_dtmin=False)
    solution = _solve(field, jnp.ones(2), 9.0, solver=solver, stepsize_controller=controller)
    assert solution.result == dfx.RESULTS.dt_min_reached
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(solution.solver_state))
    # A step that no controller rejects says what happened, and keeps its direction.
    forced = _solve(field, jnp.ones(2), 9.0, solver=solver, steps=3)
    assert np.isnan(forced.ys[0]).all()
    assert np.isfinite(forced.solver_state.direction).all()


def test_a_jacobian_of_zero_is_no_harm():
    solution = _solve(lambda t, y, _: jnp.ones_like(y), jnp.zeros(3), 2.0, solver=RKC2())
    np.testing.assert_allclose(solution.ys[0], 2.0, rtol=1e-12)
    assert float(solution.solver_state.radius) == 0


def test_the_radius_is_found_or_given():
    found = _solve(_heat, jnp.asarray(SINE), 0.1, solver=RKC2())
    state = found.solver_state
    assert isinstance(state, StabilizedState)
    assert float(state.radius) == pytest.approx(RADIUS, rel=0.02)
    solver = RKC2(spectral_radius=lambda t, y, args: args * jnp.mean(0 * y + 1.0))
    given = _solve(_heat, jnp.asarray(SINE), 0.1, solver=solver, args=jnp.array(RADIUS))
    np.testing.assert_allclose(given.ys[0], found.ys[0], atol=1e-4)
    assert int(given.solver_state.num_evaluations) < int(state.num_evaluations)
    np.testing.assert_array_equal(given.solver_state.radius, RADIUS)


def test_any_state_and_precision_and_batch():
    """A pytree, in float32, one by one and in a batch whose lanes step on their own."""
    field = lambda t, y, _: {"u": _heat(t, y["u"], None), "v": (-y["v"][0],)}
    sine, ones = jnp.asarray(SINE, "float32"), jnp.ones(2, "float32")
    scales, end = jnp.array([0.1, 1.0, 10.0], "float32"), jnp.array(0.1, "float32")

    @jax.jit
    def solve(scale):
        start = {"u": scale * sine, "v": (ones,)}
        return _solve(field, start, end, solver=RKC2(), throw=True).ys

    batch = jax.jit(jax.vmap(solve))(scales)
    for index, scale in enumerate(scales):
        alone = solve(scale)
        decay = float(scale) * np.exp(-DECAY * 0.1)
        exact = {"u": decay * SINE, "v": (np.full(2, np.exp(-0.1)),)}
        for one, many, truth in zip(*map(jax.tree.leaves, (alone, batch, exact)), strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(many[index], one, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(one[0], truth, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("solver", [RKC2, pytest.param(RKL2, marks=pytest.mark.slow)])
def test_gradients_in_reverse_are_those_of_finite_differences(solver):
    """By start, by what the field closes over, and by `args`."""

    def loss(parameters, solver, adjoint):
        def field(t, u, args):
            return args * parameters[0] * 100.0 * _laplacian(u) - parameters[1] * u**3

        y0 = jnp.asarray(SINE[::5]) + parameters[2]
        options = {"args": parameters[3], "adjoint": adjoint, "max_steps": 4}
        return jnp.sum(_solve(field, y0, 0.1, steps=3, solver=solver, **options).ys[0] ** 2)

    at = jnp.array([1.0, 0.5, 0.1, 0.9])
    forward = jax.jit(lambda p: loss(p, solver(), dfx.ForwardMode()))
    reverse = jax.jit(
        jax.grad(lambda p: loss(p, solver(reverse=True), dfx.RecursiveCheckpointAdjoint()))
    )
    step = 1e-5
    differences = [
        (forward(at + step * unit) - forward(at - step * unit)) / (2 * step) for unit in np.eye(4)
    ]
    np.testing.assert_allclose(reverse(at), differences, rtol=1e-7)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("solver", [RKC2, RKL2])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("power_iterations", 0),
        ("max_stages", 1),
        ("max_stages", 10.0),
        ("spectral_radius", -1.0),
        ("spectral_radius", np.nan),
        ("spectral_radius", np.ones(2)),
        ("reverse", 1),
    ],
)
def test_unusable_arguments_are_refused(solver, name, value):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        solver(**{name: value})
