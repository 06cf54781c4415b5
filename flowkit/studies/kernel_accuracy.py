"""The Gram matrices of given images on disk, and how well regression with them classifies."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.progress import Progress as Bar

from flowkit.kernels import AbstractKernel, FullyConnected
from flowkit.kernels.checks import check_finite
from flowkit.regression.checks import check_ridge
from flowkit.storage.arrays import replacing
from flowkit.studies import estimates
from flowkit.studies.accuracy import accuracy_row, hits_of
from flowkit.studies.classification import Gram, TestGram, end_of_training, shown, targets
from flowkit.studies.matrices import kept_gram, pairs_left
from flowkit.studies.reading import Images

ACCURACY = "accuracy.json"
TRAIN, TEST = "train", "test"

Kernels = Mapping[int, AbstractKernel]  # by depth
Accuracies = dict[str, dict[str, float]]  # rows of the training and of the test images


@dataclasses.dataclass(frozen=True)
class Request:
    """What is computed with a kernel.

    Attributes:
        kind: "ntk" or "nngp".
        tile: Rows and columns of a tile, as of `flowkit.gram`.
        ridge: Of the regression, see `flowkit.regression.fit`.
    """

    kind: str = "ntk"
    tile: int | None = None
    ridge: float = 0.0


def write_accuracy(
    kernel: AbstractKernel, data: Images, request: Request, *, out: Path, bar: Bar
) -> Accuracies:
    """Write Gram matrices as `write_grams`, and `out/accuracy.json` where there are labels.

    Returns:
        Accuracy in percent with its 95 % interval on the training and the test images; empty
        without labels or without a test set.

    Raises:
        ValueError: as `write_grams`, or the regression refuses.
    """
    gram, test_gram = write_grams(kernel, data, request, out=out, bar=bar)
    if test_gram is None:
        return {}
    found = _accuracies(gram, test_gram, data, request.ridge)
    if found:
        with replacing(out / ACCURACY) as new:
            text = json.dumps({"ridge": request.ridge} | found, indent=2)
            new.write_text(text + "\n", encoding="utf-8")
    return found


def write_grams(
    kernel: AbstractKernel, data: Images, request: Request, *, out: Path, bar: Bar
) -> tuple[Gram, TestGram | None]:
    """Write `out/train/gram.npy`, and `out/test/gram.npy` (test x train) where there is a test set.

    Beside each is the store `gram.zarr`, see `flowkit.gram`: with more images, those of before
    first, only what is new is computed.

    Args:
        kernel: The kernel.
        data: Images, as `fitting` makes them.
        request: What is computed.
        out: A folder; what an earlier run left in it is used.
        bar: Shows how far the matrices are.

    Returns:
        Both matrices.

    Raises:
        ValueError: a folder holds another Gram matrix, or the kernel refuses.
    """
    found = []
    for name, sides in _parts(data).items():
        with shown(bar, f"{name} images") as progress:
            found.append(
                kept_gram(
                    kernel,
                    *sides,
                    folder=out / name,
                    kind=request.kind,
                    tile=request.tile,
                    progress=progress,
                )
            )
    return found[0], found[1] if len(found) > 1 else None


def fitting(kernel: AbstractKernel, data: Images) -> Images:
    """The images as a kernel takes them: for a fully connected one each as one row."""
    if kernel.axes != FullyConnected.axes:
        return data
    test = data.test_images
    return dataclasses.replace(
        data,
        images=data.images.reshape(len(data.images), -1),
        test_images=None if test is None else test.reshape(len(test), -1),
    )


def check(kernel: AbstractKernel, data: Images, request: Request) -> None:
    """Refuse what the kernel and the regression refuse, before a folder is taken.

    Raises:
        ValueError: they refuse, or there is a ridge where nothing is classified.
    """
    check_ridge(request.ridge, data.images.dtype)
    if request.ridge and (data.labels is None or data.test_images is None):
        raise ValueError(
            f"Argument `ridge` must be left out where nothing is classified, without labels or "
            f"without images to test on, but it is `{request.ridge}`."
        )
    for images in (data.images, data.test_images):
        if images is not None:
            check_finite("x", jnp.asarray(images))
            jax.eval_shape(lambda x: kernel.diagonal(x, kind=request.kind), images)


def hours_left(
    kernels: Kernels, data: Images, request: Request, folders: Mapping[int, Path]
) -> str:
    """How long the Gram matrices of some depths will take, those that are there already aside.

    The calibration takes 10 seconds, shared by the depths; compilation comes on top.

    Raises:
        ValueError: a folder holds another Gram matrix, or the kernel refuses.
    """
    found = {}
    for depth, kernel in kernels.items():
        pairs = sum(
            pairs_left(kernel, *sides, folder=folders[depth] / name, **_as_asked(request))
            for name, sides in _parts(data).items()
        )
        found[depth] = estimates.estimate(
            kernel,
            data.images,
            pairs,
            **_as_asked(request),
            seconds=estimates.SECONDS / len(kernels),
        )
    if len(found) == 1:
        return str(*found.values())
    lines = [f"Depth {depth}: {each}" for depth, each in found.items()]
    total = sum(each.hours for each in found.values())
    return "\n".join([*lines, f"About {total:.2g} hours in all."])


def _as_asked(request: Request) -> dict:
    return {"kind": request.kind, "tile": request.tile}


def _parts(data: Images) -> dict[str, tuple]:
    """Both sides of each matrix, by the name of its folder."""
    train = {TRAIN: (data.images,)}
    return train if data.test_images is None else train | {TEST: (data.test_images, data.images)}


def _accuracies(gram: Gram, test_gram: TestGram, data: Images, ridge: float) -> Accuracies:
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
