"""The studies by name. A study's module is loaded when it is asked for."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress as Bar

from flowkit.storage.folders import writing_to
from flowkit.studies.study import Study
from flowkit.studies.work import Work


@dataclass(frozen=True)
class Reproducible:
    """A study that can be run; `STUDY` of its module.

    Attributes:
        run: Runs it, from settings and `Work`.
        settings: Its size as published, a frozen dataclass, see `flowkit.studies.settings`.
        quick: A size for a first look, of the same class.
        data: What it needs of the user's, such as "a CIFAR-10 folder"; None if nothing.
    """

    run: Callable[[Any, Work], Study]
    settings: Any
    quick: Any
    data: str | None = None


class Listed(NamedTuple):
    """A line of the list of studies, and the module that holds the study."""

    summary: str
    module: str


STUDIES = {
    "depth-vs-nuclear": Listed(
        "completion at depths 2 to 4 beside the least nuclear norm",
        "factorization.depth_vs_nuclear",
    ),
    "singular-values": Listed(
        "singular values and alignment along training, depths 1 to 3",
        "factorization.singular_values",
    ),
    "sensing": Listed(
        "sensing at depths 2 to 4 beside the least nuclear norm", "factorization.sensing"
    ),
    "norms-diverge": Listed(
        "a completion whose every norm diverges (Razin, Cohen)", "factorization.norms_diverge"
    ),
    "greedy-rank": Listed(
        "a completion of low rank and large norm (Li, Luo, Lyu)", "factorization.greedy_rank"
    ),
    "incremental": Listed(
        "modes learnt in turn, and from which starts (Gissin et al.)", "factorization.incremental"
    ),
    "saturation": Listed("depth starves the weaker of two modes", "factorization.saturation"),
    "optimizers": Listed(
        "nine optimisers on one factorization, as descent and as flow", "factorization.optimizers"
    ),
    "cntk-digits": Listed("exact kernels on scikit-learn's digits", "digits"),
    "cntk-cifar": Listed("CNTK on CIFAR-10 by depth and read-out", "cifar"),
    "cntk-small": Listed("CNTK on small parts of CIFAR-10", "small"),
    "temperatures": Listed("imputers on real temperatures, paired over splits", "temperatures"),
    "movielens": Listed("ratings, from the user's own copy of MovieLens 100K", "movielens"),
}


def study_of(name: str) -> Reproducible:
    """A study by its name.

    Raises:
        ValueError: `name` is not in `STUDIES`.
    """
    if name not in STUDIES:
        raise ValueError(
            f"Argument `name` must be one of {', '.join(STUDIES)}, but it is {name!r}."
        )
    return importlib.import_module(f"flowkit.studies.{STUDIES[name].module}").STUDY


def settings_of(name: str, *, quick: bool = False) -> Any:
    """The size of a study as published, or a small one for a first look.

    Raises:
        ValueError: `name` is not in `STUDIES`.
    """
    study = study_of(name)
    return study.quick if quick else study.settings


def run_study(
    name: str, settings: Any, *, out: Path, data: Path | None = None, bar: Bar | None = None
) -> Study:
    """Run a study, or go on with it, and write what it finds.

    Args:
        name: A key of `STUDIES`.
        settings: Its size, of the class that `settings_of` gives.
        out: A folder; gets `results.json`, `figure.png`, and what is needed to go on.
        data: A file or folder of the user's, for the studies that need one.
        bar: Shows how far the study is.

    Returns:
        The study.

    Raises:
        ValueError: `name` is unknown, `data` is missing where it is needed or given where it is
            not, `out` cannot be written, or the study refuses a setting.
    """
    study = study_of(name)
    if (study.data is None) != (data is None):
        must = f"be {study.data}" if study.data else "be left out"
        raise ValueError(f"Argument `data` must {must} for {name}, but it is `{data}`.")
    with writing_to(out):
        found = study.run(settings, Work(out, bar or Bar(disable=True), data))
        found.write(out)
    return found
