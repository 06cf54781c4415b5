"""Timing one contender on one case, setting by setting, and keeping what was found."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np
from cases import Case, End, products_of
from contenders import OUT_OF_BUDGET, Contender, Solved, compiled_rate
from jax.flatten_util import ravel_pytree

PROBES = 20  # evaluations that are timed to know what one costs
SHORT = 5.0  # seconds of a solve that is made twice


@dataclass(frozen=True)
class Measurement:
    """What one solve cost and how far it was off.

    Attributes:
        wall: Seconds, without compilation; None for a solve that was not made.
        compilation: Seconds that the first solve of a contender took beyond its second one.
        error: Relative distance of the product at the end.
        largest_error: The same, the largest over all saves.
    """

    size: int
    depth: int
    end: str
    contender: str
    group: str
    setting: float
    wall: float | None = None
    compilation: float | None = None
    evaluations: int | None = None
    steps: int | None = None
    error: float | None = None
    largest_error: float | None = None
    failure: str | None = None

    @property
    def key(self) -> tuple[int, int, str, str, float]:
        return self.size, self.depth, self.end, self.contender, self.setting

    def __str__(self) -> str:
        head = f"n={self.size} depth={self.depth} {self.end}: {self.contender} {self.setting:.3g}"
        if self.failure:
            return f"{head}: {self.failure}"
        return (
            f"{head}: error {self.error:.1e} in {self.wall:.3g} s, {self.evaluations} evaluations"
        )


class Ledger:
    """Measurements on disk, a line each."""

    def __init__(self, path: Path):
        self.path, self.rows = path, []
        if path.exists():
            lines = path.read_text("utf-8").splitlines()
            self.rows = [Measurement(**json.loads(line)) for line in lines]

    def find(self, key: tuple) -> Measurement | None:
        return next((row for row in self.rows if row.key == key), None)

    def add(self, row: Measurement) -> Measurement:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        self.rows.append(row)
        return row


def measure(
    case: Case, end: End, contender: Contender, ledger: Ledger, budget: float
) -> Iterator[Measurement]:
    """Solve at one setting after another, until one does not fit in the budget."""
    ahead = contender.least_evaluations(end) * _seconds_per_evaluation(case)
    compiled, walls = False, []
    for setting in contender.settings:
        row = Measurement(case.size, case.depth, end.name, contender.name, contender.group, setting)
        if found := ledger.find(row.key):
            row = found
        elif ahead > budget:
            failure = f"{OUT_OF_BUDGET}: it would take {ahead:.0f} s at least"
            row = ledger.add(Measurement(**asdict(row) | {"failure": failure}))
        else:
            facts = _timed(case, end, contender, setting, budget, first=not compiled)
            compiled, row = True, ledger.add(Measurement(**asdict(row) | facts))
        yield row
        if row.failure and row.failure.startswith(OUT_OF_BUDGET):
            return
        if row.wall is not None:
            walls.append(row.wall)
        if len(walls) > 1:
            ahead = walls[-1] * max(walls[-1] / walls[-2], 1.0)


def _timed(
    case: Case, end: End, contender: Contender, setting: float, budget: float, *, first: bool
) -> dict[str, object]:
    """The facts of one solve, made twice where it is short or a contender's first one.

    The better of the two counts: small computations, such as joining what was saved, are compiled
    in every solve that is the first of its kind.
    """
    solve = lambda: _wall(lambda: contender.solve(case, end, setting, budget))
    cold, solved = solve()
    facts: dict[str, object] = {"steps": solved.steps, "evaluations": solved.evaluations}
    if solved.failure is not None:
        return facts | {"failure": solved.failure}
    warm = solve()[0] if first or cold < SHORT else cold
    errors = end.errors(products_of(solved.states))
    return facts | {
        "wall": min(cold, warm),
        "compilation": max(cold - warm, 0.0) if first else None,
        "error": float(errors[-1]),
        "largest_error": float(errors.max()),
    }


def _wall(solve) -> tuple[float, Solved]:
    began = time.perf_counter()
    solved = solve()
    jax.block_until_ready(solved.states)
    return time.perf_counter() - began, solved


def _seconds_per_evaluation(case: Case) -> float:
    y, rate = ravel_pytree(case.y0)[0], compiled_rate(case)
    times = []
    for _ in range(PROBES):
        began = time.perf_counter()
        jax.block_until_ready(rate(y))
        times.append(time.perf_counter() - began)
    return float(np.median(times))
