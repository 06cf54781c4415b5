"""One factorization trained by one optimiser, in steps or as a flow."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

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
LATEST = 1e6  # of each flow's clock
FLOW_RTOL, FLOW_STEPS = 1e-5, 10_000

Part = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A problem, its error over all entries, a start, and a key for batches."""

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
    return Drawn(problem, LossOf(everything), start, batch_key)


@cache
def _transformation(name: str, rate: float):
    """One object per optimiser, so that the seeds share what is compiled."""
    return optimiser(CHOICES[name].rule_for(rate), rate)


def _squared_residual(factors, example):
    row, col, value = example
    return (end_to_end(factors)[row, col] - value) ** 2


def trained_by_steps(name: str, **draw: Any) -> Part:
    """Series along descent, and the matrix where the training loss falls to `TRAINED`."""
    drawn, choice = _drawn(**draw), CHOICES[name]
    problem, rank = drawn.problem, draw["rank"]
    rate = choice.rate_for(draw["size"], draw["observed"], draw["depth"])
    observables = {
        "loss": LossOf(problem),
        "error": drawn.error,
        "effective_rank": effective_rank,
        "values": singular_values,
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
    series = {key: along[key][kept] for key in ("loss", "error", "effective_rank")}
    series["steps"] = np.asarray(trajectory.ts, float)[kept]
    series["next_value"] = (
        along["values"][kept, rank] if rank < draw["size"] else 0 * series["loss"]
    )
    return {
        **{key: value.tolist() for key, value in series.items()},
        "rate": rate,
        "trained": where_trained(series),
    }


def where_trained(series: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    """What was recorded where the loss first falls to `TRAINED`, between saves; None if never."""
    below = np.flatnonzero(series["loss"] <= TRAINED)
    if not below.size:
        return None
    last = below[0]
    if last == 0:
        return {key: float(value[0]) for key, value in series.items()}
    pair = slice(last - 1, last + 1)
    logs = -np.log(series["loss"][pair])
    between = lambda values: float(np.interp(-np.log(TRAINED), logs, values[pair]))
    return {key: between(value) for key, value in series.items()}


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
