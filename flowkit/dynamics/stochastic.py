"""Integration of stochastic differential equations by Diffrax."""

import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, PyTree

from flowkit.dynamics.precision import full_precision
from flowkit.fields.stochastic import AbstractStochasticField
from flowkit.observables import Observable, checked_observables, record_until_interrupted
from flowkit.observables.recording import is_traced
from flowkit.trajectory import Result, Times, Trajectory, checked_state, checked_times


@final
class SmallNoise(dfx.AbstractItoSolver):
    """A weak method for small noise: Heun's for the drift, noise from half way along it.

    With drift a and noise s dB, in a step h: K = a(y), S = s(y + h/2 K) dB, and
    y1 = y + h/2 (K + a(y + h K + S)) + S.

    Where the noise is of size e, expectations are right up to O(h^2 + e^4 h) over a fixed time;
    SGD's noise has e^2 = learning rate. Three gradients a step; Euler's method takes two and its
    expectations are right up to O(h).

    Source:
        In the spirit of Milstein, Tretyakov 1997, "Numerical methods in the weak sense for
        stochastic differential equations with small noise". Checked by
        tests/dynamics/test_stochastic.py.
    """

    term_structure: ClassVar[Any] = dfx.MultiTerm[tuple[dfx.ODETerm, dfx.ControlTerm]]
    interpolation_cls: ClassVar[Any] = dfx.LocalLinearInterpolation

    def order(self, terms: PyTree) -> int:
        return 2

    def strong_order(self, terms: PyTree) -> float:
        return 0.5

    def init(self, terms, t0, t1, y0, args) -> None:
        return None

    def func(self, terms, t0, y0, args) -> PyTree:
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del solver_state, made_jump
        drift, diffusion = terms.terms
        h, increment = drift.contr(t0, t1), diffusion.contr(t0, t1)
        first = drift.vf_prod(t0, y0, args, h)
        middle = jax.tree.map(lambda y, k: y + 0.5 * k, y0, first)
        noise = diffusion.vf_prod(t0 + (t1 - t0) / 2, middle, args, increment)
        predicted = jax.tree.map(lambda y, k, s: y + k + s, y0, first, noise)
        second = drift.vf_prod(t1, predicted, args, h)
        mean = lambda y, k, l, s: y + 0.5 * (k + l) + s
        y1 = jax.tree.map(mean, y0, first, second, noise)
        return y1, None, {"y0": y0, "y1": y1}, None, dfx.RESULTS.successful


@full_precision()
def solve_stochastic(
    field: AbstractStochasticField,
    y0: PyTree,
    ts: Times,
    *,
    key: PRNGKeyArray,
    step: int | float | None = None,
    observables: Mapping[str, Observable] | None = None,
) -> Trajectory:
    """One path of a stochastic differential equation, in Ito's sense.

    Steps by `SmallNoise`. The Brownian path depends on the key and the time span alone, so that
    another `step` follows the same path.

    Args:
        field: The equation.
        y0: The state at `ts[0]`.
        ts: Times to save at, strictly increasing, in the field's clock.
        key: Draws the Brownian path.
        step: The longest step; by default the field's learning rate, at which the error of the
            method in expectations, as that of the modified equation, is of second order.
        observables: Functions of the state to record at every saved time.

    Returns:
        The trajectory; if the state stops being finite, `result` says so.

    Raises:
        ValueError: an argument is not usable; the message says which.
    """
    _check_known(field=field, y0=y0, ts=ts, key=key)
    ts, y0 = checked_times(ts), checked_state(y0)
    field.check(y0)
    observables = checked_observables(observables, ts, y0)
    grid, saved = _grid(ts, _checked_step(step, field))
    states = _solve(field, y0, jnp.asarray(grid), jnp.asarray(saved), key)
    _check_known(field=states)  # by what it closes over, or as all is inside `jax.jit`
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(states))
    steps = len(grid) - 1
    result = Result(finite, "reached the last time" if finite else "the state is not finite")
    recorded, result = record_until_interrupted(observables, states, ts, result)
    return Trajectory(
        ts=ts,
        states=states,
        final=jax.tree.map(lambda leaf: leaf[-1], states),
        final_time=float(ts[-1]),
        observables=recorded,
        result=result,
        stats={"num_steps": steps, "num_accepted_steps": steps, "num_rejected_steps": 0},
        clock=field.clock,
    )


