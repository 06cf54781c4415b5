"""Where the sample of CIFAR-10 is, and small folders in both formats written by hand."""

import struct
from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[3] / "shared" / "data"
BINARY, PYTHON = SAMPLE / "cifar-10-batches-bin", SAMPLE / "cifar-10-batches-py"
NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")

needs_sample = pytest.mark.skipif(not BINARY.is_dir(), reason="the CIFAR-10 sample is not here")


def write_binary(folder: Path, *, train: int = 2, test: int = 3, seed: int = 0) -> Path:
    """Six binary files of random records."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in (*NAMES, "test_batch"):
        count = test if name == "test_batch" else train
        labels = (np.arange(count) + len(name)) % 10
        pixels = rng.integers(0, 256, (count, 3072))
        records = np.concatenate([labels[:, None], pixels], axis=1).astype(np.uint8)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def python_two_pickle(labels: list[int], data: bytes, *, count: int, dtype: bytes = b"u1") -> bytes:
    """A batch as Python 2 pickled it, opcode by opcode (protocol 2)."""
    text = lambda value: b"U" + bytes([len(value)]) + value
    integer = lambda value: b"J" + struct.pack("<i", value)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + (b"cnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"\x87R")
        + (b"(" + integer(1) + integer(count) + integer(3072) + b"\x86")
        + (b"cnumpy\ndtype\n" + text(dtype) + integer(0) + integer(1) + b"\x87R")
        + (b"(" + integer(3) + text(b"|") + b"NNN" + integer(-1) * 2 + integer(0) + b"tb")
        + (b"\x89T" + struct.pack("<i", len(data)) + data + b"tb")
    )
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + text(b"labels") + listed + text(b"data") + array + b"u."


def write_python(folder: Path, binary: Path) -> Path:
    """The records of a binary folder, as Python batches."""
    folder.mkdir(exist_ok=True)
    for name in (*NAMES, "test_batch"):
        records = np.fromfile(binary / f"{name}.bin", np.uint8).reshape(-1, 3073)
        content = python_two_pickle(
            records[:, 0].tolist(), records[:, 1:].tobytes(), count=len(records)
        )
        (folder / name).write_bytes(content)
    return folder
