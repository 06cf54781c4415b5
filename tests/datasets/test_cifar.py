"""Both versions of CIFAR-10 are read byte for byte, and damaged folders are refused by name."""

import os
import pickle
import re

import numpy as np
import pytest
from datasets.cifar_folders import (
    BINARY,
    NAMES,
    PYTHON,
    needs_sample,
    python_two_pickle,
    write_binary,
    write_python,
)

from flowkit.datasets import cifar10

ROUNDING = 1e-12


def _pixel(folder, name, record, row, column, channel):
    """One byte of a binary file, found by its documented place."""
    content = (folder / f"{name}.bin").read_bytes()
    return content[record * 3073 + 1 + channel * 1024 + row * 32 + column]


@pytest.fixture
def binary(tmp_path):
    return write_binary(tmp_path / "cifar-10-batches-bin")


@pytest.fixture
def python(tmp_path, binary):
    return write_python(tmp_path / "cifar-10-batches-py", binary)


def test_each_pixel_is_the_byte_at_its_documented_place(binary):
    images, labels = cifar10(binary, standardised=False, dtype=np.float64)
    assert images.shape == (10, 32, 32, 3)
    for image, row, column, channel in [(0, 0, 0, 0), (3, 31, 2, 1), (8, 5, 30, 2)]:
        byte = _pixel(binary, NAMES[image // 2], image % 2, row, column, channel)
        assert images[image, row, column, channel] == byte / 255
    assert labels.tolist() == [2, 3] * 5


def test_the_two_versions_hold_the_same(binary, python):
    for train in (True, False):
        for one, other in zip(
            cifar10(binary, train=train), cifar10(python, train=train), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_standardisation_uses_the_training_images_of_each_channel(binary):
    grey, _ = cifar10(binary, standardised=False, dtype=np.float64)
    grey_test, _ = cifar10(binary, train=False, standardised=False, dtype=np.float64)
    mean, deviation = grey.mean((0, 1, 2)), grey.std((0, 1, 2))
    for train, raw in ((True, grey), (False, grey_test)):
        images, _ = cifar10(binary, train=train, dtype=np.float64)
        assert np.abs(images - (raw - mean) / deviation).max() < ROUNDING


def test_images_have_the_type_asked_for(binary):
    assert cifar10(binary)[0].dtype == np.float32
    with pytest.raises(ValueError, match="`dtype` must be a floating type, but it is `int64`"):
        cifar10(binary, dtype=np.int64)


@needs_sample
def test_the_sample_is_read_in_both_versions():
    images, labels = cifar10(BINARY)
    assert (len(images), len(cifar10(BINARY, train=False)[0])) == (500, 200)
    assert np.bincount(labels).tolist() == [50] * 10
    first = _pixel(BINARY, "data_batch_2", 7, 4, 19, 2) / 255
    assert cifar10(BINARY, standardised=False)[0][107, 4, 19, 2] == np.float32(first)
    read, python_labels = cifar10(PYTHON, standardised=False)
    grey = cifar10(BINARY, standardised=False)[0]
    shared = np.concatenate([np.arange(30) + 100 * batch for batch in range(5)])
    np.testing.assert_array_equal(read, grey[shared])
    np.testing.assert_array_equal(python_labels, labels[shared])


@needs_sample
@pytest.mark.filterwarnings("ignore")  # a deprecated name of NumPy
def test_the_python_version_is_what_pickle_says():
    content = pickle.loads((PYTHON / "test_batch").read_bytes(), encoding="latin1")
    images, labels = cifar10(PYTHON, train=False, standardised=False, dtype=np.float64)
    expected = content["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) / 255
    np.testing.assert_array_equal(images, expected)
    assert labels.tolist() == content["labels"]


def test_a_missing_folder_and_missing_files_are_named(tmp_path, binary):
    with pytest.raises(ValueError, match=r"must be a folder, but `.*nowhere` is not one"):
        cifar10(tmp_path / "nowhere")
    (binary / "data_batch_4.bin").unlink()
    (binary / "test_batch.bin").unlink()
    with pytest.raises(ValueError, match=r"lacks data_batch_4\.bin, test_batch\.bin\."):
        cifar10(binary)
    with pytest.raises(ValueError, match=r"it holds the folder `.*cifar-10-batches-bin`"):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-100], "6046 bytes are 1 records and 2973 bytes"),
        (lambda content: b"", "0 bytes are 0 records and 0 bytes"),
        (lambda content: content[:3073], "as many images as `data_batch_1.bin`, 2, but it holds 1"),
        (lambda content: b"\x0c" + content[1:], "labels 0 to 9, but that of image 0 is 12"),
    ],
)
def test_a_damaged_binary_file_is_named(binary, damage, message):
    file = binary / "data_batch_3.bin"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        cifar10(binary)
    assert str(file) in str(caught.value)


def _batch(count=2, labels=(3, 4), size=None, dtype=b"u1"):
    data = bytes(count * 3072 if size is None else size)
    return python_two_pickle(list(labels), data, count=count, dtype=dtype)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_batch()[:-1000], "must be a complete CIFAR-10 batch, but it cannot be read"),
        (b"", "cannot be read"),
        (b"\x80\x02N.", "a dictionary with `data` and `labels`"),
        (_batch(labels=(1, 2, 3)), "one label for each of its 2 images, but it holds 3"),
        (_batch(size=6000), "6144 bytes of pixels for 2 images, but it holds 6000"),
        (_batch(dtype=b"O8"), "rows of 3072 bytes"),
        (_batch(labels=(1, 10)), "labels 0 to 9, but that of image 1 is 10"),
    ],
)
def test_a_damaged_python_file_is_named(python, content, message):
    file = python / "data_batch_2"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        cifar10(python)
    assert str(file) in str(caught.value)


class _Call:
    """Calls a function when it is unpickled in the usual way."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("indirect", [False, True])
def test_a_pickle_cannot_call_anything(python, tmp_path, protocol, indirect):
    trace = tmp_path / "trace"
    direct = _Call(os.mkdir, str(trace))
    call = _Call(eval, f"__import__('os').mkdir({str(trace)!r})") if indirect else direct
    attack = pickle.dumps({"data": call}, protocol)
    pickle.loads(attack)
    assert trace.exists()  # the attack works on the usual reader
    trace.rmdir()
    (python / "test_batch").write_bytes(attack)
    name = r"(__builtin__|builtins)\.eval" if indirect else rf"{os.mkdir.__module__}\.mkdir"
    with pytest.raises(ValueError, match=f"it calls `({name})`"):
        cifar10(python, train=False)
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore")  # a deprecated name of NumPy
def test_names_of_arrays_are_not_called_either(python):
    """A dtype with forged flags must not reach NumPy: records stand for it."""
    forged = _batch().replace(b"J\xff\xff\xff\xffJ\xff\xff\xff\xffJ\x00\x00\x00\x00tb", b"NNNtb")
    assert forged != _batch()
    with pytest.raises((TypeError, ValueError)):  # NumPy would act on the state
        pickle.loads(forged, encoding="bytes")
    for name in NAMES:
        (python / name).write_bytes(forged)
    images, _ = cifar10(python, standardised=False)
    assert images.shape == (10, 32, 32, 3)
