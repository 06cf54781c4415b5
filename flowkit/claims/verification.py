"""Checking the catalogue: the main job."""

import time
import traceback
from collections.abc import Iterable, Sequence
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

from flowkit.claim import Claim, Verdict
from flowkit.claims.catalogue import all_claims
from flowkit.report import Entry, Report


def verify(
    names: str | Iterable[str] | None = None,
    *,
    out: str | Path | None = None,
    quick: bool = False,
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
        console: Shows progress; by default none is shown.

    Returns:
        The report.

    Raises:
        ValueError: a name is not in the catalogue, or float64 is off.
    """
    if jnp.asarray(1.0).dtype != jnp.float64:
        raise ValueError(
            'The claims must be checked in float64: `jax.config.update("jax_enable_x64", True)`.'
        )
    claims = _select(all_claims(quick=quick), [names] if isinstance(names, str) else names)
    folder = None if out is None else Path(out)
    if folder is not None:
        _make_folder(folder)
    report = check_claims(claims, console or Console(quiet=True), folder)
    if folder is not None:
        report.write(folder)
    return report


def _make_folder(folder: Path) -> None:
    """Before the work, so that a report always has a place to go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"Argument `out` must be a folder that can be written, but it is {str(folder)!r} "
            f"({error.strerror})."
        ) from error


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


def check_claims(claims: Sequence[Claim], console: Console, folder: Path | None = None) -> Report:
    """Check claims one after another, and say on the console how each went.

    Args:
        claims: The claims.
        console: Shows progress.
        folder: An existing folder for `report.json`, rewritten after each claim; by default none.

    Returns:
        The report; after Ctrl-C of what was checked until then.
    """
    entries: list[Entry] = []
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(claims))
        try:
            for claim in claims:
                progress.update(task, description=f"checking {escape(claim.name)}")
                entries.append(_check(claim))
                progress.advance(task)
                if folder is not None:  # so that a kill loses the claim at hand alone
                    _report(claims, entries).write_json(folder)
                console.print(_line(entries[-1]), highlight=False)
        except KeyboardInterrupt:
            console.print("interrupted; reporting what was checked", style="yellow")
    return _report(claims, entries)


def _report(claims: Sequence[Claim], entries: Sequence[Entry]) -> Report:
    remaining = tuple(claim.name for claim in claims[len(entries) :])
    return Report(entries=tuple(entries), remaining=remaining)


def _check(claim: Claim) -> Entry:
    """Run one check; one that breaks has failed, and the others go on."""
    start, broke_at = time.perf_counter(), ""
    try:
        verdict = claim.check()
    except Exception as error:
        measured = f"{type(error).__name__}: {error}"
        verdict = Verdict(passed=False, kind="measured", measured=measured, expected="no error")
        broke_at = traceback.format_exc()
    return Entry(claim, verdict, time.perf_counter() - start, broke_at)


def _line(entry: Entry) -> str:
    mark = "[green]ok[/green]    " if entry.verdict.passed else "[bold red]FAILED[/bold red]"
    measured = escape(entry.verdict.measured)
    return f"{mark} {escape(entry.claim.name)} [dim]({entry.seconds:.1f} s)[/dim]: {measured}"
