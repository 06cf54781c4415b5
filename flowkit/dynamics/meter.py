"""What a long integration shows while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import equinox as eqx
from jaxtyping import PyTree, Scalar
from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn

from flowkit.dynamics.run import Progress, Run
from flowkit.fields import AbstractVectorField, position


@contextmanager
def meter(run: Run, *, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """A bar over the time span with the loss and the steps so far, or nothing."""
    if not shown:
        yield lambda progress: None
        return
    start, end = (float(t) for t in run.ts[[0, -1]])
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns) as bar:
        task = bar.add_task("compiling", total=end - start)

        def update(progress: Progress) -> None:
            loss = float(_loss(run.flow, progress.carry.state))
            solver = progress.phases[-1].solver
            text = f"t = {progress.t:g}  loss {loss:.3g}  {progress.num_steps} steps  {solver}"
            bar.update(task, completed=progress.t - start, description=text)

        yield update


@eqx.filter_jit
def _loss(field: AbstractVectorField, state: PyTree) -> Scalar:
    return field.loss(position(field, state))
