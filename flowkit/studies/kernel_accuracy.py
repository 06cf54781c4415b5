"""The Gram matrices of given images on disk, and how well regression with them classifies."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress as Bar

from flowkit.kernels import AbstractKernel, FullyConnected
from flowkit.kernels.checks import check_finite
from flowkit.regression.checks import check_ridge
from flowkit.storage.arrays import replacing
from flowkit.studies.accuracy import accuracy_row, hits_of
from flowkit.studies.classification import Gram, TestGram, end_of_training, shown, targets
from flowkit.studies.estimates import estimate
from flowkit.studies.matrices import kept_gram
from flowkit.studies.reading import Images

ACCURACY = "accuracy.json"
TRAIN, TEST = "train", "test"


def write_grams(
    kernel: AbstractKernel,
    data: Images,
    *,
    out: Path,
    bar: Bar,
    kind: str = "ntk",
    tile: int | None = None,
    ridge: float = 0.0,
    estimated: bool = False,
) -> dict[str, dict[str, float]]:
    """Write `out/train/gram.npy`, and `out/test/gram.npy` (test x train) where there is a test set.

    Beside each is the store `gram.zarr`, see `flowkit.gram`: with more images, those of before
    first, only what is new is computed.

    Args:
        kernel: The kernel; a fully connected one gets each image as one row.
        data: Images, labels where accuracies are wanted.
        out: A folder; what an earlier run left in it is used.
        bar: Shows how far the matrices are.
        kind: "ntk" or "nngp".
        tile: Rows and columns of a tile, as of `flowkit.gram`.
        ridge: Of the regression, see `flowkit.regression.fit`.
        estimated: Whether to say first how long it will take.

    Returns:
        Accuracy in percent with its 95 % interval on the training and the test images, also in
        `out/accuracy.json`; empty without labels or without a test set.

    Raises:
        ValueError: a folder holds another Gram matrix, there is a ridge where nothing is
            classified, or the kernel or the regression refuses.
    """
    data = _flat(data) if kernel.axes == FullyConnected.axes else data
    _check(kernel, data, kind, ridge)
    if estimated:
        test = 0 if data.test_images is None else len(data.test_images)
        bar.console.print(str(estimate(kernel, data.images, test, kind=kind, tile=tile)))
    with shown(bar, "training images") as progress:
        gram = kept_gram(
            kernel, data.images, folder=out / TRAIN, kind=kind, tile=tile, progress=progress
        )
    if data.test_images is None:
        return {}
    with shown(bar, "test images") as progress:
        test_gram = kept_gram(
            kernel,
            data.test_images,
            data.images,
            folder=out / TEST,
            kind=kind,
            tile=tile,
            progress=progress,
        )
    found = _accuracies(gram, test_gram, data, ridge)
    if found:
        with replacing(out / ACCURACY) as new:
            text = json.dumps({"ridge": ridge} | found, indent=2)
            new.write_text(text + "\n", encoding="utf-8")
    return found


def _check(kernel: AbstractKernel, data: Images, kind: str, ridge: float) -> None:
    """Refuse what the kernel and the regression refuse, before a folder is taken."""
    check_ridge(ridge, data.images.dtype)
    if ridge and (data.labels is None or data.test_images is None):
        raise ValueError(
            f"Argument `ridge` must be left out where nothing is classified, without labels or "
            f"without images to test on, but it is `{ridge}`."
        )
    for images in (data.images, data.test_images):
        if images is not None:
            check_finite("x", jnp.asarray(images))
            jax.eval_shape(lambda x: kernel.diagonal(x, kind=kind), images)


def _accuracies(
    gram: Gram, test_gram: TestGram, data: Images, ridge: float
) -> dict[str, dict[str, float]]:
    """Accuracy rows of regression on shifted one-hot labels."""
    if data.labels is None or data.test_labels is None:
        return {}
    classes = int(max(data.labels.max(), data.test_labels.max())) + 1
    wanted = targets(data.labels, gram.dtype, classes)
    fitted = end_of_training(gram, wanted, ridge)
    sets = ((TRAIN, gram, data.labels), (TEST, test_gram, data.test_labels))
    return {
        name: accuracy_row(hits_of(np.asarray(fitted.predict(values)), labels))
        for name, values, labels in sets
    }


def _flat(data: Images) -> Images:
    test = data.test_images
    return dataclasses.replace(
        data,
        images=data.images.reshape(len(data.images), -1),
        test_images=None if test is None else test.reshape(len(test), -1),
    )
