"""`flowkit verify`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flowkit.cli.terminal import in_double_precision, options_of, refusing, status

MOST_JOBS = 4


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Claims to check, by name; all by default.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the report: index.html, report.json and figures.")
    ] = Path("report"),
    quick: Annotated[  # noqa: FBT002
        bool, typer.Option("--quick", help="Fewer depths, splits and images; under a minute.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one for each core, at most 4.")
    ] = None,
    list_names: Annotated[  # noqa: FBT002
        bool, typer.Option("--list", help="List the claims and stop.")
    ] = False,
) -> None:
    """Check the catalogue of claims; exit status 1 if one does not hold."""
    from flowkit.claims.catalogue import all_claims
    from flowkit.claims.verification import verify as check

    in_double_precision()
    console = Console()
    if list_names:
        for claim in all_claims(quick=quick):
            console.print(f"[bold]{claim.name}[/bold]: {claim.statement}", highlight=False)
        return
    with refusing(options_of(verify)):
        jobs = jobs or min(os.cpu_count() or 1, MOST_JOBS)
        report = check(names or None, out=out, quick=quick, jobs=jobs, console=console)
    console.print(report.table())
    console.print(f"Report: {out / 'index.html'}")
    raise typer.Exit(status(report))
