"""Images a user names on the command line: a file, a CIFAR-10 folder or the digits."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, Num

from flowkit.datasets import cifar10, digits, split

DIGITS = "digits"
NEEDED_AXES = (2, 3, 4)

_Points = tuple[Num[np.ndarray, "n ..."], Int[np.ndarray, " n"] | None]


@dataclass(frozen=True)
class Images:
    """Images, perhaps with labels, perhaps with others to test on.

    Attributes:
        images: N x features, N x height x width, or N x height x width x channels.
        labels: Integers from 0, one for each image.
        test_images: Images to test on.
        test_labels: Their labels.
    """

    images: Float[np.ndarray, "n ..."]
    labels: Int[np.ndarray, " n"] | None = None
    test_images: Float[np.ndarray, "m ..."] | None = None
    test_labels: Int[np.ndarray, " m"] | None = None


def read_images(
    source: str,
    *,
    labels: Path | None = None,
    train: int | None = None,
    test: int | None = None,
    seed: int | None = None,
    dtype: str = "float64",
) -> Images:
    """Read images.

    Args:
        source: "digits", drawn at random; a CIFAR-10 folder, from the start of its files and
            standardised; a `.npy` file of images; or a `.npz` file with `images` and perhaps
            `labels`.
        labels: A `.npy` file of labels, for a `.npy` file of images.
        train: How many images to take; of a file, the first. All where omitted.
        test: How many further images to test on; of a file, those that follow, of a CIFAR-10
            folder, the first of its test batch. None where omitted.
        seed: Of the draw from the digits, 0 where omitted.
        dtype: The type of the images.

    Returns:
        The images.

    Raises:
        ValueError: `source` is nothing of the kind, is damaged, or has too few images; `labels` are
            given for images that have their own; or a `seed` for images that are not drawn.
    """
    path = Path(source)
    if labels is not None and (source == DIGITS or path.is_dir()):
        raise ValueError(
            f"Argument `labels` must be left out with the digits and with a CIFAR-10 folder, which "
            f"have their own, but it is `{labels}`."
        )
    if seed is not None and source != DIGITS:
        raise ValueError(
            f"Argument `seed` must be left out with images that are not drawn, but it is `{seed}`."
        )
    if path.is_dir():
        return _cifar(path, train, test, dtype)
    images, known = _digits(seed or 0) if source == DIGITS else _file(path, labels)
    if test is not None and train is None:
        train = len(images) - test
    count = len(images) if train is None else train
    if count < 1 or count + (test or 0) > len(images):
        raise ValueError(
            f"Arguments `train` and `test` must be at least 1 and add up to at most "
            f"{len(images)}, but they are {count} and {test or 0}."
        )
    images = _with_channels(images).astype(dtype)
    held_out = slice(count, count + test) if test else None
    return Images(
        images[:count],
        None if known is None else known[:count],
        None if held_out is None else images[held_out],
        None if held_out is None or known is None else known[held_out],
    )


def _digits(seed: int) -> _Points:
    """The digits in a random order, that of `split`."""
    images, labels = digits()
    order, last = split(len(labels), len(labels) - 1, 1, key=jax.random.key(seed))
    order = np.concatenate([order, last])
    return images[order], labels[order]


def _cifar(folder: Path, train: int | None, test: int | None, dtype: str) -> Images:
    images, labels = _first(cifar10(folder, dtype=dtype), "train", train)
    if test is None:
        return Images(images, labels)
    held_out = _first(cifar10(folder, train=False, dtype=dtype), "test", test)
    return Images(images, labels, *held_out)


def _first(
    points: tuple[Float[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]],
    name: str,
    count: int | None,
) -> tuple[Float[np.ndarray, "count 32 32 3"], Int[np.ndarray, " count"]]:
    images, labels = points
    if count is not None and not 1 <= count <= len(labels):
        raise ValueError(
            f"Argument `{name}` must be at least 1 and at most the {len(labels)} images of the "
            f"folder, but it is `{count}`."
        )
    return images[:count], labels[:count]


def _file(path: Path, labels: Path | None) -> _Points:
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise ValueError(
            f"Argument `images` must be `{DIGITS}`, a CIFAR-10 folder, or a `.npy` or `.npz` file "
            f"that exists, but it is `{path}`."
        )
    loaded = _load(path)
    images, known = loaded.get("images"), loaded.get("labels")
    if labels is not None:
        known = _load(labels).get("images")
    if images is None or images.ndim not in NEEDED_AXES or images.dtype.kind not in "fiu":
        raise ValueError(
            f"File `{path}` must hold real images (in a `.npz`, under `images`): N x features, N x "
            f"height x width, or with channels last, but it does not."
        )
    if known is not None:
        _check_labels(known, len(images))
    return images, known


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; that of a `.npy` file under `images`. No pickles are read."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"File `{path}` must hold numeric arrays, but: {error}.") from error


def _check_labels(labels: np.ndarray, count: int) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"The labels must be {count} integers from 0, one for each image, but they have shape "
            f"{labels.shape} and type {labels.dtype}."
        )


def _with_channels(images: Num[np.ndarray, "n ..."]) -> Num[np.ndarray, "n ..."]:
    return images[..., None] if images.ndim == 3 else images
