"""`flowkit reproduce`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flowkit.cli.terminal import PLACES, options_of, reporting
from flowkit.studies.catalogue import STUDIES, run_study, settings_of
from flowkit.studies.settings import changed, plural

LIST = "\n\n".join(f"{name}: {listed.summary}" for name, listed in STUDIES.items())
HELP = f"""Run a published experiment and hold its numbers against the paper's.

An interrupted run goes on when it is started again. What a study has no setting for is refused.

Studies:

{LIST}"""


def _setting(text: str) -> typer.models.OptionInfo:
    return typer.Option(help=text, rich_help_panel="Settings, where a study has them")


Text = str | None


def reproduce(
    name: Annotated[str, typer.Argument(help="One of the studies above.")],
    data: Annotated[
        Path | None, typer.Option(help="Your copy of the data, where a study needs one.")
    ] = None,
    quick: Annotated[  # noqa: FBT002
        bool, typer.Option("--quick", help="Small sizes for what is not given.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.json and figure.png.", show_default="the study's name"
        ),
    ] = None,
    depth: Annotated[Text, _setting("Weight layers: 2,3,4.")] = None,
    scale: Annotated[Text, _setting("Scales of the product at the start: 1e-3,1e-4.")] = None,
    size: Annotated[Text, _setting("Rows and columns of the matrix.")] = None,
    rank: Annotated[Text, _setting("Rank of the matrix.")] = None,
    observed: Annotated[Text, _setting("Observed entries or measurements: 2000,5000.")] = None,
    ratio: Annotated[Text, _setting("Ratio of two gradients, below 1.")] = None,
    optimiser: Annotated[Text, _setting("Optimisers by name: gd,adam.")] = None,
    city: Annotated[Text, _setting("Cities: seattle,san-francisco.")] = None,
    parts: Annotated[Text, _setting("Parts of the known entries that choose settings.")] = None,
    seeds: Annotated[Text, _setting("How many draws of data and start.")] = None,
    train: Annotated[Text, _setting("Training images; several for a curve: 10,20,40.")] = None,
    test: Annotated[Text, _setting("Test images.")] = None,
    draws: Annotated[Text, _setting("Training sets per size.")] = None,
    shrink: Annotated[Text, _setting("Average images over blocks of this side.")] = None,
    seed: Annotated[Text, _setting("Seed of the random choice of images.")] = None,
    float32: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--float32",
            help="Single precision.",
            rich_help_panel="Settings, where a study has them",
        ),
    ] = False,
) -> None:
    """Run a published experiment; see `HELP`."""
    texts = {
        "depth": depth,
        "scale": scale,
        "size": size,
        "rank": rank,
        "observed": observed,
        "ratio": ratio,
        "optimiser": optimiser,
        "city": city,
        "parts": parts,
        "seeds": seeds,
        "train": train,
        "test": test,
        "draws": draws,
        "shrink": shrink,
        "seed": seed,
        "float32": "True" if float32 else None,
    }
    folder = out or Path(name)
    options = options_of(reproduce)
    fields = {plural(option): text for option, text in options.items()}
    with reporting(PLACES | fields | options) as bar:
        settings = changed(settings_of(name, quick=quick), texts, study=name)
        study = run_study(name, settings, out=folder, data=data, bar=bar)
    console = Console()
    study.show(console)
    console.print(f"Results: {folder / 'results.json'}, {folder / 'figure.png'}")
