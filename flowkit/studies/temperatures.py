"""Imputers on real temperatures, paired over splits."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from flowkit.claim import Dots
from flowkit.datasets import seattle_temperatures
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.imputing import (
    DEFAULT,
    FOLDS,
    METHODS,
    TUNED,
    VALIDATION,
    deep_factorization,
    hidden,
    rmse,
    tuned,
)
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 1
OURS = (DEFAULT, TUNED)
CHOICES = 1000  # added to a split's seed, for the draw of the entries that choose
CHOSEN = (
    f"Settings are chosen on {FOLDS} times {100 * VALIDATION:g} % of the known entries, weighted "
    "by the odds that an entry of their row and column is hidden."
)


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        observed: The share of the temperatures that is known.
        seeds: How many splits.
        depths: Depths among which the deep factorization is tuned.
    """

    observed: float = 0.3
    seeds: int = 5
    depths: tuple[int, ...] = (2, 3)

    def __post_init__(self):
        check_numbers(self, "seeds", "depths", least=1)
        if not 0 < self.observed < 1:
            raise ValueError(
                f"Argument `observed` must lie between 0 and 1, a share, but it is {self.observed}."
            )


def temperatures(settings: Settings, work: Work) -> Study:
    """Fill a year of hourly temperatures from a share of them, by several imputers.

    Args:
        settings: The share, the splits and the depths.
        work: Where parts are kept.

    Returns:
        A row per imputer, that of the least mean error first: root mean square error at hidden
        entries in degrees Fahrenheit, and its mean ratio to that of the deep factorization as it
        comes, on the same split.
    """
    cases = [
        {"method": method, "seed": seed, "observed": settings.observed}
        | ({"depths": ",".join(map(str, settings.depths))} if method == TUNED else {})
        for method in METHODS
        for seed in range(settings.seeds)
    ]
    parts = work.parts("imputer", fill, cases, version=VERSION)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for case, part in zip(cases, parts, strict=True):
        found.setdefault(case["method"], []).append(part)
    errors = {method: np.array([p["rmse"] for p in of]) for method, of in found.items()}
    order = sorted(errors, key=lambda method: errors[method].mean())
    title = f"Seattle's temperatures, {100 * settings.observed:g} % known, splits: {settings.seeds}"
    return Study(
        name="temperatures",
        title=title,
        settings=settings,
        rows=tuple(_row(method, errors, found) for method in order),
        chart=Dots(
            title=title,
            x_label="root mean square error at hidden entries (degrees Fahrenheit)",
            groups={method: errors[method] for method in order},
            emphasised=OURS,
            log_x=True,
            caption="Dots are splits, bars their means. Settings are chosen on known entries.",
        ),
        notes=(
            CHOSEN,
            "Column means have no settings; the deep factorization as it comes has its defaults.",
            "The default of its patience was set after seeing these splits.",
            "No published numbers: the matrix is NOAA's climate normals, 365 x 24.",
        ),
    )


def fill(
    *, method: str, seed: int, observed: float, depths: str | None = None
) -> Mapping[str, float | str | None]:
    """What one imputer makes of one split: its error at hidden entries, and what was chosen."""
    matrix = seattle_temperatures()
    X, hide = hidden(matrix, 1 - observed, seed=seed)
    make = METHODS[method]
    if depths is not None:
        make = partial(deep_factorization, depths=[int(depth) for depth in depths.split(",")])
    with warnings.catch_warnings():  # scikit-learn's imputer says where its rounds did not settle
        warnings.filterwarnings("ignore", "\\[IterativeImputer\\] Early stopping")
        filled = tuned(make(seed), X, seed=seed + CHOICES)
    return {
        "rmse": rmse(filled.matrix, matrix, hide),
        "validation": filled.validation,
        "setting": filled.setting,
    }


def _row(
    method: str, errors: Mapping[str, np.ndarray], found: Mapping[str, list[Mapping[str, Any]]]
) -> dict[str, str | float]:
    values = errors[method]
    settings = [part["setting"] for part in found[method]]
    return {
        "imputer": method,
        "RMSE_(F)": float(values.mean()),
        "least": float(values.min()),
        "largest": float(values.max()),
        "ratio_to_default": float((values / errors[DEFAULT]).mean()),
        "chosen_most_often": max(settings, key=settings.count),
    }


STUDY = Reproducible(run=temperatures, settings=Settings(), quick=Settings(seeds=1, depths=(3,)))
