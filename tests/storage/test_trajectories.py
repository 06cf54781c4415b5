"""A stored trajectory comes back bit for bit from every format, which others read as well."""

import json
import os
from collections import namedtuple
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from hypothesis import given, settings, strategies as st
from samples import SUFFIXES, TIMES, assert_same, assert_same_tree, numbers, trajectory

from flowkit.storage import load_trajectory, save_trajectory, to_dataset
from flowkit.trajectory import Result

Pair = namedtuple("Pair", "first second")

STATES = {
    "matrix": lambda: jnp.asarray(numbers(3, 2, 2)),
    "scalar": lambda: jnp.asarray(numbers(3)),
    "factors": lambda: tuple(jnp.asarray(numbers(3, 2, n)) for n in (2, 3, 0)),
    "float32": lambda: [jnp.asarray(numbers(3, 4, dtype=np.float32))],
    "short floats": lambda: {
        "bfloat16": jnp.asarray(numbers(3, 4, dtype=jnp.bfloat16)),
        "float16": jnp.asarray(numbers(3, 4, dtype=np.float16)),
    },
    "negative zeros": lambda: jnp.full((3, 2), -0.0),
    "odd NaNs": lambda: jnp.asarray(np.full((3, 2), 0x7FF8_0000_0000_0001).view(np.float64)),
    "nested": lambda: {
        "b/c": [jnp.ones((3, 1)), None, ()],
        "a": {3: jnp.zeros(3), 1: (jnp.zeros((3, 2)),)},
        "B/C": np.arange(6).reshape(3, 2),
        "λ ^": jnp.array([True, False, True]),
    },
}


@pytest.mark.parametrize("make", STATES.values(), ids=STATES.keys())
def test_what_is_loaded_is_what_was_saved(make, path):
    saved = trajectory(make())
    save_trajectory(saved, path)
    assert_same(load_trajectory(path), saved)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_comparison_sees_the_sign_of_a_zero():
    with pytest.raises(AssertionError):
        assert_same_tree(jnp.array(-0.0), jnp.array(0.0))


LEAVES = st.sampled_from([np.float64, np.float32, jnp.bfloat16, np.int64, np.uint8]).flatmap(
    lambda dtype: st.integers(0, 2).map(lambda n: jnp.asarray(numbers(3, *[2] * n, dtype=dtype)))
)
# Text that a file holds; keys of one type per dict, since JAX sorts them.
KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda children: (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(KEYS, children, max_size=3)
        | st.dictionaries(st.integers(-3, 3), children, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(states=TREES, name=KEYS)
def test_any_tree_and_any_name_come_back(states, name, tmp_path_factory):
    saved = trajectory(states, observables={name: jnp.ones(3), name.swapcase(): jnp.zeros(3)})
    folder = tmp_path_factory.mktemp("any")
    for suffix in SUFFIXES:
        save_trajectory(saved, folder / f"run{suffix}")
        assert_same(load_trajectory(folder / f"run{suffix}"), saved)


def test_modules_and_named_tuples_come_back_through_like(path, key):
    model = eqx.nn.MLP(2, 1, 3, 1, key=key)
    parameters = eqx.filter(model, eqx.is_array)
    final = Pair(parameters, (jnp.ones(2), None))
    saved = trajectory(jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), final), final=final)
    save_trajectory(saved, path)
    assert_same(load_trajectory(path, like=final), saved)
    assert_same(load_trajectory(path, like=Pair(model, final.second)), saved)
    assert_same(load_trajectory(path, like=eqx.filter_eval_shape(lambda: final)), saved)
    with pytest.raises(ValueError, match=r"`like` must .* contains a `Pair`"):
        load_trajectory(path)
    with pytest.raises(ValueError, match=r"has no leaf `second.1`"):
        load_trajectory(path, like=Pair(parameters, (jnp.ones(2), jnp.ones(2))))
    with pytest.raises(ValueError, match=r"has a leaf `second.0`"):
        load_trajectory(path, like=Pair(parameters, None))
    with pytest.raises(ValueError, match=r"leaf `second.0` is \(3,\) and the stored one \(3, 2\)"):
        load_trajectory(path, like=Pair(parameters, (jnp.ones(3), None)))


