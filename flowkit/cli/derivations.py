"""`flowkit derive`."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from flowkit.claim import Claim
from flowkit.cli.terminal import in_double_precision, options_of, refusing, status


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
    with refusing(options_of(derive)):
        derived = derive_by_name(name, None if depth is None else parse_depth(depth))
    if as_latex or not (as_markdown or check):
        typer.echo(latex(derived.equations))
    if as_markdown:
        typer.echo(markdown(derived), nl=False)
    if check:
        _check_and_exit(derived.claims)


def _check_and_exit(claims: Sequence[Claim]) -> None:
    from flowkit.claims.verification import check_claims

    in_double_precision()
    report = check_claims(claims, Console(quiet=True))
    Console().print(report.table())
    raise typer.Exit(status(report))
