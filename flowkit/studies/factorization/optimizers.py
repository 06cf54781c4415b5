"""Optimisers on one factorization: the matrices they find at one training loss."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowkit.claim import Curves, Panels
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.rates import CHOICES, CHOSEN_ON, OBSERVED, SIZE
from flowkit.studies.factorization.training import (
    TRAINED,
    Part,
    trained_by_flow,
    trained_by_steps,
)
from flowkit.studies.settings import check_names, check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSIONS = {"descent": 2, "flow": 1}
AROUND = 2  # singular values that are shown on either side of the true rank's
TRUTH = "true matrix"
SOURCE = "the essay"  # that set the question: "Adam is faster and generalises slightly worse here"


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        optimisers: Names of `rates.CHOICES`.
        depth: The number of factors.
        scale: Scale of the product at the start.
        observed: The number of observed entries.
        seeds: How many draws of matrix, entries and start, after the one that rates were chosen on.
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
        check_names(self, "optimisers", CHOICES)

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
    first = CHOSEN_ON + 1
    seeds = range(first, first + settings.seeds)
    run = lambda part, solve, names: _by_name(
        names,
        settings.seeds,
        work.parts(
            part,
            solve,
            [{"name": n, "seed": s, **common} for n, s in itertools.product(names, seeds)],
            version=VERSIONS[part],
        ),
    )
    descents = run("descent", trained_by_steps, settings.optimisers)
    flows = run("flow", trained_by_flow, settings.flowing)
    return Study(
        name="optimizers",
        title=f"Optimisers at a training loss of {TRAINED:g}: depth {settings.depth}, rank "
        f"{settings.rank}, seeds: {settings.seeds}",
        settings=settings,
        rows=tuple(_row(settings, name, descents[name], flows.get(name)) for name in descents),
        chart=_chart(settings, descents),
        notes=(
            "Errors are means of squares over all entries: the median, least and largest seed.",
            f"Learning rates were chosen on seed {CHOSEN_ON}; seeds here start at {first}.",
            "Trained: seeds that reach the loss within the steps they get, as descent / as flow.",
            "Steps, rank, flow and next s, the first singular value beyond the true rank: medians.",
            "Minibatch descent has no flow of its own here.",
        ),
        comparisons=tuple(_comparisons(descents)),
    )


def _by_name(names: Sequence[str], seeds: int, parts: Sequence[Part]) -> dict[str, list[Part]]:
    rest = iter(parts)
    return {name: list(itertools.islice(rest, seeds)) for name in names}


def _ends(parts: Sequence[Part] | None, fact: str) -> list[Any]:
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
        "next_s": _median(
            [next(iter(values[settings.rank :]), 0.0) for values in _ends(parts, "values")]
        ),
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
        label = f"{CHOICES[name].label}, {len(pairs)} of {len(descents[name])} seeds trained"
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
            *_spectrum(settings.rank, first),
        ),
        columns=3,
        caption="The same problem and start for all, the first seed. Errors are means of squares "
        "over all entries. Grey: the singular value s_i of the true matrix, where it is not 0.",
    )


def _spectrum(rank: int, parts: Mapping[str, Part]) -> Iterator[Curves]:
    """A panel for each singular value around the true rank, by training loss."""
    kept = len(next(iter(parts.values()))["true_values"])
    losses = [loss for part in parts.values() for loss in part["loss"][1:]]
    for i in range(max(0, rank - AROUND - 1), min(kept, rank + AROUND)):
        lines = {name: (part["loss"][1:], part["values"][i][1:]) for name, part in parts.items()}
        if i < rank:
            true = next(iter(parts.values()))["true_values"][i]
            lines[TRUTH] = ([max(losses), min(losses)], [true, true])
        yield Curves(
            title=f"s_{i + 1} by training loss",
            x_label="training loss",
            y_label=f"singular value {i + 1}",
            lines=lines,
            references=(TRUTH,),
            log_x=True,
            log_y=True,
            reverse_x=True,
        )


STUDY = Reproducible(
    run=optimizers,
    settings=Settings(),
    quick=Settings(optimisers=("gd", "adam", "normalised"), seeds=2),
)
