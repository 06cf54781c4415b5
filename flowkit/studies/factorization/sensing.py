"""Depth against the nuclear norm, where Gaussian measurements take the place of entries.

Source: Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, the experiments on sensing.
"""

from functools import partial

from flowkit.datasets import LowRank
from flowkit.problems import MatrixSensing
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization import by_scale
from flowkit.studies.factorization.by_scale import LARGEST_SCALE, Found, Settings
from flowkit.studies.factorization.recovery import SOURCE, WANTED, values

MEASURED = 2000  # as published
PUBLISHED = {2: (4.5e-4, 3.8e-2), 3: (None, 8.5e-6), 4: (None, 8.5e-6)}
NUCLEAR_ERROR = 7.5e-4
TOLERANCE = 0.5  # of errors that were published of one draw


def _measure(drawn: LowRank, count: int) -> MatrixSensing:
    return MatrixSensing.from_matrix(drawn.matrix, measured=count, key=drawn.data_key)


def _comparisons(found: Found) -> list[Comparison]:
    if MEASURED not in found.settings.observed:
        return []
    least = found.least[MEASURED]
    nuclear = Comparison(
        "nuclear: error", values(least, "error"), NUCLEAR_ERROR, SOURCE, tolerance=TOLERANCE
    )
    gap = Comparison("nuclear: relative gap", values(least, "relative_gap"), (None, 1e-6), WANTED)
    flows = [
        Comparison(
            f"depth {depth}: error",
            values(found.of_depth(MEASURED, depth, most=LARGEST_SCALE), "error"),
            PUBLISHED[depth],
            SOURCE,
            tolerance=TOLERANCE,
        )
        for depth in found.settings.depths
        if depth in PUBLISHED
    ]
    return [nuclear, gap, *flows]


STUDY = Reproducible(
    run=partial(
        by_scale.study,
        name="sensing",
        task="Gaussian sensing",
        counted="measurements",
        observe=_measure,
        compare=_comparisons,
        notes=(
            "Measurements are inner products with Gaussian matrices of deviation 1/size.",
            f"Published errors are of single draws: {100 * TOLERANCE:g} % of room is given.",
        ),
    ),
    settings=Settings(depths=(2, 3, 4), scales=(1e-3, 1e-4, 1e-5), observed=(MEASURED,), seeds=1),
    quick=Settings(depths=(2, 3), scales=(1e-3, 1e-5), observed=(300,), seeds=2, size=40, rank=2),
)
