"""Images a user names on the command line: a file, CIFAR-10 in one of two ways, or the digits."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, Num

from flowkit.datasets import cifar10, digits, equal_per_class, split

DIGITS, CIFAR = "digits", "cifar"
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
        per_round: The images come in rounds of so many, one of each class; 1 where they do not.
    """

    images: Float[np.ndarray, "n ..."]
    labels: Int[np.ndarray, " n"] | None = None
    test_images: Float[np.ndarray, "m ..."] | None = None
    test_labels: Int[np.ndarray, " m"] | None = None
    per_round: int = 1


def check_sizes(sizes: Sequence[int], images: Images) -> None:
    """Refuse numbers of first training images that break a round, and several for no use.

    Raises:
        ValueError: one does, or there are several where nothing is classified.
    """
    for size in sizes:
        check_rounds(size, images.per_round)
    if len(sizes) > 1 and (images.labels is None or images.test_images is None):
        raise ValueError(
            f"Argument `train` must be one number where nothing is classified, without labels or "
            f"without images to test on, but it is `{','.join(map(str, sizes))}`."
        )


def check_rounds(train: int, per_round: int) -> None:
    """Refuse a number of training images that is not one of whole rounds.

    Raises:
        ValueError: it is none.
    """
    if train < 1:
        raise ValueError(f"Argument `train` must be at least 1, but it is `{train}`.")
    if train % per_round:
        raise ValueError(
            f"Argument `train` must be a multiple of {per_round}, equally many of each class, but "
            f"it is `{train}`."
        )


def read_images(
    source: str,
    *,
    labels: Path | None = None,
    data: Path | None = None,
    train: int | None = None,
    test: int | None = None,
    seed: int | None = None,
    dtype: str = "float64",
) -> Images:
    """Read images.

    Args:
        source: "digits", drawn at random; "cifar", drawn from `data`, equally many of each class,
            and standardised; a CIFAR-10 folder, from the start of its files and standardised; a
            `.npy` file of images; or a `.npz` file with `images` and perhaps `labels`.
        labels: A `.npy` file of labels, for a `.npy` file of images.
        data: The CIFAR-10 folder of "cifar".
        train: How many images to take; of a file, the first. All where omitted.
        test: How many further images to test on; of a file, those that follow, of CIFAR-10 the
            first of the test batch. None where omitted, but all of "cifar".
        seed: Of the draw from the digits and for "cifar", 0 where omitted.
        dtype: The type of the images.

    Returns:
        The images.

    Raises:
        ValueError: `source` is nothing of the kind, is damaged, or has too few images; `labels` are
            given for images that have their own; a `seed` for images that are not drawn; or `data`
            is missing where it is needed, or given where it is not.
    """
    path = Path(source)
    if labels is not None and (source in (DIGITS, CIFAR) or path.is_dir()):
        raise ValueError(
            f"Argument `labels` must be left out with the digits and with a CIFAR-10 folder, which "
            f"have their own, but it is `{labels}`."
        )
    if seed is not None and source not in (DIGITS, CIFAR):
        raise ValueError(
            f"Argument `seed` must be left out with images that are not drawn, but it is `{seed}`."
        )
    if (data is not None) != (source == CIFAR):
        must = "be a CIFAR-10 folder with" if source == CIFAR else "be left out without"
        found = "left out" if data is None else f"`{data}`"
        raise ValueError(f"Argument `data` must {must} `{CIFAR}`, but it is {found}.")
    if data is not None:
        return _drawn_cifar(data, train, test, seed or 0, dtype)
    if path.is_dir():
        return _cifar(path, train, test, dtype)
    images, known = _digits(seed or 0) if source == DIGITS else _file(path, labels)
    if (test or 0) < 0:
        raise ValueError(f"Argument `test` must be at least 0, but it is `{test}`.")
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


def _drawn_cifar(
    folder: Path, train: int | None, test: int | None, seed: int, dtype: str
) -> Images:
    """Training images in rounds, so that the first of them are a smaller draw of the same kind."""
    images, labels = cifar10(folder, dtype=dtype)
    sizes = np.unique(labels, return_counts=True)[1]
    per_round, most = len(sizes), len(sizes) * int(sizes.min())
    count = most if train is None else train
    check_rounds(count, per_round)
    if count > most:
        raise ValueError(
            f"Argument `train` must be at most {most}, equally many of each class of the folder, "
            f"but it is `{count}`."
        )
    chosen = equal_per_class(labels, count // per_round, key=jax.random.key(seed))
    held_out = _first(cifar10(folder, train=False, dtype=dtype), "test", test)
    return Images(images[chosen], labels[chosen], *held_out, per_round)


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
            f"Argument `images` must be `{DIGITS}`, `{CIFAR}`, a CIFAR-10 folder, or a `.npy` or "
            f"`.npz` file that exists, but it is `{path}`."
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
