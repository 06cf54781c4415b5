"""Imputers on real temperatures, paired over splits."""

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from flowkit.claim import Dots, StackedDots
from flowkit.datasets import san_francisco_temperatures, seattle_temperatures
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.recovery import WANTED
from flowkit.studies.imputing import (
    DEFAULT,
    DEPTHS,
    FINALISTS,
    FIRST,
    METHODS,
    NUCLEAR,
    PARTS,
    SOFT,
    SQUARES,
    STARTS,
    TUNED,
    deep_factorization,
    hidden,
    rmse,
    tuned,
)
from flowkit.studies.settings import Plain, check_names, check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 2
OURS = (DEFAULT, TUNED)
LOW_RANK = (SQUARES, SOFT, NUCLEAR)
BOUND = 1.1  # of the best of these on the same split
CITIES = {
    "seattle": ("Seattle", seattle_temperatures),
    "san-francisco": ("San Francisco", san_francisco_temperatures),
}
CHOICES = 1000  # added to a split's seed, for the draw of the entries that choose
ASKED = (
    f"{WANTED.capitalize()}: what this study asks of itself, next to the best of "
    f"{', '.join(LOW_RANK)}, each tuned."
)
UNCHOSEN = (
    "Column means have no settings; the deep factorization as it comes has its defaults, one start "
    f"of depth 3. Tuned, {STARTS} starts are averaged."
)