def test_observables_may_be_trees(path, as_a_user):
    observed = {"pair": Pair(jnp.ones(3), (jnp.zeros((3, 2)),)), "count": np.arange(3)}
    save_trajectory(trajectory(jnp.ones(3), observables=observed), path)
    loaded = load_trajectory(path).observables
    assert_same_tree(loaded, {"pair": observed["pair"]._asdict(), "count": observed["count"]})


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_failure_leaves_the_old_file_whole(moment, path, monkeypatch):
    old, new = trajectory(jnp.ones((3, 2))), trajectory(jnp.zeros((3, 2)))
    save_trajectory(old, path)
    (_break_the_writer if moment == "writing" else _break_the_renaming)(monkeypatch, path)
    with pytest.raises(KeyboardInterrupt):
        save_trajectory(new, path)
    monkeypatch.undo()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert_same(load_trajectory(path), old)
    save_trajectory(new, path)
    assert_same(load_trajectory(path), new)


def _break_the_writer(monkeypatch, path):
    """Interrupt after a part has been written: one array, or the first saves of every array."""
    if path.suffix == ".npz":
        owner, name, part = np.lib.format, "write_array", lambda file: file
    else:
        name = "to_netcdf" if path.suffix == ".nc" else "to_zarr"
        owner, part = xarray.Dataset, lambda dataset: dataset.isel(time=slice(2))
    write = getattr(owner, name)

    def interrupted(first, *arguments, **options):
        write(part(first), *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)


def _break_the_renaming(monkeypatch, path):
    rename = os.replace

    def interrupted(source, target):
        if (Path(source).name, Path(target)) == (path.name, path):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", interrupted)


def test_xarray_alone_reads_the_files(tmp_path):
    saved = trajectory((jnp.ones((3, 2, 4)), jnp.asarray(numbers(3))), result=Result(True, "end"))
    expected = to_dataset(saved)
    for suffix in (".nc", ".zarr"):
        save_trajectory(saved, tmp_path / f"run{suffix}")
        with xarray.open_dataset(tmp_path / f"run{suffix}") as dataset:
            xarray.testing.assert_identical(dataset.load(), expected)


def test_numpy_alone_reads_the_file(tmp_path):
    saved = trajectory((jnp.ones((3, 2)), jnp.asarray(numbers(3))))
    save_trajectory(saved, tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["time"], TIMES)
        np.testing.assert_array_equal(archive["states.1"], saved.states[1])
        np.testing.assert_array_equal(archive["train loss"], saved.observables["train loss"])
        assert json.loads(archive["attributes"].item())["attributes"]["clock"] == "flow time"


def test_the_dataset_is_labelled():
    states = {"W": jnp.ones((3, 2, 4)), "w": jnp.ones(3)}
    dataset = to_dataset(trajectory(states, observables={"time": jnp.ones(3, bool)}))
    assert dataset["states.W"].dims == ("time", "states.W:axis_0", "states.W:axis_1")
    assert dataset["final.W"].dims == dataset["states.W"].dims[1:]
    assert set(dataset.data_vars) == {
        *("states.W", "states.w_2", "final.W", "final.w_2", "time_2", "final_time")
    }
    assert dataset["time_2"].dtype == bool
    assert dataset["states.w_2"].sel(time=0.1) == 1
    assert dataset["time"].attrs["long_name"] == dataset.attrs["clock"] == "flow time"
    assert (dataset.attrs["successful"], dataset.attrs["format_version"]) == (0, 1)


def test_complex_numbers_come_back(path, as_a_user):
    eigenvalues = jnp.asarray(numbers(3, 2) + 1j * np.arange(6.0).reshape(3, 2))
    saved = trajectory(jnp.ones(3), observables={"complex": eigenvalues})
    save_trajectory(saved, path)
    assert_same(load_trajectory(path), saved)
