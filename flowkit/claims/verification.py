"""Checking the catalogue: the main job."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import jax.numpy as jnp
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from flowkit.claim import Claim
from flowkit.claims.catalogue import all_claims
from flowkit.claims.checking import check_in_processes, check_in_turn
from flowkit.report import Entry, Report
from flowkit.storage.folders import writing_to


def verify(
    names: str | Iterable[str] | None = None,
    *,
    out: str | Path | None = None,
    quick: bool = False,
    jobs: int = 1,
    console: Console | None = None,
) -> Report:
    """Check the catalogue of claims, or some of it.

    Needs float64: set `jax.config.update("jax_enable_x64", True)` first; the command line does.
    Ctrl-C ends the run with a report of what was checked until then; after a kill `report.json`
    still holds it.

    Args:
        names: Names of the claims to check, or one name; by default all.
        out: A folder for the report (JSON, figures, HTML); by default none is written.
        quick: Fewer depths, splits and images; the same claims and bounds.
        jobs: The number of processes that check. With more than one, call it from a main module
            that is guarded by `if __name__ == "__main__"`: each process imports that module.
        console: Shows progress; by default none is shown.

    Returns:
        The report.

    Raises:
        ValueError: a name is not in the catalogue, `jobs` is not positive, `out` cannot be written,
            or float64 is off.
    """
    if jnp.asarray(1.0).dtype != jnp.float64:
        raise ValueError(
            'The claims must be checked in float64: `jax.config.update("jax_enable_x64", True)`.'
        )
    if jobs < 1:
        raise ValueError(f"Argument `jobs` must be a positive integer, but it is {jobs}.")
    claims = _select(all_claims(quick=quick), [names] if isinstance(names, str) else names)
    folder = None if out is None else Path(out)
    with nullcontext() if folder is None else writing_to(folder):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # before the work
        many = min(jobs, len(claims)) > 1
        entries = check_in_processes(claims, quick=quick, jobs=jobs) if many else None
        report = check_claims(claims, console or Console(quiet=True), folder, entries=entries)
        if folder is not None:
            report.write(folder)
    return report


def _select(claims: Sequence[Claim], names: Iterable[str] | None) -> Sequence[Claim]:
    if names is None:
        return claims
    wanted, known = list(names), {claim.name: claim for claim in claims}
    for name in wanted:
        if name not in known:
            raise ValueError(
                f"Argument `names` must hold names of claims, but {name!r} is none of "
                f"{sorted(known)}."
            )
    return [known[name] for name in wanted]


def check_claims(
    claims: Sequence[Claim],
    console: Console,
    folder: Path | None = None,
    *,
    entries: Iterable[Entry] | None = None,
) -> Report:
    """Check claims, and say on the console how each went.

    Args:
        claims: The claims.
        console: Shows progress.
        folder: An existing folder for `report.json`, rewritten after each claim; by default none.
        entries: Checks the claims, in any order; by default one after another.

    Returns:
        The report, in the order of the claims; after Ctrl-C of what was checked until then.
    """
    checked: list[Entry] = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("checking claims", total=len(claims))
        try:
            for entry in check_in_turn(claims) if entries is None else entries:
                checked.append(entry)
                progress.advance(task)
                if folder is not None:  # so that a kill loses the claim at hand alone
                    _report(claims, checked).write_json(folder)
                console.print(_line(entry), highlight=False)
        except KeyboardInterrupt:
            console.print("interrupted; reporting what was checked", style="yellow")
    return _report(claims, checked)


def _report(claims: Sequence[Claim], checked: Sequence[Entry]) -> Report:
    by_name = {entry.claim.name: entry for entry in checked}
    names = [claim.name for claim in claims]
    return Report(
        entries=tuple(by_name[name] for name in names if name in by_name),
        remaining=tuple(name for name in names if name not in by_name),
    )


def _line(entry: Entry) -> str:
    mark = "[green]ok[/green]    " if entry.verdict.passed else "[bold red]FAILED[/bold red]"
    measured = escape(entry.verdict.measured)
    return f"{mark} {escape(entry.claim.name)} [dim]({entry.seconds:.1f} s)[/dim]: {measured}"
