"""The flow of a factorization, stopped where held-out entries are predicted best."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from flowkit import until
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow
from flowkit.initial import Factors
from flowkit.observables import LossOf
from flowkit.problems import WeightedCompletion
from flowkit.trajectory import Trajectory

RTOL = 1e-3  # measured on the temperatures: held-out errors are right to 0.1 %
SAVES, GROWTH = 8, 2.0  # a stretch of the flow doubles the time, and looks so often
SAME = 1 - 1e-5  # times are equal up to their rounding in single precision
NEVER = float(np.finfo(np.float32).tiny)  # a loss below which there is nothing left to train
LEARNT = 0.5  # of the first training loss: above it the flow is still leaving its saddle


@dataclass(frozen=True, eq=False)
class Trained:
    """Where training stopped, and how it went.

    Attributes:
        factors: The factors at the stopping time.
        time: The stopping time, in flow time.
        loss: The held-out loss there; the training loss where nothing is held out.
        times: When losses were looked at.
        train_losses: The training loss at these times.
        held_out_losses: The held-out loss at these times; empty where nothing is held out.
    """

    factors: Factors = field(repr=False)
    time: float
    loss: float
    times: Float[np.ndarray, " time"] = field(repr=False)
    train_losses: Float[np.ndarray, " time"] = field(repr=False)
    held_out_losses: Float[np.ndarray, " times"] = field(repr=False)


def first_time(problem: WeightedCompletion) -> float:
    """The time in which the strongest mode grows at depth 1: one over the norm of G at zero."""
    return 1 / float(np.linalg.norm(problem.gradient(jnp.zeros(problem.shape)), 2))


def train(
    problem: WeightedCompletion,
    held_out: WeightedCompletion | None,
    factors: Factors,
    *,
    max_time: float,
    tolerance: float,
    patience: float,
) -> Trained:
    """Follow the flow until the held-out loss has not improved for long, and go back to its best.

    Args:
        problem: What is trained.
        held_out: The entries that decide when to stop; None to train to the end.
        factors: Where the flow starts.
        max_time: The flow time to end at.
        tolerance: The training loss to end at.
        patience: The factor by which time grows after the last improvement before training ends;
            it does not end before the training loss has halved.

    Returns:
        The state of least held-out loss among those looked at; without held-out entries the last.

    Raises:
        ArithmeticError: the integration failed.
    """
    losses = {"train": LossOf(problem)} | ({} if held_out is None else {"held": LossOf(held_out)})
    which = "train" if held_out is None else "held"
    history: dict[str, list[float]] = {name: [] for name in ("t", *losses)}
    best = (factors, 0.0, float("inf"))
    state, begin, end = factors, 0.0, min(first_time(problem), max_time)
    while True:
        trajectory = _stretch(problem, state, begin, end, tolerance, losses)
        for t, at, row in _looks(trajectory, losses):
            for name, value in {"t": t, **row}.items():
                history[name].append(value)
            if row[which] < best[2]:
                best = (at, t, row[which])
        state, begin = trajectory.final, trajectory.final_time
        has_learnt = history["train"][-1] <= LEARNT * history["train"][0]
        lost_patience = held_out is not None and has_learnt and begin >= patience * best[1]
        if begin < SAME * end or begin >= SAME * max_time or lost_patience:
            break
        end = min(GROWTH * begin, max_time)
    times, train_losses = np.array(history["t"]), np.array(history["train"])
    factors, time, loss = best
    factors = tuple(map(jnp.asarray, factors))
    return Trained(factors, time, loss, times, train_losses, np.array(history.get("held", [])))


def train_until(problem: WeightedCompletion, factors: Factors, time: float) -> Factors:
    """The factors at a time, by the program that `train` compiled for matrices of this shape.

    Raises:
        ArithmeticError: the integration failed.
    """
    if time == 0:
        return factors
    trajectory = _stretch(problem, factors, 0.0, time, NEVER, {})
    return tuple(map(jnp.asarray, trajectory.final))


def _stretch(
    problem: WeightedCompletion,
    state: Factors,
    begin: float,
    end: float,
    tolerance: float,
    losses: dict[str, LossOf],
) -> Trajectory:
    first = begin or end / GROWTH**2
    later = np.geomspace(first, end, SAVES + 1 if begin else SAVES)
    ts = later if begin else np.concatenate([[0.0], later])
    ts[-1] = end
    return _checked(
        integrate(
            FactorFlow(problem),
            state,
            ts,
            observables=losses,
            until=until.train_loss(tolerance),
            rtol=RTOL,
        )
    )


def _looks(
    trajectory: Trajectory, losses: dict[str, LossOf]
) -> Iterator[tuple[float, Factors, dict[str, float]]]:
    """Times, states and losses along a stretch, its end included."""
    for i, t in enumerate(trajectory.ts):
        at = tuple(leaf[i] for leaf in trajectory.states)
        yield float(t), at, {name: float(trajectory.observables[name][i]) for name in losses}
    if trajectory.final_time > trajectory.ts[-1]:
        row = {name: float(loss(trajectory.final)) for name, loss in losses.items()}
        yield trajectory.final_time, trajectory.final, row


def _checked(trajectory: Trajectory) -> Trajectory:
    if not trajectory.result.successful:
        raise ArithmeticError(f"The integration failed: {trajectory.result.reason}.")
    return trajectory