Errors = Mapping[str, Float[np.ndarray, " splits"]]
Found = dict[str, list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        cities: Names of `CITIES`.
        observed: The share of the temperatures that is known.
        seeds: How many splits.
        depths: Depths among which the deep factorization is tuned.
        parts: Parts of the known entries on which the best settings are compared, of `PARTS`.
    """

    cities: tuple[str, ...] = tuple(CITIES)
    observed: float = 0.3
    seeds: int = 5
    depths: tuple[int, ...] = DEPTHS
    parts: int = PARTS

    def __post_init__(self):
        check_names(self, "cities", CITIES)
        check_numbers(self, "seeds", "depths", least=1)
        if not 0 < self.observed < 1:
            raise ValueError(
                f"Argument `observed` must lie between 0 and 1, a share, but it is {self.observed}."
            )
        if not FIRST <= self.parts <= PARTS:
            raise ValueError(
                f"Argument `parts` must lie between {FIRST} and {PARTS}, but it is {self.parts}."
            )

    @property
    def chosen(self) -> str:
        """How imputers come by their settings."""
        best = f": the best {FINALISTS} on {FIRST} of them are compared on all"
        return (
            f"Settings are chosen on {self.parts} tenths of the known entries, each held back in "
            "turn and weighted by the odds that an entry of its row and column is hidden"
            f"{best if self.parts > FIRST else ''}."
        )


def temperatures(settings: Settings, work: Work) -> Study:
    """Fill a year of hourly temperatures from a share of them, by several imputers.

    Args:
        settings: The cities, the share, the splits and the depths.
        work: Where parts are kept.

    Returns:
        A row per city and imputer, a city's least mean error first: root mean square error at
        hidden entries in degrees Fahrenheit, and its mean ratio to that of the deep factorization
        as it comes, on the same split.
    """
    found = _found(settings, work)
    errors = {city: _errors(parts) for city, parts in found.items()}
    share, names = f"{100 * settings.observed:g} % known", [CITIES[city][0] for city in errors]
    title = f"Hourly temperatures of {' and '.join(names)}, {share}, splits: {settings.seeds}"
    return Study(
        name="temperatures",
        title=title,
        settings=settings,
        rows=tuple(
            _row(city, method, errors[city], found[city][method])
            for city in errors
            for method in errors[city]
        ),
        chart=StackedDots(
            title=title,
            charts=tuple(_chart(city, of) for city, of in errors.items()),
            caption="Dots are splits, bars their means. Settings are chosen on known entries.",
        ),
        notes=(
            settings.chosen,
            UNCHOSEN,
            "The deep factorization's default patience was set after seeing splits of Seattle.",
            "No published numbers: the matrices are NOAA's climate normals, 365 x 24.",
            ASKED,
        ),
        comparisons=tuple(row for city, of in errors.items() for row in _compared(city, of)),
    )


def _found(settings: Settings, work: Work) -> dict[str, Found]:
    """What is kept of every split, by city and imputer."""
    splits = list(itertools.product(settings.cities, METHODS, range(settings.seeds)))
    cases = [_case(settings, *split) for split in splits]
    parts = work.parts("imputer", fill, cases, version=VERSION)
    found: dict[str, Found] = {}
    for (city, method, _), part in zip(splits, parts, strict=True):
        found.setdefault(city, {}).setdefault(method, []).append(part)
    return found


def _case(settings: Settings, city: str, method: str, seed: int) -> dict[str, Plain]:
    """What the result on one split depends on."""
    case: dict[str, Plain] = {"city": city, "method": method, "seed": seed}
    case["observed"] = settings.observed
    if len(METHODS[method](seed)) > 1:
        case["parts"] = settings.parts
    if method == TUNED:
        case["depths"] = ",".join(map(str, settings.depths))
    return case


def _errors(parts: Found) -> Errors:
    """Root mean square errors on every split, the imputer of the least mean first."""
    errors = {method: np.array([part["rmse"] for part in of]) for method, of in parts.items()}
    return dict(sorted(errors.items(), key=lambda item: item[1].mean()))


def fill(
    *,
    city: str,
    method: str,
    seed: int,
    observed: float,
    depths: str | None = None,
    parts: int = PARTS,
) -> Mapping[str, float | str | None]:
    """What one imputer makes of one split: its error at hidden entries, and what was chosen."""
    matrix = CITIES[city][1]()
    X, hide = hidden(matrix, 1 - observed, seed=seed)
    candidates, filling = METHODS[method](seed), None
    if depths is not None:
        make = partial(deep_factorization, seed, [int(depth) for depth in depths.split(",")])
        candidates, filling = make(), make(starts=STARTS)
    with warnings.catch_warnings():  # scikit-learn's imputer says where its rounds did not settle
        warnings.filterwarnings("ignore", "\\[IterativeImputer\\] Early stopping")
        filled = tuned(candidates, X, seed=seed + CHOICES, filling=filling, compared_on=parts)
    return {
        "rmse": rmse(filled.matrix, matrix, hide),
        "validation": filled.validation,
        "setting": filled.setting,
    }


def _row(
    city: str, method: str, errors: Errors, parts: list[Mapping[str, Any]]
) -> dict[str, str | float]:
    values = errors[method]
    settings = [part["setting"] for part in parts]
    return {
        "city": CITIES[city][0],
        "imputer": method,
        "RMSE_(F)": float(values.mean()),
        "least": float(values.min()),
        "largest": float(values.max()),
        "ratio_to_default": float((values / errors[DEFAULT]).mean()),
        "chosen_most_often": max(settings, key=settings.count),
    }


def _chart(city: str, errors: Errors) -> Dots:
    return Dots(
        title=CITIES[city][0],
        x_label="root mean square error at hidden entries (degrees Fahrenheit)",
        groups=errors,
        emphasised=OURS,
        log_x=True,
    )


def _compared(city: str, errors: Errors) -> list[Comparison]:
    """The deep factorization beside the best other low-rank imputer: of means, split by split."""
    means = {method: values.mean() for method, values in errors.items()}
    least = min(means[method] for method in LOW_RANK)
    best = np.min([errors[method] for method in LOW_RANK], axis=0)
    ratios = {
        method: {
            "mean error / least mean": [float(means[method] / least)],
            "on each split, error / best": (errors[method] / best).tolist(),
        }
        for method in OURS
    }
    return [
        Comparison(f"{CITIES[city][0]}, {method}: {what}", values, (None, BOUND), WANTED)
        for method, of in ratios.items()
        for what, values in of.items()
    ]


STUDY = Reproducible(
    run=temperatures,
    settings=Settings(),
    quick=Settings(cities=("seattle",), seeds=1, depths=(3,), parts=FIRST),
)
