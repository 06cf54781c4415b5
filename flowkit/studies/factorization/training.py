"""One factorization trained by one optimiser, in steps or as a flow."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from flowkit import initial, until
from flowkit.datasets import low_rank
from flowkit.dynamics import descend, integrate, optimiser
from flowkit.fields import ModelFlow
from flowkit.minibatches import Minibatches
from flowkit.observables import LossOf, effective_rank, end_to_end, singular_values
from flowkit.problems import MatrixCompletion
from flowkit.studies.factorization.rates import BATCHES, CHOICES

TRAINED = 1e-5  # training loss (mean of squares) at which optimisers are compared
SAVES = 200
BEYOND = 3  # singular values kept after those of the true rank
LATEST = 1e6  # of each flow's clock
FLOW_RTOL, FLOW_STEPS = 1e-5, 10_000

Part = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A matrix, its observed entries, the error over all, a start, and a key for batches."""

    matrix: Float[Array, "size size"]
    problem: MatrixCompletion
    error: LossOf
    start: initial.Factors
    key: jax.Array


def _drawn(seed: int, depth: int, scale: float, observed: int, size: int, rank: int) -> Drawn:
    drawn = low_rank(size, rank, key=jax.random.key(seed))
    problem = MatrixCompletion.from_matrix(drawn.matrix, observed=observed, key=drawn.data_key)
    everything = MatrixCompletion.from_matrix(drawn.matrix, observed=np.ones((size, size), bool))
    start_key, batch_key = jax.random.split(drawn.start_key)
    start = initial.gaussian(problem, depth, scale, key=start_key)
    return Drawn(drawn.matrix, problem, LossOf(everything), start, batch_key)


@cache
def _transformation(name: str, rate: float):
    """One object per optimiser, so that the seeds share what is compiled."""
    return optimiser(CHOICES[name].rule_for(rate), rate)


def _squared_residual(factors, example):
    row, col, value = example
    return (end_to_end(factors)[row, col] - value) ** 2


def trained_by_steps(name: str, **draw: Any) -> Part:
    """Series along descent, and the matrix where the training loss falls to `TRAINED`.

    The leading singular values are kept by value, largest first, each along descent.
    """
    drawn, choice = _drawn(**draw), CHOICES[name]
    problem, leading = drawn.problem, draw["rank"] + BEYOND
    rate = choice.rate_for(draw["size"], draw["observed"], draw["depth"])
    observables = {
        "loss": LossOf(problem),
        "error": drawn.error,
        "effective_rank": effective_rank,
        "values": lambda y: singular_values(y)[:leading],
    }
    data = (problem.rows, problem.cols, problem.values)
    batches = Minibatches(data, max(1, draw["observed"] // BATCHES), replace=True)
    trajectory = descend(
        _squared_residual if choice.batched else problem,
        drawn.start,
        _transformation(name, rate),
        choice.steps,
        save_every=choice.steps // SAVES,
        observables=observables,
        batches=batches if choice.batched else None,
        key=drawn.key if choice.batched else None,
    )
    along = {key: np.asarray(value) for key, value in trajectory.observables.items()}
    finite = int(np.argmin(np.isfinite(along["loss"]))) or len(along["loss"])
    kept = slice(0, finite if trajectory.result.successful else max(1, finite - 1))
    series = {key: value[kept] for key, value in along.items()}
    series["steps"] = np.asarray(trajectory.ts, float)[kept]
    return {
        **{key: value.T.tolist() for key, value in series.items()},
        "true_values": np.asarray(singular_values(drawn.matrix))[:leading].tolist(),
        "rate": rate,
        "trained": where_trained(series),
    }


def where_trained(series: Mapping[str, np.ndarray]) -> Part | None:
    """What was recorded where the loss first falls to `TRAINED`, between saves; None if never."""
    below = np.flatnonzero(series["loss"] <= TRAINED)
    if not below.size:
        return None
    last = below[0]
    if last == 0:
        return {key: value[0].tolist() for key, value in series.items()}
    logs = np.log(series["loss"][last - 1 : last + 1])
    share = (logs[0] - np.log(TRAINED)) / (logs[0] - logs[1])
    between = lambda values: values[last - 1] + share * (values[last] - values[last - 1])
    return {key: between(value).tolist() for key, value in series.items()}


def trained_by_flow(name: str, **draw: Any) -> Part:
    """The matrix where the rule's flow brings the training loss to `TRAINED`."""
    drawn, choice = _drawn(**draw), CHOICES[name]
    rule = choice.rule_for(choice.rate_for(draw["size"], draw["observed"], draw["depth"]))
    trajectory = integrate(
        ModelFlow(LossOf(drawn.problem), rule=rule),
        drawn.start,
        [0.0, LATEST],
        until=until.train_loss(TRAINED),
        rtol=FLOW_RTOL,
        max_steps=FLOW_STEPS,
    )
    if not trajectory.result.successful:
        return {"trained": None, "reason": trajectory.result.reason}
    product = end_to_end(trajectory.final)
    found = {
        "error": float(drawn.error(product)),
        "effective_rank": float(effective_rank(product)),
        "time": trajectory.final_time,
    }
    return {"trained": found, "reason": trajectory.result.reason}
