"""`flowkit reproduce`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flowkit.cli.terminal import options_of, reporting
from flowkit.cli.texts import integers


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
    with reporting(options_of(reproduce)) as bar:
        settings = changed(
            settings_of(name, quick=quick),
            depths=integers("depth", depth),
            train=integers("train", train),
            test=test,
            draws=draws,
            shrink=shrink,
            seed=seed,
            float32=float32,
        )
        study = run_study(name, settings, out=folder, data=data, bar=bar)
    console = Console()
    study.show(console)
    console.print(f"Results: {folder / 'results.json'}, {folder / 'figure.png'}")
