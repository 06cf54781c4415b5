"""RKC2 and RKL2 are of order two, and stable and damped on the intervals that they claim."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from flowkit.dynamics.stabilized import DAMPING, RKC2, RKL2, STABILITY
from flowkit.dynamics.stages import Step

ORDER_TOLERANCE = 0.1
SOLVERS = {"RKC2": RKC2, "RKL2": RKL2}
solvers = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())


def _field(t, y, _):
    """Two coupled components, one that follows a cosine, and one that is a polynomial of time."""
    coupled = jnp.stack([-(y[0] ** 2), -y[0] * y[1]])
    return jnp.append(coupled, jnp.stack([-2 * (y[2] - jnp.cos(t)) - jnp.sin(t), 3 * t**2]))


def _exact(t):
    return np.stack([1 / (1 + t), 2 / (1 + t), np.cos(t), t**3])


@solvers
def test_the_error_is_of_order_two_at_steps_and_between_them(solver):
    """Cubic Hermite interpolation of a second-order solution: the solution's error dominates."""
    between = np.linspace(0.01, 0.99, 41)

    @jax.jit
    def solve(dt0):
        solution = dfx.diffeqsolve(
            dfx.ODETerm(_field),
            solver(),
            0.0,
            1.0,
            dt0,
            jnp.asarray(_exact(0.0)),
            saveat=dfx.SaveAt(t1=True, dense=True),
            adjoint=dfx.ForwardMode(),
            max_steps=81,
        )
        return solution.ys[0], jax.vmap(solution.evaluate, out_axes=1)(jnp.asarray(between))

    counts = np.array([10, 20, 40, 80])
    ends, inner = zip(*(solve(1.0 / n) for n in counts), strict=True)
    at_end = np.abs(np.stack(ends) - _exact(1.0))
    at_worst = np.abs(np.stack(inner) - _exact(between)).max(axis=2)
    for errors in (*at_end.T, *at_worst.T):
        slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
        assert slope == pytest.approx(2, abs=ORDER_TOLERANCE)


# Lengths of the intervals; a bound on |R| from z = -1 on; how far beyond |R| exceeds 1 for sure.
REGIONS = {
    "RKC2": (RKC2(), lambda s: STABILITY * (s**2 - 1), 1 - DAMPING / 3 + 0.01, 1.35),
    "RKL2": (RKL2(), lambda s: (s**2 + s - 2) / 2, 0.8, 1.35),
}


@pytest.mark.parametrize(
    ("solver", "length", "damped", "beyond"), REGIONS.values(), ids=REGIONS.keys()
)
def test_the_stability_interval_is_as_long_as_claimed_and_damped(solver, length, damped, beyond):
    """R(z) of one step of y' = z y, for many z at once: each is a component."""
    one, zero = jnp.ones(()), jnp.zeros(())

    @jax.jit
    def growth(stages, z):
        y0 = jnp.ones_like(z)
        return solver.advance(Step(lambda t, y: z * y, zero, one, y0, z, one, _loop), stages).z1

    for stages in (5, 7, 11, 21, 51, 101, 201, 399, 3999):
        end = length(stages)
        inside = -np.linspace(0.0, end, 4001)
        size = np.abs(growth(jnp.array(stages), inside))
        assert size.max() <= 1 + 1e-10
        assert size[inside <= -1].max() <= damped
        outside = np.full(4001, -beyond * end)
        assert not (np.abs(growth(jnp.array(stages), outside)) <= 1).any()  # it may overflow


def _loop(start, stop, body, carry):
    return lax.fori_loop(start, stop, body, carry)


@solvers
def test_the_stages_asked_for_are_the_fewest_that_are_stable(solver):
    length = REGIONS[solver.__name__][1]
    between = 1 if solver is RKC2 else 2
    for scaled in (0.0, 0.5, 3.0, 10.0, 100.0, 1e4, 1e6):
        stages = float(solver().stages_for(jnp.array(scaled)))
        assert length(stages) >= scaled
        assert stages == solver.least_stages or length(stages - between) < scaled
