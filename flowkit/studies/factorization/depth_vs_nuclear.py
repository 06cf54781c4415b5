"""Depth against the nuclear norm, in matrix completion.

Source: Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, the experiments on completion.
"""

from functools import partial

from flowkit.datasets import LowRank
from flowkit.problems import MatrixCompletion
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization import by_scale
from flowkit.studies.factorization.by_scale import LARGEST_SCALE, Found, Settings
from flowkit.studies.factorization.recovery import SOURCE, WANTED, ratios, values

FEW, MANY = 2000, 5000  # observed entries, as published
# Errors at MANY entries: published of depth 2 alone, which the deeper should not exceed.
MANY_ERRORS = {2: ((None, 9e-5), SOURCE), 3: ((None, 9e-5), WANTED), 4: ((None, 9e-5), WANTED)}


def _observe(drawn: LowRank, count: int) -> MatrixCompletion:
    return MatrixCompletion.from_matrix(drawn.matrix, observed=count, key=drawn.data_key)


def _comparisons(found: Found) -> list[Comparison]:
    """The published and the wanted numbers that the settings allow to compare with."""
    settings, rows = found.settings, []
    if FEW in settings.observed:
        rows += _nuclear(found)
        for depth in settings.depths:
            rows += _shallow(found) if depth == 2 else _deep(found, depth)
    if MANY in settings.observed:
        name, least = f"{MANY} observed", found.least[MANY]
        rows.append(
            Comparison(f"{name}, nuclear: error", values(least, "error"), (None, 8e-7), SOURCE)
        )
        for depth, (bounds, source) in MANY_ERRORS.items():
            if depth in settings.depths:
                errors = values(found.of_depth(MANY, depth, most=LARGEST_SCALE), "error")
                rows.append(Comparison(f"{name}, depth {depth}: error", errors, bounds, source))
    return rows


def _nuclear(found: Found) -> list[Comparison]:
    name, least = f"{FEW} observed, nuclear", found.least[FEW]
    return [
        Comparison(f"{name}: norm", values(least, "nuclear_norm"), (210.0, 218.0), WANTED),
        Comparison(f"{name}: error", values(least, "error"), (0.05, 0.11), WANTED),
        Comparison(f"{name}: relative gap", values(least, "relative_gap"), (None, 1e-6), WANTED),
    ]


def _shallow(found: Found) -> list[Comparison]:
    """Depth 2: between depth 3 and the nuclear norm, and better from smaller starts."""
    scales = [scale for scale in found.settings.scales if scale <= LARGEST_SCALE]
    parts = found.of_depth(FEW, 2, most=LARGEST_SCALE)
    name = f"{FEW} observed, depth 2"
    rows = [
        Comparison(f"{name}: error", values(parts, "error"), (0.025, 0.11), SOURCE),
        Comparison(f"{name}: effective rank", values(parts, "effective_rank"), (6.6, 10.1), SOURCE),
    ]
    if len(scales) > 1:
        smallest, largest = min(scales), max(scales)
        before, after = (
            values(found.flows[FEW, 2, scale], "error") for scale in (largest, smallest)
        )
        falls = [new / old for old, new in zip(before, after, strict=True)]
        quantity = f"{name}: error at {smallest:g} / at {largest:g}"
        rows.append(Comparison(quantity, falls, (None, 1.0), SOURCE))
    return rows


def _deep(found: Found, depth: int) -> list[Comparison]:
    """Depths 3 and 4 recover the matrix."""
    if depth not in (3, 4) or LARGEST_SCALE not in found.settings.scales:
        return []
    parts = found.flows[FEW, depth, LARGEST_SCALE]
    name = f"{FEW} observed, depth {depth}, {LARGEST_SCALE:g}"
    ranks = ratios(parts, "effective_rank")
    return [
        Comparison(f"{name}: error", values(parts, "error"), (None, 1e-4), WANTED),
        Comparison(f"{name}: effective rank / true", ranks, 1.0, WANTED, tolerance=0.02),
    ]


STUDY = Reproducible(
    run=partial(
        by_scale.study,
        name="depth-vs-nuclear",
        task="Completion",
        counted="observed",
        observe=_observe,
        compare=_comparisons,
        notes=(
            "Published: numbers of single draws, and ranges over scales and stopping points.",
            f"{WANTED.capitalize()}: what this study asks of itself, around such numbers.",
        ),
    ),
    settings=Settings(
        depths=(2, 3, 4), scales=(1e-3, 1e-4, 1e-5, 1e-6), observed=(FEW, MANY), seeds=5
    ),
    quick=Settings(depths=(2, 3), scales=(1e-3, 1e-5), observed=(FEW, MANY), seeds=1),
)
