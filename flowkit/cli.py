"""The command line."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="Derive, integrate and verify gradient-flow dynamics.",
    no_args_is_help=True,
    add_completion=False,
)

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
        report = check(names or None, out=out, quick=quick, console=console)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console.print(report.table())
    console.print(f"Report: {out / 'index.html'}")
    if report.remaining:
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if report.passed else 1)
