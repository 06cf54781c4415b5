"""Arrays and plain values in one file, written whole or not at all."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from flowkit.storage import load_arrays, save_arrays
from flowkit.storage.values import as_text, from_text

TYPES = (
    "bool",
    "int4",
    "uint8",
    "int64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float64",
    "complex64",
)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 2)])
def test_arrays_come_back_with_their_type(dtype, shape, tmp_path):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(jnp.dtype(dtype))
    save_arrays(tmp_path / "a.npz", {"a/b": array, "file": jnp.asarray(array), "T": array.T})
    loaded, attributes = load_arrays(tmp_path / "a.npz")
    assert list(loaded) == ["a/b", "file", "T"]
    assert attributes is None
    for name, expected in {"a/b": array, "file": array, "T": array.T}.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, expected.shape)
        assert loaded[name].tobytes() == expected.tobytes()


def test_other_byte_orders_come_back_with_their_values(tmp_path):
    array = np.array([1.5, -2.0], ">f2")
    save_arrays(tmp_path / "a.npz", {"a": array})
    np.testing.assert_array_equal(load_arrays(tmp_path / "a.npz")[0]["a"], array)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda v: (
        st.lists(v)
        | st.lists(v).map(tuple)
        | st.dictionaries(st.text() | st.sampled_from(["$tuple", "$dict", "$float"]), v)
        | st.dictionaries(st.integers(), v)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=VALUES)
def test_nested_values_come_back_with_their_types(value):
    assert repr(from_text(as_text(value, "value"))) == repr(value)


def test_scalars_of_arrays_become_plain_numbers():
    values = [np.float32(0.1), jnp.array(3), np.bool_(True)]
    assert repr(from_text(as_text(values, "values"))) == repr([float(np.float32(0.1)), 3, True])


REFUSED = {
    "`x` must hold numbers to be stored, but it is of type key": {"x": jax.random.key(0)},
    "`x` must hold numbers to be stored, but it is of type list": {"x": ["text"]},
    "`x` must hold numbers to be stored, but it is of type datetime64": {"x": np.zeros(1, "M8[s]")},
    "must not use the name `attributes`": {"attributes": np.ones(1)},
}


@pytest.mark.parametrize("match", REFUSED)
def test_what_is_no_array_of_numbers_is_refused(match, tmp_path):
    with pytest.raises(ValueError, match=match):
        save_arrays(tmp_path / "a.npz", REFUSED[match])


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)], ids=range(4)
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"that `save_arrays` wrote, but `.*a\.npz` is damaged"):
        load_arrays(tmp_path / "a.npz")


def test_every_flipped_byte_of_an_array_is_noticed(tmp_path):
    path, array = tmp_path / "a.npz", np.full(100, 7.25)
    save_arrays(path, {"a": array})
    content = bytearray(path.read_bytes())
    content[content.index(array.tobytes()) + 300] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_arrays(path)


KILLED = """
import os, signal, sys
import numpy as np
from flowkit.storage import save_arrays

print([name for name in ("xarray", "netCDF4", "zarr") if name in sys.modules], flush=True)
write = np.lib.format.write_array
def killed(file, array, **options):
    write(file, array, **options)
    file._fileobj.flush()
    os.kill(os.getpid(), signal.SIGKILL)
np.lib.format.write_array = killed
save_arrays(sys.argv[1], {"a": np.zeros(100_000)})
"""


def test_a_killed_process_leaves_the_old_file_and_needs_no_extra(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {"a": np.ones(3)}, {"step": 1})
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, "[]\n"), done.stderr
    loaded, attributes = load_arrays(path)
    assert (loaded["a"].tolist(), attributes) == ([1.0, 1.0, 1.0], {"step": 1})
