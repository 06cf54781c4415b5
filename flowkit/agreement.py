"""Agreement of two trajectories at equal times, and the order at which errors fall."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PyTree

from flowkit.observables import balance
from flowkit.trajectory import Trajectory

Numbers = Sequence[int | float] | Num[np.ndarray | Array, "..."]
Quantity = str | Callable[[PyTree], PyTree] | None


@dataclass(frozen=True)
class Agreement:
    """The distance between two trajectories at the times they share.

    Attributes:
        ts: The common times.
        errors: Euclidean distance at each of them, over all leaves.
        scale: The largest Euclidean norm of the second trajectory at these times.
    """

    ts: Float[np.ndarray, " time"]
    errors: Float[np.ndarray, " time"]
    scale: float

    @property
    def worst(self) -> float:
        """The largest distance."""
        return float(self.errors.max())

    @property
    def relative(self) -> float:
        """The largest distance over `scale`; infinite where only the scale is zero."""
        if self.scale == 0:
            return 0.0 if self.worst == 0 else float("inf")
        return self.worst / self.scale


def compare(a: Trajectory, b: Trajectory, *, of: Quantity = None) -> Agreement:
    """Hold two trajectories against each other at equal times.

    The times are those that both saved; a dense trajectory also answers at the other's times.

    Args:
        a: A trajectory.
        b: The reference.
        of: What to compare: the name of an observable that both recorded, or a function of the
            state; by default the state itself.

    Returns:
        The distances over the common times.

    Raises:
        ValueError: a trajectory failed or is not finite, the clocks differ, no times are shared,
            or the quantity is missing or differs in shape.
    """
    for name, trajectory in (("a", a), ("b", b)):
        _check_usable(name, trajectory)
    if a.clock != b.clock:
        raise ValueError(
            f"Arguments `a` and `b` must have one clock, but they count {a.clock} and {b.clock}; "
            f"give `descend` its `learning_rate` to put it on the flow's clock."
        )
    ts = _common_times(a, b)
    left, right = (_values(trajectory, of, ts) for trajectory in (a, b))
    if left.shape != right.shape:
        raise ValueError(
            f"Arguments `a` and `b` must agree in shape, but one time holds {left.shape[1]} and "
            f"{right.shape[1]} numbers."
        )
    for name, values in (("a", left), ("b", right)):
        if not np.isfinite(values).all():
            raise ValueError(f"Argument `{name}` must be finite at the common times, but is not.")
    errors = np.linalg.norm(left - right, axis=1)
    return Agreement(ts=ts, errors=errors, scale=float(np.linalg.norm(right, axis=1).max()))


def fitted_order(
    steps: Numbers,
    errors: Numbers,
) -> float:
    """The order p at which errors fall: the least-squares slope of log error against log step.

    Args:
        steps: Step sizes or learning rates, positive, at least two different ones.
        errors: The error at each, positive.

    Returns:
        The slope p of error = constant * step**p.

    Raises:
        ValueError: the lengths differ, a value is not positive and finite, or all steps are equal.
    """
    steps, errors = np.asarray(steps, dtype=float), np.asarray(errors, dtype=float)
    if steps.shape != errors.shape or steps.ndim != 1 or np.unique(steps).size < 2:
        raise ValueError(
            f"Arguments `steps` and `errors` must be lists of one length with two different steps "
            f"at least, but their shapes are {steps.shape} and {errors.shape}."
        )
    for name, values in (("steps", steps), ("errors", errors)):
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if bad.size:
            raise ValueError(
                f"Argument `{name}` must be positive and finite, but `{name}[{bad[0]}]` is "
                f"{values[bad[0]]}."
            )
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def _check_usable(name: str, trajectory: Trajectory) -> None:
    if not trajectory.result.successful:
        raise ValueError(
            f"Argument `{name}` must be a successful trajectory, but it failed: "
            f"{trajectory.result.reason}."
        )


def _common_times(a: Trajectory, b: Trajectory) -> Float[np.ndarray, " time"]:
    """Times at which both answer; those of `b` stand for those of `a` that equal them."""
    only_a = [t for t in a.ts if b.index(t) is None]
    ts = [t for t in np.sort([*b.ts, *only_a]) if a.answers(t) and b.answers(t)]
    if not ts:
        raise ValueError(
            f"Arguments `a` and `b` must share saved times, but none of {a.ts.size} and "
            f"{b.ts.size} coincide; save at equal times, or integrate with `dense=True`."
        )
    if len(ts) == 1 and a.index(ts[0]) == b.index(ts[0]) == 0:
        raise ValueError(
            f"Arguments `a` and `b` must share a time after the start, where they agree whatever "
            f"follows, but only {ts[0]:g} of {a.ts.size} and {b.ts.size} saved times coincides; "
            f"save at equal times, or integrate with `dense=True`."
        )
    return np.array(ts)


def _values(
    trajectory: Trajectory, of: Quantity, ts: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time numbers"]:
    if isinstance(of, str):
        return _recorded(trajectory, of, ts)
    quantity = of or (lambda state: state)
    return np.stack([_flatten(quantity(trajectory.at(float(t)))) for t in ts])


def _recorded(
    trajectory: Trajectory, name: str, ts: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time numbers"]:
    if name not in trajectory.observables:
        raise ValueError(
            f"Argument `of` must be a recorded observable, but `{name}` is none of "
            f"{sorted(trajectory.observables)}."
        )
    saved = [trajectory.index(t) for t in ts]
    at = [i for i in saved if i is not None]
    if len(at) < len(saved):
        raise ValueError(
            f"Argument `of` must be recorded at the common times, but `{name}` was recorded only "
            f"where states were saved; pass a function of the state to interpolate."
        )
    return np.asarray(trajectory.observables[name])[at].reshape(len(ts), -1)


def _flatten(value: PyTree) -> Float[np.ndarray, " numbers"]:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])


def conserved_drift(trajectory: Trajectory) -> float:
    """How far balancedness drifts: max over j and t of |D_j(t) - D_j(0)|_F / |W_j(t)|_F^2.

    D_j = W_{j+1}^T W_{j+1} - W_j W_j^T, as `symbolic.factor_flow` conserves it.

    Args:
        trajectory: A trajectory of factors (W_1, .., W_N).

    Returns:
        The largest relative drift; 0 for a single factor.

    Raises:
        ValueError: the trajectory failed, or its states are not factors.
    """
    _check_usable("trajectory", trajectory)
    if not isinstance(trajectory.states, tuple):
        raise ValueError(
            "Argument `trajectory` must be one of factors (W_1, .., W_N), but its states are a "
            f"`{type(trajectory.states).__name__}`."
        )
    laws = jax.lax.map(balance, trajectory.states)
    drifts = [
        jnp.linalg.norm(law - law[:1], axis=(1, 2)) / jnp.sum(factor**2, axis=(1, 2))
        for law, factor in zip(laws, trajectory.states, strict=False)
    ]
    return max((float(drift.max()) for drift in drifts), default=0.0)
