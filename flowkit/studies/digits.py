"""Exact kernels on scikit-learn's digits, next to tuned baselines."""

import jax
import numpy as np

from flowkit.claim import Curves
from flowkit.datasets import digits, split
from flowkit.kernels import FullyConnected
from flowkit.studies.accuracy import Hits, accuracy_row, gain
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.classification import (
    NAMES,
    Data,
    Grams,
    cntk,
    linear_hits,
    rbf_hits,
    regression_hits,
)
from flowkit.studies.images import ImageSettings
from flowkit.studies.study import Study

REFERENCE, LINEAR, FULLY_CONNECTED = "RBF ridge, tuned", "linear ridge, tuned", "FC-NTK"

_Found = dict[tuple[str, int | None], Hits]


def cntk_digits(settings: ImageSettings, grams: Grams) -> Study:
    """CNTK-V, CNTK-GAP and FC-NTK regression on digits, against tuned RBF and linear ridge.

    Args:
        settings: Depths, and numbers of training and test images.
        grams: Where Gram matrices are kept.

    Returns:
        A row per method and depth: accuracy with a binomial interval, and the difference from RBF
        ridge with a paired one.

    Raises:
        ValueError: there are not that many images, or a depth is less than 2.
    """
    data = _data(settings)
    found: _Found = {}
    for depth in settings.depths:
        for readout, label in NAMES.items():
            name, kernel = cntk(readout, depth)
            found[label, depth] = regression_hits(*grams.of(name, kernel, data), data)
        name = f"{FULLY_CONNECTED}, depth {depth}"
        flat = data.flat()
        kernels = grams.of(name, FullyConnected(depth), flat)
        found[FULLY_CONNECTED, depth] = regression_hits(*kernels, flat)
    found[REFERENCE, None] = rbf_hits(data, settings.seed)
    found[LINEAR, None] = linear_hits(data, settings.seed)
    train, test = len(data.labels), len(data.test_labels)
    return Study(
        name="cntk-digits",
        title=f"Digits: {train} training and {test} test images",
        settings=settings,
        rows=tuple(_row(method, depth, hits, found) for (method, depth), hits in found.items()),
        chart=_chart(settings, found, train, test),
        notes=(
            "No published numbers: the digits are a set of scikit-learn's.",
            "Intervals are of 95 %: Wilson's for accuracies, paired for differences.",
            "The kernels have nothing to tune; the baselines are tuned on the training images.",
        ),
    )


def _data(settings: ImageSettings) -> Data:
    images, labels = digits()
    images = images.astype(settings.dtype)
    test = settings.test or len(labels) - settings.only_train
    key = jax.random.key(settings.seed)
    train, test = split(len(labels), settings.only_train, test, key=key)
    return Data(images[train], labels[train], images[test], labels[test])


def _row(method: str, depth: int | None, hits: Hits, found: _Found) -> dict:
    difference, margin = gain(hits, found[REFERENCE, None])
    return {
        "method": method,
        "depth": depth,
        **accuracy_row(hits),
        "minus_RBF": difference,
        "margin": margin,
    }


def _chart(settings: ImageSettings, found: _Found, train: int, test: int) -> Curves:
    depths = list(settings.depths)
    lines, intervals = {}, {}
    for method in (*NAMES.values(), FULLY_CONNECTED):
        rows = [accuracy_row(found[method, depth]) for depth in depths]
        lines[method] = (depths, [row["accuracy"] for row in rows])
        intervals[method] = (depths, [row["low"] for row in rows], [row["high"] for row in rows])
    ends = np.array([min(depths) - 0.5, max(depths) + 0.5])
    for method in (REFERENCE, LINEAR):
        lines[method] = (ends, np.full(2, accuracy_row(found[method, None])["accuracy"]))
    return Curves(
        title=f"Digits: kernel regression, {train} training and {test} test images",
        x_label="depth (weight layers)",
        y_label="accuracy (%)",
        lines=lines,
        intervals=intervals,
        integer_x=True,
        caption="Bars: 95 % binomial intervals. The same test images for all: differences are "
        "known better than the bars suggest.",
    )


STUDY = Reproducible(
    run=lambda settings, work: cntk_digits(settings, Grams.beside(work)),
    settings=ImageSettings(depths=(3, 5), train=(300,), test=300),
    quick=ImageSettings(depths=(3,), train=(60,), test=60),
)
