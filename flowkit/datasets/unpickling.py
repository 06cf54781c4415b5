"""Reading the Python batches of CIFAR-10 without executing what is in them.

A pickle is a program: it names functions, and unpickling imports and calls them. Here nothing that
a file names is imported or called. The three names that a NumPy array is pickled with stand for
`_Inert` records, which remember their arguments and do nothing; every other name is refused before
anything happens. NumPy's own reconstruction is not called either: a forged `dtype` can make it
take bytes for pointers. What is left is a tree of lists, dictionaries, numbers and records, and the
array is read off it once its type, shape and number of bytes agree.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

ARRAY_NAMES = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),  # as NumPy 2 calls it
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)
BYTES = (b"u1", "u1", b"|u1", "|u1")  # how a pickle says uint8


class _Inert:
    """What stands for a name of the file: calling it makes a record of the call."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()):
        self.name, self.arguments, self.state = name, arguments, None

    def __call__(self, *arguments: Any) -> "_Inert":
        return _Inert(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """An unpickler that resolves no name."""

    def find_class(self, module: str, name: str) -> _Inert:
        if (module, name) not in ARRAY_NAMES:
            raise pickle.UnpicklingError(
                f"it calls `{module}.{name}`, and nothing but the parts of a NumPy array is allowed"
            )
        return _Inert(name)


def read_python_batch(
    path: Path, pixels: int
) -> tuple[UInt8[np.ndarray, "n pixels"], Int[np.ndarray, " n"]]:
    """Rows of pixels and labels of one Python batch.

    Args:
        path: The file, a pickle whose keys are byte strings, as Python 2 wrote it.
        pixels: The length of a row.

    Returns:
        The entries `data` and `labels`.

    Raises:
        ValueError: the file is truncated, no such pickle, calls anything, or its entries disagree.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"File `{path}` must be a complete CIFAR-10 batch, but it cannot be read: "
            f"{error or type(error).__name__}."
        ) from error
    if not isinstance(content, dict) or not {b"data", b"labels"} <= content.keys():
        raise ValueError(
            f"File `{path}` must hold a dictionary with `data` and `labels`, but it does not."
        )
    rows = _array(path, content[b"data"], pixels)
    labels = content[b"labels"]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise ValueError(f"File `{path}` must hold a list of integer labels, but it does not.")
    if len(labels) != len(rows):
        raise ValueError(
            f"File `{path}` must hold one label for each of its {len(rows)} images, but it holds "
            f"{len(labels)}."
        )
    return rows, np.array(labels, int)


def _array(path: Path, record: Any, pixels: int) -> UInt8[np.ndarray, "n pixels"]:
    """The bytes of a pickled uint8 array, whose state is (version, shape, dtype, order, bytes)."""
    state = record.state if isinstance(record, _Inert) else None
    match state:
        case (1, (int(count), int(width)), _Inert(name="dtype"), False, bytes(data)):
            kind = state[2].arguments[:1]
        case _:
            raise ValueError(
                f"File `{path}` must hold `data` as a C-ordered array of two axes, but it does not."
            )
    if kind not in [(name,) for name in BYTES] or width != pixels or count < 1:
        raise ValueError(
            f"File `{path}` must hold rows of {pixels} bytes, but `data` is {count} x {width} of "
            f"type {kind}."
        )
    if len(data) != count * width:
        raise ValueError(
            f"File `{path}` must hold {count * width} bytes of pixels for {count} images, but it "
            f"holds {len(data)}."
        )
    return np.frombuffer(data, np.uint8).reshape(count, width)
