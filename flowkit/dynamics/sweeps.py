"""Sweeps: one flow at many seeds, depths, scales or learning rates, as one labelled dataset."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bar,
    TextColumn,
    TimeElapsedColumn,
)

import flowkit
from flowkit.dynamics.checkpoint import checkpoint_in
from flowkit.dynamics.flow import (
    as_trajectory,
    at_start,
    check_control,
    is_finite,
)
from flowkit.dynamics.grid import Case, Make, Observables, checked_grid, made
from flowkit.dynamics.lanes import Lane, Pool, Tally, alike
from flowkit.dynamics.ledger import Ledger
from flowkit.dynamics.outcomes import COUNTS, Outcome, labelled, outcome_of
from flowkit.dynamics.policy import as_solvers
from flowkit.dynamics.precision import full_precision
from flowkit.dynamics.run import Run
from flowkit.dynamics.stepping import check_types, step_control
from flowkit.fields import AbstractVectorField
from flowkit.storage.trajectories import check_installed
from flowkit.trajectory import Result, Times, checked_times
from flowkit.until import AbstractCondition

if TYPE_CHECKING:
    import xarray

ACCELERATOR_LANES = 64  # of a batch by default; on a CPU lanes gain nothing and wait for others
RESERVED = ("successful", "reason", "final_time", *COUNTS)


@full_precision()
def sweep(
    make: Make,
    over: Mapping[str, Sequence[Any] | np.ndarray],
    ts: Times,
    *,
    observables: Observables | None = None,
    until: AbstractCondition | None = None,
    solver: dfx.AbstractSolver | None = None,
    rtol: int | float = 1e-6,
    atol: int | float | None = None,
    max_steps: int | None = None,
    store: str | PathLike[str] | None = None,
    batch: int | None = None,
    progress: bool = True,
) -> "xarray.Dataset":
    """Integrate a flow at every point of a grid.

        def make(depth, seed):
            start = fk.initial.gaussian(problem, depth, 1e-2, key=jax.random.key(seed))
            return fk.FactorFlow(problem), start

        fk.sweep(make, {"depth": [1, 2, 3], "seed": range(10)}, ts, observables={"spectrum": ...})

    Every point is made before the first is solved. Points whose fields and states agree in
    structure, shapes and types can be solved side by side: `batch` at a time, where those that end
    make room for others. A point that fails is an entry of the result, with its reason; so are
    those that Ctrl-C leaves. States are not kept.

    Args:
        make: Gives the field and the initial state of a point, whose values it takes by keyword.
        over: The values of each name: distinct numbers or texts. The grid is their product.
        ts: Times to record at, strictly increasing, in the fields' clock.
        observables: Functions of the state by name; or, where they depend on the point, a function
            that takes its values by keyword and gives them.
        until: Ends each solve where it begins to hold.
        solver: As for `integrate`.
        rtol: As for `integrate`.
        atol: As for `integrate`.
        max_steps: As for `integrate`, for each point.
        store: A folder to keep finished points in. A sweep that was killed continues there, and one
            over more values of the same names takes from it what it holds.
        batch: The most points that are solved side by side, under `vmap`. By default 1 on a CPU and
            64 on an accelerator. Results agree between batches within the tolerances.
        progress: Show how many points have ended.

    Returns:
        A dataset with the names in `over` and `time` as dimensions. Every observable, with its own
        axes last, is NaN after the end of a solve, and beyond its own size at points where it is
        smaller than at others; `final_NAME` is its value at the end. Each point also has
        `successful`, `reason`, `final_time`, `num_accepted_steps`, `num_evaluations` and, unless
        an observable is called `loss`, the training loss `final_loss`. The attributes name the
        clock, solver, tolerances and version, and count the steps of all lanes, `lane_steps`, and
        those of lanes that waited for others of their batch, `wasted_lane_steps`.

    Raises:
        ValueError: an argument is not usable, or `store` holds another sweep.
        ImportError: the extra `labelled` is not installed.
    """
    check_installed("xarray")
    times, grid = checked_times(ts), checked_grid(over)
    check_control(until, rtol, atol, max_steps)
    batch = _checked_batch(batch)
    cases = made(make, grid, observables, times)
    _check_names(grid, cases)
    task = Task(times, until, solver, rtol, atol, max_steps)
    ledger = None if store is None else Ledger.open(Path(store), {"over": list(grid), **vars(task)})
    outcomes = [None if ledger is None else ledger.read(case) for case in cases]
    tally = Tally()
    with meter(sum(o is not None for o in outcomes), len(cases), shown=progress) as show:

        def end(case: Case, outcome: Outcome) -> None:
            outcomes[case.index] = outcome
            show(case, outcome)

        left = [case for case in cases if outcomes[case.index] is None]
        _solve(task, left, batch, ledger, tally, end)
    return labelled(grid, times, outcomes, _attributes(task, cases[0].flow, tally))


@dataclass(frozen=True)
class Task:
    """What all points share, by the names of the arguments of `sweep`."""

    ts: Float[np.ndarray, " time"]
    until: AbstractCondition | None
    solver: dfx.AbstractSolver | None
    rtol: int | float
    atol: int | float | None
    max_steps: int | None


def _solve(
    task: Task,
    cases: list[Case],
    batch: int,
    ledger: Ledger | None,
    tally: Tally,
    end: Callable[[Case, Outcome], None],
) -> None:
    """Solve cases until all have ended, or an interrupt ends those that are on their way."""

    def finish(lane: Lane) -> None:
        is_whole = lane.ended
        if not is_whole:
            lane.interrupt()
        outcome = outcome_of(lane.case, as_trajectory(lane.run, {}), task.ts)
        if ledger is not None and is_whole:
            ledger.write(lane.case, outcome)
        end(lane.case, outcome)

    for group in alike(cases) if batch > 1 else [deque(cases)]:
        pool = Pool(group, lambda case: _begin(task, case, ledger), batch, tally)
        try:
            while pool.busy:
                for lane in pool.step():
                    finish(lane)
                    pool.lanes.remove(lane)
        except KeyboardInterrupt:
            for lane in pool.lanes:
                finish(lane)
            return


def _begin(task: Task, case: Case, ledger: Ledger | None) -> Lane:
    """A lane at its first time, or where its checkpoint stands; it may end right there."""
    flow, t0 = case.flow, jnp.asarray(task.ts[0])
    check_types(flow, t0, case.y0)
    until = task.until
    if until is not None:
        until = until.begin(flow, t0, case.y0, case.observables)
    state, rate, gap = at_start(flow, t0, case.y0, until)
    controller = step_control(state, task.rtol, task.atol)
    solvers = as_solvers(task.solver, flow)
    run = Run(flow, task.ts, solvers, controller, until, task.max_steps, dense=False)
    run.start(case.y0, state)
    if not is_finite(rate):
        result = Result(successful=False, reason="the field is not finite at the start")
        run.progress = replace(run.progress, result=result, fired=True)
    elif until is not None and gap <= 0:
        result = Result(successful=True, reason=f"{until.describe()} before the first step")
        run.progress = replace(run.progress, result=result, fired=True)
    folder = None if ledger is None else ledger.checkpoint(case)
    keep = checkpoint_in(folder, field=flow, y0=case.y0, **vars(task) | {"until": until})
    keep.argument = "store"
    keep.restore(run)
    return Lane(case, run, keep)


def _attributes(
    task: Task, flow: AbstractVectorField, tally: Tally
) -> dict[str, str | int | float]:
    solvers = as_solvers(task.solver, flow)
    atol = "rtol times the root mean square of each array at the start"
    return {
        "flowkit_version": flowkit.__version__,
        "clock": flow.clock,
        "solver": " or ".join(type(watched.solver).__name__ for watched in solvers),
        "rtol": float(task.rtol),
        "atol": atol if task.atol is None else float(task.atol),
        "until": "" if task.until is None else task.until.describe(),
        "lane_steps": tally.lane_steps,
        "wasted_lane_steps": tally.wasted,
    }


def _checked_batch(batch: int | None) -> int:
    if batch is None:
        return 1 if jax.default_backend() == "cpu" else ACCELERATOR_LANES
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"Argument `batch` must be a positive integer, but it is {batch!r}.")
    return batch


def _check_names(grid: Mapping[str, Sequence[Any]], cases: Sequence[Case]) -> None:
    recorded = dict.fromkeys(name for case in cases for name in case.observables)
    names = [*grid, "time", *RESERVED, *recorded, *(f"final_{name}" for name in recorded)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"Arguments `over` and `observables` must leave each name of the result to one thing, "
            f"but `{twice[0]}` would be two."
        )


@contextmanager
def meter(done: int, total: int, *, shown: bool) -> Iterator[Callable[[Case, Outcome], None]]:
    """A bar over the points, with how the last one ended, or nothing."""
    if not shown:
        yield lambda case, outcome: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task("compiling", total=total, completed=done)

        def show(case: Case, outcome: Outcome) -> None:
            text = f"{case.label}: {outcome.result.reason}, loss {outcome.ends['final_loss']:.3g}"
            bar.update(task, advance=1, description=text)

        yield show
