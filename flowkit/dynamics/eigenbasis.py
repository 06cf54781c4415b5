"""Kernel flow solved exactly, in the eigenbasis of its kernel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field as dataclass_field
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.optimize import brentq

from flowkit import regression
from flowkit.fields import KernelFlow
from flowkit.observables import Observable, record_until_interrupted
from flowkit.regression import KernelRegression
from flowkit.trajectory import Result, Trajectory
from flowkit.until import AbstractCondition, TrainLoss

ROOT_ULPS = 4  # units of rounding to which the time of an event is located


@dataclass(frozen=True, eq=False)
class ExactSolution:
    """A kernel flow at its saved times and at any other.

    Attributes:
        ts: The saved times; after `until` fired, only those up to it.
        states: The states at `ts`, stacked along a leading time axis in every leaf.
        final: The state where the flow ended.
        final_time: The time of `final`.
        fired: Whether `until` ended it.
        reason: Why it ended.
        at: The state at any time from `ts[0]` on.
    """

    ts: Float[np.ndarray, " time"] = dataclass_field(repr=False)
    states: PyTree = dataclass_field(repr=False)
    final: PyTree = dataclass_field(repr=False)
    final_time: float
    fired: bool
    reason: str
    at: Callable[[float], PyTree] = dataclass_field(repr=False)


def is_exactly_solvable(field: KernelFlow, until: AbstractCondition | None) -> bool:
    """Whether a kernel flow is known in closed form, up to where a condition holds."""
    return field.is_dense and (until is None or isinstance(until, TrainLoss))


def solve_exactly(
    field: KernelFlow,
    y0: PyTree,
    ts: Float[np.ndarray, " time"],
    until: AbstractCondition | None,
    observables: Mapping[str, Observable],
) -> Trajectory:
    """The trajectory of a kernel flow that `is_exactly_solvable`."""
    solution = solve_in_eigenbasis(field, y0, ts, cast(TrainLoss | None, until))
    result = Result(successful=True, reason=solution.reason)
    recorded, result = record_until_interrupted(observables, solution.states, solution.ts, result)
    return Trajectory(
        ts=solution.ts,
        states=solution.states,
        final=solution.final,
        final_time=solution.final_time,
        observables=recorded,
        result=result,
        stats={
            "num_steps": 0,
            "num_accepted_steps": 0,
            "num_rejected_steps": 0,
            "phases": ({"solver": "eigenbasis", "start": float(ts[0])},),
        },
        clock=field.clock,
        interpolation=solution.at,
    )


def solve_in_eigenbasis(
    field: KernelFlow,
    y0: PyTree,
    ts: Float[np.ndarray, " time"],
    until: TrainLoss | None = None,
) -> ExactSolution:
    """Solve a kernel flow whose kernels are matrices, exactly at every time.

    u(t) = y + e^{-K t} (u_0 - y) and f(t) = f_0 + k (1 - e^{-K t}) K^{-1} (y - u_0), with t for
    (1 - e^{-lambda t}) / lambda where lambda = 0; eigenvalues at rounding level below zero count as
    zero. One symmetric eigendecomposition, in no less than single precision.

    Args:
        field: The flow; `field.is_dense` must hold.
        y0: The state at `ts[0]`: u, or the pair (u, f).
        ts: The times to save at, strictly increasing.
        until: Ends the flow where the training loss has fallen to a value.

    Returns:
        The solution; its arrays are of the types of `y0`.

    Raises:
        ValueError: a kernel is an operator, or `gram` has a negative eigenvalue.

    Source:
        arXiv:1904.11955, section 3. Checked by tests/dynamics/test_eigenbasis.py.
    """
    if not field.is_dense:
        raise ValueError(
            "Argument `field` must hold its kernels as matrices, but one is a product."
        )
    train = y0 if field.test_gram is None else y0[0]
    model = _fit(field, train)
    elapsed = None if until is None else _time_of_loss(model, float(until.value), ts[-1] - ts[0])
    fired = elapsed is not None
    final_time = float(ts[0] + elapsed) if fired else float(ts[-1])
    kept = ts[ts <= final_time]
    test_gram = cast(Array | None, field.test_gram)
    states = lambda times: _states(model, test_gram, y0, jnp.asarray(times - ts[0]))
    every = states(kept if kept[-1] == final_time else np.append(kept, final_time))
    return ExactSolution(
        ts=kept,
        states=jax.tree.map(lambda leaf: leaf[: kept.size], every),
        final=jax.tree.map(lambda leaf: leaf[-1], every),
        final_time=final_time,
        fired=fired,
        reason=until.describe() if until is not None and fired else "reached the last time",
        at=lambda t: jax.tree.map(lambda leaf: leaf[0], states(np.array([float(t)]))),
    )


def _fit(field: KernelFlow, train: Float[Array, "train outputs"]) -> KernelRegression:
    gram = cast(Array, field.gram)
    given = (gram, field.targets, train)
    widest = max((np.dtype(np.float32), *(x.dtype for x in given)), key=lambda d: d.itemsize)
    gram, targets, start = (x.astype(widest) for x in given)
    try:
        return regression.fit((gram + gram.T) / 2, targets, start=start)
    except ValueError as error:
        raise ValueError(
            f"Argument `gram` must be positive semidefinite to be solved in its eigenbasis; name a "
            f"`solver` to integrate the flow as it stands. ({error})"
        ) from error


@eqx.filter_jit
def _states(
    model: KernelRegression,
    test_gram: Float[Array, "test train"] | None,
    y0: PyTree,
    elapsed: Float[Array, " time"],
) -> PyTree:
    """The states at all times at once; at time 0 they are `y0` itself."""

    def one(t):
        if test_gram is None:
            return model.train_at(t)
        return model.train_at(t), model.predict_at(test_gram, t, start=y0[1])

    states = jax.vmap(one)(elapsed.astype(model.start.dtype))
    return jax.tree.map(lambda leaf, first: leaf.astype(first.dtype), states, y0)


def _time_of_loss(model: KernelRegression, value: float, longest: float) -> float | None:
    """When 1/2 sum_r w_r e^{-2 lambda_r t} falls to a value: a falling function, so one root."""
    rates = np.asarray(model.eigenvalues, float)
    squares = np.sum(np.asarray(model.residual, float) ** 2, axis=1)
    with np.errstate(divide="ignore"):
        log_squares = np.log(squares / 2)

    def gap(t: float) -> float:
        return float(np.logaddexp.reduce(log_squares - 2 * rates * t)) - np.log(value)

    if gap(0.0) <= 0:
        return 0.0
    if gap(longest) > 0:
        return None
    eps = float(np.finfo(float).eps)
    locate = cast(Any, brentq)  # its stub asks for NumPy's own floats
    return locate(gap, 0.0, longest, xtol=1e-300, rtol=ROOT_ULPS * eps, maxiter=2000)
