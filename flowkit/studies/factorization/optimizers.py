"""Optimisers on one factorization: all reach zero training error, not the same matrix."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

from flowkit import initial, until
from flowkit.claim import Curves, Panels
from flowkit.datasets import low_rank
from flowkit.dynamics import descend, integrate, optimiser
from flowkit.fields import ModelFlow
from flowkit.minibatches import Minibatches
from flowkit.observables import LossOf, effective_rank, end_to_end, singular_values
from flowkit.problems import MatrixCompletion
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.rates import BATCHES, CHOICES, OBSERVED, SIZE
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 1
SOURCE = "the essay"  # that set the question: "Adam is faster and generalises slightly worse here"
TRAINED = 1e-5  # training loss (mean of squares) at which optimisers are compared
SAVES = 200
LATEST = 1e6  # of each flow's clock
FLOW_RTOL, FLOW_STEPS = 1e-5, 10_000

Part = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        optimisers: Names of `rates.CHOICES`.
        depth: The number of factors.
        scale: Scale of the product at the start.
        observed: The number of observed entries.
        seeds: How many draws of matrix, entries and start.
        size: Rows and columns of the matrix.
        rank: Its rank.
    """

    optimisers: tuple[str, ...] = tuple(CHOICES)
    depth: int = 3
    scale: float = 1e-3
    observed: int = OBSERVED
    seeds: int = 10
    size: int = SIZE
    rank: int = 3

    def __post_init__(self):
        check_numbers(self, "depth", "observed", "seeds", "size", "rank", least=1)
        check_numbers(self, "scale")
        unknown = [name for name in self.optimisers if name not in CHOICES]
        if unknown or not self.optimisers:
            raise ValueError(
                f"Argument `optimisers` must hold names of {', '.join(CHOICES)}, but it is "
                f"{self.optimisers}."
            )

    @property
    def flowing(self) -> tuple[str, ...]:
        """The optimisers that have a flow of their own."""
        return tuple(name for name in self.optimisers if not CHOICES[name].batched)


def optimizers(settings: Settings, work: Work) -> Study:
    """Train one factorization by every optimiser, in steps and, where it has one, as a flow.

    Args:
        settings: Optimisers, and the problem.
        work: Where parts are kept.

    Returns:
        A row per optimiser: steps to a training loss of 1e-5, and the matrix there.

    Raises:
        ValueError: more entries are to be observed than there are, or the rank exceeds the size.

    Source:
        Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, for the problem and the size-normalised
        descent; the rules themselves, see `flowkit.rules`.
    """
    common = {
        "depth": settings.depth,
        "scale": settings.scale,
        "observed": settings.observed,
        "size": settings.size,
        "rank": settings.rank,
    }
    seeds = range(settings.seeds)
    run = lambda part, solve, names: _by_name(
        names,
        settings.seeds,
        work.parts(
            part,
            solve,
            [{"name": n, "seed": s, **common} for n, s in itertools.product(names, seeds)],
            version=VERSION,
        ),
    )
    descents = run("descent", _descend, settings.optimisers)
    flows = run("flow", _flow, settings.flowing)
    return Study(
        name="optimizers",
        title=f"Optimisers at a training loss of {TRAINED:g}: depth {settings.depth}, rank "
        f"{settings.rank}, seeds: {settings.seeds}",
        settings=settings,
        rows=tuple(_row(settings, name, descents[name], flows.get(name)) for name in descents),
        chart=_chart(settings, descents),
        notes=(
            "Errors are means of squares over all entries: the median, least and largest seed.",
            "Trained: seeds that reach the loss within the steps they get, as descent / as flow.",
            "Next s: the largest singular value beyond the true rank. Flow: the median error.",
            "Minibatch descent follows gradient flow; it has no flow of its own here.",
        ),
        comparisons=tuple(_comparisons(descents)),
    )


def _by_name(names: Sequence[str], seeds: int, parts: Sequence[Part]) -> dict[str, list[Part]]:
    rest = iter(parts)
    return {name: list(itertools.islice(rest, seeds)) for name in names}


@dataclass(frozen=True)
class _Problem:
    problem: MatrixCompletion
    error: LossOf
    start: initial.Factors
    key: jax.Array


