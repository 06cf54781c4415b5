"""Small training sets: CIFAR-10 accuracy of CNTK-GAP by number of training images."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from flowkit.claim import Curves
from flowkit.datasets import cifar10, equal_per_class
from flowkit.studies.accuracy import mean_and_margin
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.cifar import shrunk, test_set
from flowkit.studies.classification import CLASSES, Data, Grams, cntk, regression_hits
from flowkit.studies.images import ImageSettings
from flowkit.studies.published import FULL_TEST, SMALL_CIFAR, SMALL_DEPTH
from flowkit.studies.study import Study

_Accuracies = dict[tuple[int, int], Float[np.ndarray, " draws"]]


def cntk_small(settings: ImageSettings, grams: Grams, folder: Path) -> Study:
    """CNTK-GAP regression on n random images, equally many of each class, averaged over draws.

    The smaller training sets of a draw are parts of its largest, whose Gram matrix serves all.
    That leaves each mean as it is; errors at different n are correlated.

    Args:
        settings: Depths, numbers of training images (multiples of 10), draws (20 is our choice).
        grams: Where Gram matrices are kept.
        folder: A CIFAR-10 folder in either original format.

    Returns:
        A row per depth and number of training images, next to the published means of CNTK-GAP of
        depth 11 and of ResNet-34.

    Raises:
        ValueError: the folder is incomplete, a class is too small for `train`, or a number of
            training images is no multiple of 10.

    Source:
        Arora et al. 2020, arXiv:1910.01663, section 5.
    """
    _check_sizes(settings)
    images, labels = cifar10(folder, dtype=settings.dtype)
    tests = test_set(settings, folder)
    found: _Accuracies = {}
    for depth in settings.depths:
        by_draw = [
            _accuracies(depth, draw, settings, grams, (images, labels), tests)
            for draw in range(settings.draws)
        ]
        found |= {
            (depth, train): np.array([accuracies[train] for accuracies in by_draw])
            for train in settings.train
        }
    test = len(tests[1])
    rows = tuple(_row(*key, values, settings, test) for key, values in found.items())
    return Study(
        name="cntk-small",
        title=f"CIFAR-10, small training sets: {settings.draws} draws, {test} test images",
        settings=settings,
        rows=rows,
        chart=_chart(rows, settings),
        notes=(
            "Published: arXiv:1910.01663, section 5, means over random training sets.",
            "Margins are half the 95 % interval of the mean over draws, on the same test images.",
        ),
    )


def _check_sizes(settings: ImageSettings) -> None:
    wrong = [train for train in settings.train if train % CLASSES]
    if wrong:
        raise ValueError(
            f"Argument `train` must hold multiples of {CLASSES}, equally many of each class, but "
            f"it holds {wrong[0]}."
        )


def _accuracies(
    depth: int,
    draw: int,
    settings: ImageSettings,
    grams: Grams,
    training: tuple[Float[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]],
    tests: tuple[Float[np.ndarray, "test height width 3"], Int[np.ndarray, " test"]],
) -> dict[int, float]:
    """Percent of the test images by number of training images, of one draw."""
    images, labels = training
    key = jax.random.fold_in(jax.random.key(settings.seed), draw)
    chosen = equal_per_class(labels, max(settings.train) // CLASSES, key=key)
    data = Data(shrunk(images[chosen], settings.shrink), labels[chosen], *tests)
    name, kernel = cntk("gap", depth)
    gram, test_gram = grams.of(f"{name}, draw {draw}", kernel, data)
    percent = {}
    for n in settings.train:
        part = Data(data.images[:n], data.labels[:n], *tests)
        percent[n] = 100 * float(regression_hits(gram[:n, :n], test_gram[:, :n], part).mean())
    return percent


def _row(
    depth: int, train: int, percent: Float[np.ndarray, " draws"], settings: ImageSettings, test: int
) -> dict:
    mean, margin = mean_and_margin(percent)
    known = SMALL_CIFAR.get(train) if depth == SMALL_DEPTH else None
    same = known is not None and test == FULL_TEST and settings.shrink == 1
    return {
        "kernel": "CNTK-GAP",
        "depth": depth,
        "train": train,
        "accuracy": mean,
        "margin": margin,
        "published": known.cntk if known else None,
        "ResNet-34": known.resnet if known else None,
        "off_by": mean - known.cntk if known else None,
        "same_setup": "yes" if same else "no",
    }


def _chart(rows: tuple[dict, ...], settings: ImageSettings) -> Curves:
    lines, intervals = {}, {}
    for depth in settings.depths:
        own = [row for row in rows if row["depth"] == depth]
        name, trains = f"CNTK-GAP, depth {depth}", [row["train"] for row in own]
        means = np.array([row["accuracy"] for row in own])
        margins = np.array([row["margin"] or 0.0 for row in own])
        lines[name] = (trains, means)
        ends = (np.clip(means + sign * margins, 0.0, 100.0) for sign in (-1, 1))
        intervals[name] = (trains, *ends)
    sizes = list(SMALL_CIFAR)
    points = {
        f"CNTK-GAP, depth {SMALL_DEPTH}, published": (
            sizes,
            [s.cntk for s in SMALL_CIFAR.values()],
        ),
        "ResNet-34, published": (sizes, [s.resnet for s in SMALL_CIFAR.values()]),
    }
    return Curves(
        title=f"CIFAR-10, small training sets, means of {settings.draws} draws",
        x_label="training images, equally many of each class",
        y_label="accuracy (%)",
        lines=lines,
        points=points,
        intervals=intervals,
        log_x=True,
        caption="Bars: 95 % intervals of the mean over draws.",
    )


STUDY = Reproducible(
    run=lambda settings, work: cntk_small(settings, Grams.beside(work), work.data),
    settings=ImageSettings(depths=(SMALL_DEPTH,), train=tuple(SMALL_CIFAR), draws=20),
    quick=ImageSettings(depths=(3,), train=(10, 20), test=40, draws=5, shrink=4),
    data="a CIFAR-10 folder",
)
