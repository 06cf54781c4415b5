"""CIFAR-10 in its original folders: the binary version and the Python version."""

from os import PathLike
from pathlib import Path

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int, UInt8

from flowkit.datasets.unpickling import read_python_batch

SIZE, CHANNELS, CLASSES, LEVELS = 32, 3, 10, 256
PIXELS = SIZE * SIZE * CHANNELS
RECORD = 1 + PIXELS  # of the binary version: a label, then the red, the green and the blue plane
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
FOLDERS = {".bin": "cifar-10-batches-bin", "": "cifar-10-batches-py"}  # suffix of the files -> name

_Batch = tuple[UInt8[np.ndarray, "n pixels"], Int[np.ndarray, " n"]]


def cifar10(
    folder: str | PathLike[str],
    *,
    train: bool = True,
    standardised: bool = True,
    dtype: DTypeLike = np.float32,
) -> tuple[Float[np.ndarray, "n 32 32 3"], Int[np.ndarray, " n"]]:
    """Images and labels of a CIFAR-10 folder, in the order of its files.

    Both original formats are read, `cifar-10-batches-bin` and `cifar-10-batches-py`; where a folder
    holds both, the binary files. How many images there are is taken from the files. The pickles of
    the Python version are read without executing anything, see `flowkit.datasets.unpickling`.

    Args:
        folder: The folder that holds the batches.
        train: The training images, else the test images.
        standardised: Subtract the mean and divide by the standard deviation of each channel over
            all training images of the folder, for training and test images alike, as published for
            the CNTK; else grey levels in [0, 1].
        dtype: A floating type.

    Returns:
        Images, channels last, and labels 0 to 9.

    Raises:
        ValueError: `folder` is none of the two, lacks a file, or a file is truncated or damaged.

    Source:
        Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; the standardisation
        is that of Arora et al. 2019, arXiv:1904.11955. Checked by tests/datasets/test_cifar.py.
    """
    folder, dtype = Path(folder), np.dtype(dtype)
    if not np.issubdtype(dtype, np.floating):
        raise ValueError(f"Argument `dtype` must be a floating type, but it is `{dtype}`.")
    suffix = _suffix(folder)
    files = [folder / f"{name}{suffix}" for name in TRAIN_FILES]
    chosen = _read(files) if train else _read([folder / f"{TEST_FILE}{suffix}"])
    rows, labels = chosen
    if standardised:
        counts = _level_counts(rows if train else _read(files)[0])
        levels = _standard_levels(counts)
    else:
        levels = np.tile(np.arange(LEVELS) / (LEVELS - 1), (CHANNELS, 1))
    return _images(rows, levels.astype(dtype)), labels


def is_cifar_folder(path: Path) -> bool:
    """Whether a folder holds the first training batch of one of the two versions."""
    return any((path / f"{TRAIN_FILES[0]}{suffix}").is_file() for suffix in FOLDERS)


def _suffix(folder: Path) -> str:
    """How the files of the folder end, once all six are there."""
    if not folder.is_dir():
        raise ValueError(f"Argument `folder` must be a folder, but `{folder}` is not one.")
    names = (*TRAIN_FILES, TEST_FILE)
    missing = {
        suffix: [f"{n}{suffix}" for n in names if not (folder / f"{n}{suffix}").is_file()]
        for suffix in FOLDERS
    }
    suffix = min(missing, key=lambda suffix: len(missing[suffix]))
    if not missing[suffix]:
        return suffix
    inside = [name for name in FOLDERS.values() if (folder / name).is_dir()]
    advice = f"; it holds the folder `{folder / inside[0]}`" if inside else ""
    raise ValueError(
        f"Argument `folder` must hold all of {names[0]}{suffix} to {names[-2]}{suffix} and "
        f"{names[-1]}{suffix}, but `{folder}` lacks {', '.join(missing[suffix])}{advice}."
    )


def _read(files: list[Path]) -> _Batch:
    """All batches, one after the other; training batches are of equal length in every version."""
    batches = [_checked(file, _read_batch(file)) for file in files]
    first = len(batches[0][1])
    for file, (_, labels) in zip(files, batches, strict=True):
        if len(labels) != first:
            raise ValueError(
                f"File `{file}` must hold as many images as `{files[0].name}`, {first}, but it "
                f"holds {len(labels)}."
            )
    rows, labels = zip(*batches, strict=True)
    return np.concatenate(rows), np.concatenate(labels)


def _read_batch(file: Path) -> _Batch:
    if file.suffix != ".bin":
        return read_python_batch(file, PIXELS)
    content = np.fromfile(file, np.uint8)
    if len(content) == 0 or len(content) % RECORD:
        raise ValueError(
            f"File `{file}` must hold whole records of {RECORD} bytes, but its {len(content)} "
            f"bytes are {len(content) // RECORD} records and {len(content) % RECORD} bytes."
        )
    records = content.reshape(-1, RECORD)
    return records[:, 1:], records[:, 0].astype(int)


def _checked(file: Path, batch: _Batch) -> _Batch:
    _, labels = batch
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if len(wrong):
        raise ValueError(
            f"File `{file}` must hold labels 0 to {CLASSES - 1}, but that of image {wrong[0]} is "
            f"{labels[wrong[0]]}."
        )
    return batch


def _level_counts(rows: UInt8[np.ndarray, "n pixels"]) -> Int[np.ndarray, "channels levels"]:
    """How often each grey level occurs in each channel."""
    planes = rows.reshape(len(rows), CHANNELS, -1)
    return np.stack([np.bincount(planes[:, c].ravel(), minlength=LEVELS) for c in range(CHANNELS)])


def _standard_levels(
    counts: Int[np.ndarray, "channels levels"],
) -> Float[np.ndarray, "channels levels"]:
    """What each grey level becomes: mean 0 and variance 1 in each channel, to rounding."""
    levels, weights = np.arange(LEVELS), counts / counts.sum(1, keepdims=True)
    mean = (weights * levels).sum(1, keepdims=True)
    variance = (weights * (levels - mean) ** 2).sum(1, keepdims=True)
    if not variance.all():
        raise ValueError("The training images must vary in every channel, but they do not.")
    return (levels - mean) / np.sqrt(variance)


def _images(
    rows: UInt8[np.ndarray, "n pixels"], levels: Float[np.ndarray, "channels levels"]
) -> Float[np.ndarray, "n 32 32 3"]:
    planes = rows.reshape(-1, CHANNELS, SIZE, SIZE)
    return np.stack([levels[c][planes[:, c]] for c in range(CHANNELS)], axis=-1)