def _drawn(seed: int, depth: int, scale: float, observed: int, size: int, rank: int) -> _Problem:
    drawn = low_rank(size, rank, key=jax.random.key(seed))
    problem = MatrixCompletion.from_matrix(drawn.matrix, observed=observed, key=drawn.data_key)
    everything = MatrixCompletion.from_matrix(drawn.matrix, observed=np.ones((size, size), bool))
    start_key, batch_key = jax.random.split(drawn.start_key)
    start = initial.gaussian(problem, depth, scale, key=start_key)
    return _Problem(problem, LossOf(everything), start, batch_key)


@cache
def _transformation(name: str, rate: float):
    """One object per optimiser, so that the seeds share what is compiled."""
    return optimiser(CHOICES[name].rule_for(rate), rate)


def _squared_residual(factors, example):
    row, col, value = example
    return (end_to_end(factors)[row, col] - value) ** 2


def _descend(name: str, **draw: Any) -> Part:
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
        "values": along["values"][kept][-1, : rank + 2].tolist(),
        "rate": rate,
        "trained": _trained(series),
    }


def _trained(series: Mapping[str, np.ndarray]) -> dict[str, float] | None:
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


def _flow(name: str, **draw: Any) -> Part:
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


def _ends(parts: Sequence[Part] | None, fact: str) -> list[float]:
    """A fact of every part that was trained."""
    return [part["trained"][fact] for part in parts or () if part["trained"] is not None]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _row(
    settings: Settings, name: str, parts: Sequence[Part], flows: Sequence[Part] | None
) -> dict[str, Any]:
    errors, flow_errors = _ends(parts, "error"), _ends(flows, "error")
    steps = _median(_ends(parts, "steps"))
    of_flows = "" if flows is None else f" / {len(flow_errors)}"
    return {
        "optimiser": CHOICES[name].label,
        "rate": f"{parts[0]['rate']:.2g}",
        "trained": f"{len(errors)}{of_flows}",
        "steps": None if steps is None else round(steps),
        "error": _median(errors),
        "least": min(errors, default=None),
        "largest": max(errors, default=None),
        "effective_rank": _median(_ends(parts, "effective_rank")),
        "next_s": _median(_ends(parts, "next_value")),
        "flow": _median(flow_errors),
    }


def _comparisons(descents: Mapping[str, Sequence[Part]]) -> list[Comparison]:
    """Adam over gradient descent, seed by seed."""
    rows = []
    for name in ("adam", "adam-slow"):
        if name not in descents or "gd" not in descents:
            continue
        pairs = [
            (adam["trained"], plain["trained"])
            for adam, plain in zip(descents[name], descents["gd"], strict=True)
            if adam["trained"] and plain["trained"]
        ]
        ratios = {key: [a[key] / p[key] for a, p in pairs] for key in ("steps", "error")}
        label = CHOICES[name].label
        rows += [
            Comparison(f"{label}: steps / descent's", ratios["steps"], (None, 1.0), SOURCE),
            Comparison(f"{label}: error / descent's", ratios["error"], (1.0, None), SOURCE),
        ]
    return [row for row in rows if row.measured]


def _chart(settings: Settings, descents: Mapping[str, Sequence[Part]]) -> Panels:
    first = {CHOICES[name].label: parts[0] for name, parts in descents.items()}
    after = slice(1, None)
    of = lambda x, y: {label: (part[x][after], part[y][after]) for label, part in first.items()}
    steps, loss = {"x_label": "steps"}, {"x_label": "training loss", "reverse_x": True}
    panel = lambda title, x, y, ends, *, log_y=True: Curves(
        title=title, y_label=y.replace("_", " "), lines=of(x, y), log_x=True, log_y=log_y, **ends
    )
    return Panels(
        title=f"Optimisers on one matrix: depth {settings.depth}, {settings.size} x "
        f"{settings.size}, rank {settings.rank}, {settings.observed:,} observed",
        panels=(
            panel("training loss", "steps", "loss", steps),
            panel("error over all entries", "steps", "error", steps),
            panel("error by training loss", "loss", "error", loss),
            panel("rank by training loss", "loss", "effective_rank", loss, log_y=False),
        ),
        columns=2,
        caption="The same problem and start for all. The adaptive rules fit sooner and end further "
        "from the matrix; the size-normalised one follows gradient descent.",
    )


STUDY = Reproducible(
    run=optimizers,
    settings=Settings(),
    quick=Settings(optimisers=("gd", "adam", "normalised"), seeds=2),
)
