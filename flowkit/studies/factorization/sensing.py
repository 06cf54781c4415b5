"""Depth against the nuclear norm, where Gaussian measurements take the place of entries."""

from flowkit.datasets import LowRank
from flowkit.problems import MatrixSensing
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization import by_scale
from flowkit.studies.factorization.by_scale import LARGEST_SCALE, Found, Settings
from flowkit.studies.factorization.recovery import SOURCE, TRAIN_LOSS, WANTED, values
from flowkit.studies.study import Study
from flowkit.studies.work import Work

MEASURED = 2000  # as published
PUBLISHED = {2: (4.5e-4, 3.8e-2), 3: (None, 8.5e-6), 4: (None, 8.5e-6)}
NUCLEAR_ERROR = 7.5e-4
TOLERANCE = 0.5  # of errors that were published of one draw


def sensing(settings: Settings, work: Work) -> Study:
    """Find a low-rank matrix from Gaussian measurements, by depth and by the nuclear norm.

    Args:
        settings: Depths, scales, numbers of measurements (`observed`), seeds.
        work: Where parts are kept.

    Returns:
        A row per number of measurements, method and scale.

    Raises:
        ValueError: the rank exceeds the size.

    Source:
        Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, the experiments on sensing.
    """
    found = by_scale.find(settings, work, _measure)
    matrix = f"a rank-{settings.rank} matrix, {settings.size} x {settings.size}"
    title = f"Gaussian sensing of {matrix}: mean and range, seeds: {settings.seeds}"
    return Study(
        name="sensing",
        title=title,
        settings=settings,
        rows=by_scale.rows(found),
        chart=by_scale.panels(found, title, "measurements"),
        notes=(
            "The error is the mean of squares over all entries, its mean and range over seeds.",
            f"Flows stop at a training loss (mean of squares) of {TRAIN_LOSS:g}.",
            "Measurements are inner products with Gaussian matrices of deviation 1/size.",
            f"Published errors are of single draws: {100 * TOLERANCE:g} % of room is given.",
        ),
        comparisons=tuple(_comparisons(found)),
    )


def _measure(drawn: LowRank, count: int) -> MatrixSensing:
    return MatrixSensing.from_matrix(drawn.matrix, measured=count, key=drawn.data_key)


def _comparisons(found: Found) -> list[Comparison]:
    if not found.settings.published or MEASURED not in found.settings.observed:
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
    return [row for row in (nuclear, gap, *flows) if row.measured]


STUDY = Reproducible(
    run=sensing,
    settings=Settings(depths=(2, 3, 4), scales=(1e-3, 1e-4, 1e-5), observed=(MEASURED,), seeds=1),
    quick=Settings(depths=(2, 3), scales=(1e-3, 1e-5), observed=(300,), seeds=2, size=40, rank=2),
)