def _check_known(**arguments: object) -> None:
    """Refuse, by name, a path under a transformation: its trajectory says whether it is finite."""
    for name, value in arguments.items():
        if is_traced(value):
            raise ValueError(
                f"Argument `{name}` of a stochastic path must be known numbers, but it is traced "
                f"by `jax.grad`, `jax.jit` or `jax.vmap`; `sample_paths` draws many paths at once."
            )


@full_precision()
def sample_paths(
    field: AbstractStochasticField,
    y0: PyTree,
    ts: Times,
    *,
    keys: Key[Array, " paths"],
    step: int | float | None = None,
) -> PyTree:
    """Paths of a stochastic differential equation, one to a key, all at once.

    Args:
        field: The equation.
        y0: The state at `ts[0]` of every path.
        ts: Times to save at, strictly increasing, in the field's clock.
        keys: The keys that draw the Brownian paths.
        step: The longest step, as in `solve_stochastic`.

    Returns:
        The saved states, with leading axes (path, time) in every leaf.

    Raises:
        ValueError: an argument is not usable; the message says which.
    """
    ts, y0 = checked_times(ts), checked_state(y0)
    field.check(y0)
    grid, saved = _grid(ts, _checked_step(step, field))
    return _solve_all(field, y0, jnp.asarray(grid), jnp.asarray(saved), keys)


def _checked_step(step: int | float | None, field: AbstractStochasticField) -> float:
    step = float(field.learning_rate) if step is None else step
    if not 0 < step < np.inf:
        raise ValueError(f"Argument `step` must be positive, but it is {step!r}.")
    return step


def _grid(
    ts: Float[np.ndarray, " time"], step: float
) -> tuple[Float[np.ndarray, " grid"], Float[np.ndarray, " time"]]:
    """Equal steps of at most `step` from each saved time to the next."""
    pieces = [
        np.linspace(start, end, max(math.ceil((end - start) / step * (1 - 1e-9)), 1) + 1)[1:]
        for start, end in itertools.pairwise(ts)
    ]
    return np.concatenate([ts[:1], *pieces]), ts


@eqx.filter_jit
def _solve_all(field, y0, grid, ts, keys) -> PyTree:
    return jax.vmap(lambda key: _solve(field, y0, grid, ts, key))(keys)


@eqx.filter_jit
def _solve(
    field: AbstractStochasticField,
    y0: PyTree,
    grid: Float[Array, " grid"],
    ts: Float[Array, " time"],
    key: PRNGKeyArray,
) -> PyTree:
    """The states of one path at `ts`, which are among the steps of the grid."""
    shape = jax.ShapeDtypeStruct((field.noises,), grid.dtype)
    tol = jnp.min(jnp.diff(grid)) / 2  # below the shortest step, increments are exact in law
    path = dfx.VirtualBrownianTree(grid[0], grid[-1], tol, shape, key)

    def noise(t, y, args) -> lx.FunctionLinearOperator:
        return lx.FunctionLinearOperator(lambda increment: field.diffusion(t, y, increment), shape)

    drift = dfx.ODETerm(lambda t, y, args: field.drift(jnp.asarray(t), y))
    solution = dfx.diffeqsolve(
        dfx.MultiTerm(drift, dfx.ControlTerm(noise, path)),
        SmallNoise(),
        t0=grid[0],
        t1=grid[-1],
        dt0=None,
        y0=y0,
        saveat=dfx.SaveAt(ts=ts),
        stepsize_controller=dfx.StepTo(grid),
        adjoint=dfx.ForwardMode(),
        max_steps=None,
        throw=False,
    )
    return solution.ys
