"""The command line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flowkit.claim import Claim

if TYPE_CHECKING:
    from flowkit.report import Report

app = typer.Typer(
    help="Derive, integrate and verify gradient-flow dynamics.",
    no_args_is_help=True,
    add_completion=False,
)

MOST_JOBS = 4
INTERRUPTED = 130  # the shell's status for a program ended by Ctrl-C


@app.callback()
def main() -> None:
    """Derive, integrate and verify gradient-flow dynamics of deep learning."""


@app.command()
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
    import jax

    from flowkit.claims.catalogue import all_claims
    from flowkit.claims.verification import verify as check

    jax.config.update("jax_enable_x64", val=True)
    console = Console()
    if list_names:
        for claim in all_claims(quick=quick):
            console.print(f"[bold]{claim.name}[/bold]: {claim.statement}", highlight=False)
        return
    try:
        jobs = jobs or min(os.cpu_count() or 1, MOST_JOBS)
        report = check(names or None, out=out, quick=quick, jobs=jobs, console=console)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console.print(report.table())
    console.print(f"Report: {out / 'index.html'}")
    raise typer.Exit(_status(report))


@app.command()
def derive(
    name: Annotated[str | None, typer.Argument(help="What to derive; --list shows all.")] = None,
    depth: Annotated[
        str | None, typer.Option(help="Weight layers: a number, or a letter for any depth.")
    ] = None,
    as_latex: Annotated[  # noqa: FBT002
        bool, typer.Option("--latex", help="Print the equations as LaTeX (the default).")
    ] = False,
    as_markdown: Annotated[  # noqa: FBT002
        bool, typer.Option("--markdown", help="Print source, equations and claims as Markdown.")
    ] = False,
    check: Annotated[  # noqa: FBT002
        bool, typer.Option("--check", help="Check every claim; exit status 1 if one fails.")
    ] = False,
    list_names: Annotated[  # noqa: FBT002
        bool, typer.Option("--list", help="List what can be derived and stop.")
    ] = False,
) -> None:
    """Derive equations from scratch, and print them or check what is claimed of them."""
    from flowkit.registry import derive_by_name, table_of_contents
    from flowkit.symbolic.presentation import latex, markdown, parse_depth

    if list_names or name is None:
        typer.echo(table_of_contents())
        return
    try:
        derived = derive_by_name(name, None if depth is None else parse_depth(depth))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_latex or not (as_markdown or check):
        typer.echo(latex(derived.equations))
    if as_markdown:
        typer.echo(markdown(derived), nl=False)
    if check:
        _check_and_exit(derived.claims)


def _check_and_exit(claims: Sequence[Claim]) -> None:
    import jax

    from flowkit.claims.verification import check_claims

    jax.config.update("jax_enable_x64", val=True)
    report = check_claims(claims, Console(quiet=True))
    Console().print(report.table())
    raise typer.Exit(_status(report))


def _status(report: "Report") -> int:
    if report.remaining:
        return INTERRUPTED
    return 0 if report.passed else 1
