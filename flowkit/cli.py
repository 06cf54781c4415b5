"""The command line."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from flowkit.claim import Claim

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

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


@app.command()
def kernel(
    images: Annotated[
        str,
        typer.Argument(help="`digits`, a CIFAR-10 folder, a .npy file, or a .npz with `images`."),
    ],
    labels: Annotated[
        Path | None, typer.Option(help="Labels of a .npy file, as .npy; a .npz has `labels`.")
    ] = None,
    train: Annotated[int | None, typer.Option(help="Images to take; all by default.")] = None,
    test: Annotated[
        int | None, typer.Option(help="Further images to test on; none by default.")
    ] = None,
    network: Annotated[
        str, typer.Option(help="`convolutional` or `fully-connected`.")
    ] = "convolutional",
    depth: Annotated[int, typer.Option(help="Weight layers.")] = 3,
    readout: Annotated[str, typer.Option(help="`gap` or `flatten`, of a convolution.")] = "gap",
    activation: Annotated[str, typer.Option(help="Any name that `dual` knows.")] = "relu",
    kind: Annotated[str, typer.Option(help="`ntk` or `nngp`.")] = "ntk",
    ridge: Annotated[float, typer.Option(help="Of the regression.")] = 0.0,
    float32: Annotated[  # noqa: FBT002
        bool, typer.Option("--float32", help="Single precision.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw from the digits.")] = 0,
    rows: Annotated[int, typer.Option(help="Rows that are kept at a time.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder for the matrices.")] = Path("gram"),
) -> None:
    """Gram matrices of images, and with labels how well kernel regression classifies.

    An interrupted run goes on when it is started again.
    """
    from flowkit.studies.kernel_accuracy import named_kernel, write_grams
    from flowkit.studies.reading import read_images

    with _reporting() as bar:
        dtype = "float32" if float32 else "float64"
        data = read_images(images, labels=labels, train=train, test=test, seed=seed, dtype=dtype)
        chosen = named_kernel(network, depth, activation, readout)
        found = write_grams(chosen, data, out=out, bar=bar, kind=kind, rows=rows, ridge=ridge)
    console = Console()
    if found:
        console.print(_accuracy_table(found))
    console.print(f"Gram matrices: {out}")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="cntk-digits, cntk-cifar or cntk-small.")],
    data: Annotated[Path | None, typer.Option(help="CIFAR-10 folder, either format.")] = None,
    depth: Annotated[str | None, typer.Option(help="Weight layers: 3,4,6,11,21.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Training images; for cntk-small several: 10,20,40.")
    ] = None,
    test: Annotated[int | None, typer.Option(help="Test images.")] = None,
    draws: Annotated[int | None, typer.Option(help="Training sets per size (cntk-small).")] = None,
    shrink: Annotated[
        int | None, typer.Option(help="Average images over blocks of this side (CIFAR-10).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random choice of images.")] = None,
    float32: Annotated[bool | None, typer.Option("--float32", help="Single precision.")] = None,
    quick: Annotated[  # noqa: FBT002
        bool, typer.Option("--quick", help="A small size for what is not given otherwise.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.json and figure.png; the study's name.")
    ] = None,
) -> None:
    """Run a published experiment and hold its numbers against the paper's.

    An interrupted run goes on when it is started again.
    """
    from flowkit.studies.catalogue import run_study, settings_of
    from flowkit.studies.study import changed

    folder = out or Path(name)
    with _reporting() as bar:
        settings = changed(
            settings_of(name, quick=quick),
            depths=_integers("depth", depth),
            train=_integers("train", train),
            test=test,
            draws=draws,
            shrink=shrink,
            seed=seed,
            float32=float32,
        )
        study = run_study(name, settings, out=folder, data=data, bar=bar)
    console = Console()
    console.print(study.table())
    for note in study.notes:
        console.print(note, highlight=False)
    console.print(f"Results: {folder / 'results.json'}, {folder / 'figure.png'}")


@contextmanager
def _reporting() -> Iterator["Bar"]:
    """A progress bar in double precision; what is refused is a usage error."""
    import jax
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    jax.config.update("jax_enable_x64", val=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            yield bar
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt as interrupt:
        typer.echo("Interrupted; the same command goes on from here.", err=True)
        raise typer.Exit(INTERRUPTED) from interrupt


def _integers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"Argument `{name}` must be integers with commas between them, but it is {text!r}."
        ) from None


def _accuracy_table(found: dict[str, dict[str, float]]) -> Table:
    table = Table("images", "accuracy (%)", "95 % interval", box=HORIZONTALS)
    for name, row in found.items():
        table.add_row(name, f"{row['accuracy']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}")
    return table


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
