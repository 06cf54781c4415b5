"""RKC2 and RKL2 on the parabolic problems of the RKC and ROCK papers, against SciPy's Radau."""

from functools import partial

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from flowkit.dynamics.stabilized import RKC2, RKL2

TSIT5_INTERVAL = 3.5  # |R(z)| <= 1 for z from about -3.5 to 0, with six evaluations a step


def _laplacian(u, left, right):
    full = jnp.concatenate([jnp.array([left]), u, jnp.array([right])])
    return full[2:] - 2 * u + full[:-2]


def _heat(t, u, _):
    """u_t = u_xx + a source that moves, on (0, 1) with u = 0 at both ends; 100 points."""
    x = jnp.linspace(0.0, 1.0, 102)[1:-1]
    return 101.0**2 * _laplacian(u, 0.0, 0.0) + 50 * jnp.exp(
        -50 * (x - 0.5 - 0.3 * jnp.sin(t)) ** 2
    )


def _brusselator(t, y, _):
    """u_t = 1 + u^2 v - 4 u + u_xx / 50, v_t = 3 u - u^2 v + v_xx / 50; 2 x 100 points."""
    u, v = y.reshape(2, -1)
    diffusion = 101.0**2 / 50
    reaction = u**2 * v
    rate_u = 1 + reaction - 4 * u + diffusion * _laplacian(u, 1.0, 1.0)
    rate_v = 3 * u - reaction + diffusion * _laplacian(v, 3.0, 3.0)
    return jnp.concatenate([rate_u, rate_v])


def _burgers(t, u, _):
    """u_t + (u^2 / 2)_x = 0.02 u_xx on (0, 1) with u = 0 at both ends; 150 points."""
    flux = jnp.pad(u, 1) ** 2 / 4
    return 151.0 * (flux[:-2] - flux[2:]) + 0.02 * 151.0**2 * _laplacian(u, 0.0, 0.0)


def _grid(size):
    return np.arange(1, size + 1) / (size + 1)


# The field, where it starts and ends, and the spectral radius of what diffuses.
PROBLEMS = {
    "heat with a source": (_heat, 16 * _grid(100) * (1 - _grid(100)), 1.0, 4 * 101.0**2),
    "Brusselator": (
        _brusselator,
        np.concatenate([1 + np.sin(2 * np.pi * _grid(100)), np.full(100, 3.0)]),
        10.0,
        4 * 101.0**2 / 50,
    ),
    "Burgers": (_burgers, 1.5 * _grid(150) * (1 - _grid(150)) ** 2 * 4, 2.5, 0.08 * 151.0**2),
}


def _reference(field, y0, end):
    rate = jax.jit(partial(field, _=None))
    jacobian = jax.jit(jax.jacfwd(lambda y, t: field(t, y, None)))
    solution = solve_ivp(
        lambda t, y: np.asarray(rate(t, y)),
        (0.0, end),
        y0,
        method="Radau",
        jac=lambda t, y: np.asarray(jacobian(y, t)),
        t_eval=[end],
        rtol=1e-7,
        atol=1e-7,
    )
    return solution.y[:, -1]


@eqx.filter_jit
def _solve(field, y0, end, rtol, solver):
    return dfx.diffeqsolve(
        dfx.ODETerm(field),
        solver,
        0.0,
        end,
        None,
        y0,
        saveat=dfx.SaveAt(t1=True, solver_state=True),
        stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol),
        adjoint=dfx.ForwardMode(),
        max_steps=None,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("field", "y0", "end", "radius"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_the_end_is_met_for_a_fraction_of_what_stability_would_cost(field, y0, end, radius):
    """A local error of order h^3 leaves the tolerance to the power 2/3 at the end."""
    truth = _reference(field, y0, end)
    stability_cost = 6 * end * radius / TSIT5_INTERVAL
    for solver in (RKC2(), RKL2()):
        errors = []
        for rtol in (1e-3, 1e-5):
            solution = _solve(field, jnp.asarray(y0), end, jnp.array(rtol), solver)
            errors.append(np.abs(solution.ys[0] - truth).max() / np.abs(truth).max())
            cost = int(solution.solver_state.num_evaluations)
            assert cost < stability_cost / (9 if rtol == 1e-3 else 4)
            stats = solution.stats
            assert int(stats["num_rejected_steps"]) <= 0.2 * int(stats["num_accepted_steps"])
        assert errors[0] < 10 * 1e-3
        assert np.log10(errors[0] / errors[1]) / 2 == pytest.approx(2 / 3, abs=0.1)
