"""What cannot be stored or read is refused by name."""

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from samples import assert_same, trajectory

from flowkit.storage import load_trajectory, save_arrays, save_trajectory, to_dataset, trajectories


def test_double_precision_is_not_read_into_single(path):
    save_trajectory(trajectory((jnp.ones(3), np.ones(3))), path)
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"float64; set .*enable_x64"):
        load_trajectory(path)
    save_trajectory(trajectory((jnp.ones(3, np.float32), np.ones(3)), observables={}), path)
    with jax.enable_x64(False):
        assert load_trajectory(path).states[1].dtype == np.float64


BAD = {
    "one entry for each": {"observables": {"loss": jnp.ones(2)}},
    "structure of one state": {"final": jnp.ones(2)},
    "`states.1` must hold numbers .* `?key": {
        "states": (jnp.ones(3), jax.random.split(jax.random.key(0), 3))
    },
    "`states.f` must hold numbers .* builtin_function": {"states": {"f": len}, "final": None},
    "`stats` must hold .* it holds a `set`": {"stats": {"seen": [{1}]}},
}


@pytest.mark.parametrize("match", BAD)
def test_what_cannot_be_stored_is_refused_and_nothing_written(match, path, as_a_user):
    with pytest.raises(ValueError, match=match):
        save_trajectory(trajectory(**{"states": jnp.ones(3)} | BAD[match]), path)
    assert not list(path.parent.iterdir())


def test_paths_are_checked(path, as_a_user):
    good = trajectory(jnp.ones(3))
    with pytest.raises(ValueError, match=r"end in \.npz or \.nc or \.zarr, but it is .*run\.csv"):
        save_trajectory(good, path.with_suffix(".csv"))
    with pytest.raises(ValueError, match=r"end in \.npz or"):
        load_trajectory(path.with_suffix(""))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_trajectory(path)
    with pytest.raises(FileNotFoundError, match=r"The folder of .* does not exist"):
        save_trajectory(good, path.parent / "nowhere" / path.name)


def test_other_files_are_refused(path):
    write = {
        ".npz": lambda: save_arrays(path, {"x": np.ones(2)}),
        ".nc": lambda: xarray.Dataset({"x": 1.0}).to_netcdf(path, engine="netcdf4"),
        ".zarr": lambda: xarray.Dataset({"x": 1.0}).to_zarr(path, zarr_format=2),
    }
    write[path.suffix]()
    with pytest.raises(ValueError, match="`path` must be a stored trajectory"):
        load_trajectory(path)


def test_damaged_files_are_refused(path):
    save_trajectory(trajectory(jnp.ones(3)), path)
    if path.suffix == ".zarr":
        (path / ".zmetadata").unlink()
        shutil.rmtree(path / "final")
        match = "lacks `final`"
    else:
        path.write_bytes(path.read_bytes()[:1000])
        match = "`path` must be a"
    with pytest.raises(ValueError, match=match):
        load_trajectory(path)


def test_newer_formats_are_refused(path, monkeypatch):
    monkeypatch.setattr(trajectories, "FORMAT_VERSION", 2)
    save_trajectory(trajectory(jnp.ones(3)), path)
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"version 1 or older, .* of version 2, written by flowkit"
    ):
        load_trajectory(path)


def test_a_missing_extra_is_named(path, monkeypatch):
    saved = trajectory(jnp.ones(3))
    for package in ("xarray", "netCDF4", "zarr"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'gradient-flowkit\[labelled\]'"):
        to_dataset(saved)
    if path.suffix == ".npz":
        save_trajectory(saved, path)
        assert_same(load_trajectory(path), saved)
        return
    with pytest.raises(ImportError, match=r"pip install 'gradient-flowkit\[labelled\]'"):
        save_trajectory(saved, path)
    path.mkdir()
    with pytest.raises(ImportError, match=r"pip install 'gradient-flowkit\[labelled\]'"):
        load_trajectory(path)
