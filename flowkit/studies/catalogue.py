"""The studies by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress as Bar

from flowkit.studies import cifar, digits, small
from flowkit.studies.classification import Grams
from flowkit.studies.study import Settings, Study


@dataclass(frozen=True)
class Reproducible:
    """A study that can be run.

    Attributes:
        run: Runs it, with a CIFAR-10 folder where it needs one.
        settings: Its size as published.
        quick: A size for a first look; its numbers are not the published ones.
        needs_data: Whether it needs a CIFAR-10 folder.
    """

    run: Callable[..., Study]
    settings: Settings
    quick: Settings
    needs_data: bool


STUDIES = {
    "cntk-digits": Reproducible(digits.cntk_digits, digits.SETTINGS, digits.QUICK, False),  # noqa: FBT003
    "cntk-cifar": Reproducible(cifar.cntk_cifar, cifar.SETTINGS, cifar.QUICK, True),  # noqa: FBT003
    "cntk-small": Reproducible(small.cntk_small, small.SETTINGS, small.QUICK, True),  # noqa: FBT003
}


def settings_of(name: str, *, quick: bool = False) -> Settings:
    """The size of a study as published, or a small one for a first look.

    Raises:
        ValueError: `name` is not in `STUDIES`.
    """
    study = _find(name)
    return study.quick if quick else study.settings


def run_study(
    name: str, settings: Settings, *, out: Path, data: Path | None = None, bar: Bar | None = None
) -> Study:
    """Run a study, or go on with it, and write what it finds.

    Args:
        name: A key of `STUDIES`.
        settings: Its size.
        out: A folder; gets `results.json`, `figure.png` and the Gram matrices under `grams`.
        data: A CIFAR-10 folder in either original format, for the studies that need one.
        bar: Shows how far the Gram matrices are.

    Returns:
        The study.

    Raises:
        ValueError: `name` is unknown, `data` is missing where it is needed or given where it is
            not, or the study refuses a setting.
    """
    study = _find(name)
    if study.needs_data != (data is not None):
        must = "be a CIFAR-10 folder" if study.needs_data else "be left out"
        raise ValueError(f"Argument `data` must {must} for {name}, but it is `{data}`.")
    grams = Grams(out / "grams", bar or Bar(disable=True))
    found = study.run(settings, grams, *(() if data is None else (data,)))
    found.write(out)
    return found


def _find(name: str) -> Reproducible:
    if name not in STUDIES:
        raise ValueError(
            f"Argument `name` must be one of {', '.join(STUDIES)}, but it is {name!r}."
        )
    return STUDIES[name]
