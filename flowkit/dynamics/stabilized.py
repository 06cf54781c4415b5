"""Stabilized explicit Runge-Kutta methods: many stages buy stability, not order.

Gradient flows are stiff with a real negative spectrum (minus a Hessian). An s-stage Chebyshev
method is stable up to a step of about 0.65 s^2 / (spectral radius), so its cost grows with the
square root of the stiffness, without Jacobians or linear solves.
"""

from typing import Any, ClassVar, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

DAMPING = 2 / 13  # epsilon of the RKC papers: damps the interior of the stability interval
STABILITY = 0.653  # the real stability interval is about 0.653 (s^2 - 1): (2/3) (1 - DAMPING 2/15)
RADIUS_MARGIN = 1.2  # power iteration approaches the spectral radius from below
COLD_ITERATIONS = 20  # before the direction is known; afterwards it is warm from step to step


@final
class _State(eqx.Module):
    """What is carried from step to step."""

    direction: Float[Array, " size"]
    warm: Array
    num_evaluations: Int[Array, ""]


@final
class RKC2(dfx.AbstractAdaptiveSolver):
    """Second-order Runge-Kutta-Chebyshev method with an adaptive number of stages.

    For stiff systems whose Jacobian has a real negative spectrum, as every gradient flow has. The
    spectral radius comes from power iteration through Jacobian-vector products, warm-started from
    step to step. Has an embedded error estimate and cubic Hermite dense output. Use it in any
    `diffrax.diffeqsolve` with an `ODETerm`; its stage loop is dynamic, so reverse-mode
    differentiation is not supported.

    Attributes:
        power_iterations: Jacobian-vector products per step for the spectral radius.
        max_stages: The most stages a step may use; a longer step is rejected.

    Source:
        Sommeijer, Shampine, Verwer 1998, "RKC: an explicit solver for parabolic PDEs". Checked by
        tests/dynamics/test_stabilized.py.
    """

    power_iterations: int = 2
    max_stages: int = 400
    term_structure: ClassVar[Any] = dfx.ODETerm
    interpolation_cls: ClassVar[Any] = dfx.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: PyTree) -> int:
        return 2

    def error_order(self, terms: PyTree) -> int:
        return 3

    def init(self, terms, t0, t1, y0, args) -> _State:
        flat, _ = ravel_pytree(y0)
        direction = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
        return _State(direction / jnp.linalg.norm(direction), jnp.zeros((), bool), jnp.array(0))

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state: _State, made_jump):
        del made_jump  # nothing is reused across a jump but the direction, which is only a guess
        z0, unravel = ravel_pytree(y0)
        h = jnp.asarray(terms.contr(t0, t1), z0.dtype)
        rate = lambda t, z: ravel_pytree(terms.vf(t, unravel(z), args))[0]

        f0, jvp = jax.linearize(lambda z: rate(t0, z), z0)
        iterations = jnp.where(solver_state.warm, self.power_iterations, COLD_ITERATIONS)
        direction, radius = _spectral_radius(jvp, solver_state.direction, iterations)
        needed = jnp.ceil(jnp.sqrt(h * RADIUS_MARGIN * radius / STABILITY + 1.0))
        stages = jnp.clip(needed, 2, self.max_stages).astype(int)

        z1 = _chebyshev_step(rate, t0, z0, f0, h, stages)
        f1 = rate(t1, z1)
        error = 0.8 * (z0 - z1) + 0.4 * h * (f0 + f1)
        error = jnp.where(needed > self.max_stages, jnp.inf, error)

        dense = {"y0": y0, "y1": unravel(z1), "k0": unravel(h * f0), "k1": unravel(h * f1)}
        evaluations = solver_state.num_evaluations + stages + 1 + iterations
        state = _State(direction, jnp.ones((), bool), evaluations)
        return dense["y1"], unravel(error), dense, state, dfx.RESULTS.successful


def _spectral_radius(
    jvp, direction: Float[Array, " size"], iterations: Int[Array, ""]
) -> tuple[Float[Array, " size"], Float[Array, ""]]:
    """Power iteration; keeps the direction where the Jacobian maps it to zero."""

    def iterate(_, carry):
        vector, _ = carry
        image = jvp(vector)
        size = jnp.linalg.norm(image)
        return jnp.where(size > 0, image / jnp.where(size > 0, size, 1.0), vector), size

    return lax.fori_loop(0, iterations, iterate, (direction, jnp.zeros((), direction.dtype)))


def _chebyshev_step(
    rate, t0, z0: Float[Array, " size"], f0: Float[Array, " size"], h: Float[Array, ""], stages
) -> Float[Array, " size"]:
    """One step of the RKC recursion; stage j approximates the solution at t0 + c_j h."""
    count = stages.astype(z0.dtype)
    w0 = 1 + DAMPING / count**2
    polynomials = _chebyshev(w0)
    _, slope, curvature = polynomials(count)
    w1 = slope / curvature

    def b(j):
        _, first, second = polynomials(jnp.maximum(j, 2.0))
        return second / first**2

    def c(j):
        _, first, second = polynomials(jnp.maximum(j, 2.0))
        whole = w1 * second / first
        return jnp.where(j < 2, jnp.where(j < 1, 0.0, b(j) * w1), whole)

    def stage(j, carry):
        previous, before = carry
        j = j.astype(z0.dtype)
        mu, nu = 2 * w0 * b(j) / b(j - 1), -b(j) / b(j - 2)
        mu_tilde = 2 * w1 * b(j) / b(j - 1)
        gamma = -(1 - b(j - 1) * polynomials(j - 1)[0]) * mu_tilde
        drift = mu_tilde * rate(t0 + c(j - 1) * h, previous) + gamma * f0
        return (1 - mu - nu) * z0 + mu * previous + nu * before + h * drift, previous

    first_stage = z0 + b(jnp.ones_like(count)) * w1 * h * f0
    last, _ = lax.fori_loop(2, stages + 1, stage, (first_stage, z0))
    return last


def _chebyshev(w0: Float[Array, ""]):
    """T_j, T_j' and T_j'' at w0 > 1, for real j, by hyperbolic functions."""
    angle = jnp.arccosh(w0)
    sinh = jnp.sinh(angle)

    def at(j):
        value = jnp.cosh(j * angle)
        first = j * jnp.sinh(j * angle) / sinh
        second = (j * j * value - w0 * first) / (w0**2 - 1)
        return value, first, second

    return at
