"""Table 1 of the CNTK paper: CIFAR-10 accuracy by depth and read-out."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from flowkit.claim import Curves
from flowkit.datasets import cifar10
from flowkit.studies.accuracy import accuracy_row
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.classification import NAMES, Data, Grams, cntk, regression_hits
from flowkit.studies.images import ImageSettings
from flowkit.studies.published import CNTK_CIFAR, FIRST_TRAIN, FULL_TEST
from flowkit.studies.study import Study

Images = Float[np.ndarray, "n height width channels"]


def cntk_cifar(settings: ImageSettings, grams: Grams, folder: Path) -> Study:
    """CNTK-V and CNTK-GAP regression on the first images of CIFAR-10, as published.

    Labels are -0.1 + e_c, images are standardised per channel over all training images, and there
    is no ridge.

    Args:
        settings: Depths, and numbers of training and test images, the first of their files.
        grams: Where Gram matrices are kept.
        folder: A CIFAR-10 folder in either original format.

    Returns:
        A row per read-out and depth, next to the published number for as many training images, or
        for the first 2,000 where there is none.

    Raises:
        ValueError: the folder is incomplete or holds fewer images, or a depth is less than 2.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 5 and Table 1.
    """
    data = first_images(settings, folder)
    rows = []
    for readout in NAMES:
        for depth in settings.depths:
            name, kernel = cntk(readout, depth)
            measured = accuracy_row(regression_hits(*grams.of(name, kernel, data), data))
            rows.append(_row(readout, depth, measured, settings, len(data.test_labels)))
    train, test = len(data.labels), len(data.test_labels)
    return Study(
        name="cntk-cifar",
        title=f"CIFAR-10: first {train} training and {test} test images",
        settings=settings,
        rows=tuple(rows),
        chart=_chart(settings, rows, train, test),
        notes=(
            "Published: arXiv:1904.11955v2, Table 1, on all 10,000 test images.",
            "The same setup is: the same training images, all test images, and no shrinking.",
            "Intervals are Wilson's of 95 %.",
        ),
    )


def first_images(settings: ImageSettings, folder: Path) -> Data:
    """The first training and test images of a folder, standardised, shrunk if asked for."""
    images, labels = cifar10(folder, dtype=settings.dtype)
    train = _counted("train", settings.only_train, len(labels))
    test_images, test_labels = test_set(settings, folder)
    return Data(shrunk(images[:train], settings.shrink), labels[:train], test_images, test_labels)


def test_set(settings: ImageSettings, folder: Path) -> tuple[Images, Int[np.ndarray, " n"]]:
    """The first test images of a folder and their labels."""
    images, labels = cifar10(folder, train=False, dtype=settings.dtype)
    test = _counted("test", settings.test or len(labels), len(labels))
    return shrunk(images[:test], settings.shrink), labels[:test]


def shrunk(images: Images, side: int) -> Float[np.ndarray, "n rows columns channels"]:
    """Means over blocks of side x side positions."""
    count, height, width, channels = images.shape
    if height % side or width % side:
        raise ValueError(
            f"Argument `shrink` must divide the size {height} x {width} of the images, but it is "
            f"`{side}`."
        )
    blocks = images.reshape(count, height // side, side, width // side, side, channels)
    return blocks.mean((2, 4), dtype=images.dtype)


def _counted(name: str, wanted: int, there: int) -> int:
    if wanted > there:
        raise ValueError(
            f"Argument `{name}` must be at most the {there} images of the folder, but it is "
            f"`{wanted}`."
        )
    return wanted


def _row(
    readout: str, depth: int, measured: dict[str, float], settings: ImageSettings, test: int
) -> dict:
    train = settings.only_train
    table = CNTK_CIFAR.get((readout, depth), {})
    published_train = train if train in table else FIRST_TRAIN
    published = table.get(published_train)
    same = published is not None and train == published_train
    return {
        "kernel": NAMES[readout],
        "depth": depth,
        **measured,
        "published": published,
        "for_train": None if published is None else published_train,
        "off_by": None if published is None else measured["accuracy"] - published,
        "same_setup": "yes" if same and test == FULL_TEST and settings.shrink == 1 else "no",
    }


def _chart(settings: ImageSettings, rows: list[dict], train: int, test: int) -> Curves:
    lines, intervals, points = {}, {}, {}
    for name in NAMES.values():
        own = [row for row in rows if row["kernel"] == name]
        depths = [row["depth"] for row in own]
        lines[name] = (depths, [row["accuracy"] for row in own])
        intervals[name] = (depths, [row["low"] for row in own], [row["high"] for row in own])
        known = [row for row in own if row["published"] is not None]
        if known:
            points[f"{name}, published"] = (
                [r["depth"] for r in known],
                [r["published"] for r in known],
            )
    return Curves(
        title=f"CIFAR-10: CNTK regression, {train:,} training and {test:,} test images",
        x_label="depth (weight layers)",
        y_label="accuracy (%)",
        lines=lines,
        points=points,
        intervals=intervals,
        integer_x=True,
        caption="Bars: 95 % binomial intervals. Published: for as many training images, or for the "
        "first 2,000.",
    )


STUDY = Reproducible(
    run=lambda settings, work: cntk_cifar(settings, Grams.beside(work), work.data),
    settings=ImageSettings(depths=(3, 4, 6, 11, 21), train=(FIRST_TRAIN,)),
    quick=ImageSettings(depths=(3,), train=(40,), test=40, shrink=4),
    data="a CIFAR-10 folder",
)
