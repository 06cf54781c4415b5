"""How far a Gram matrix is: pairs done, pairs per second and the time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

WINDOW = 30.0  # seconds over which the speed is averaged

Report = Callable[[int, int], None]  # pairs done, pairs in all
Advance = Callable[[int], None]  # pairs done since the last call


class PairsPerSecond(ProgressColumn):
    """The speed of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{_figures(speed)} pairs/s")


@contextmanager
def metered(progress: bool | Report, found: int, total: int) -> Iterator[Advance]:  # noqa: FBT001
    """Show how far a matrix is, of which some pairs were found; yields what to call with more."""
    if progress is True:
        with _bar() as bar:
            task = bar.add_task("Gram matrix", total=total, completed=found)
            yield lambda pairs: bar.advance(task, pairs)
        return
    report = progress or (lambda done, total: None)
    done = found
    report(done, total)

    def advance(pairs: int) -> None:
        nonlocal done
        done += pairs
        report(done, total)

    yield advance


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        PairsPerSecond(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, speed_estimate_period=WINDOW)


def _figures(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
