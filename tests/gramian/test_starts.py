"""What a run finds when it starts: how much is missing, and whether another came first."""

from typing import Any

import numpy as np
import pytest
import zarr
import zarr.buffer
from gramian.plain import KERNEL, Killed, gram, kill_at

from flowkit.gramian import missing_pairs, open_gram
from flowkit.gramian.manifests import MANIFEST, TakenError, existing_manifest, new_group


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(11, 3))


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_is_missing_is_what_a_run_computes(x, tmp_path, symmetric):
    other = None if symmetric else x[:7]
    store, seen = tmp_path / "store", []
    missing = lambda inputs, **options: missing_pairs(KERNEL, inputs, other, store=store, **options)
    whole = 66 if symmetric else 77
    assert missing(x) == whole
    assert not store.exists()
    with pytest.raises(Killed):
        gram(x[:9], other, store=store, progress=kill_at(20))
    before = snapshot(store)
    found = missing(x), missing(x, kind="nngp"), missing(x, kind="both")
    assert snapshot(store) == before
    gram(x, other, store=store, progress=lambda done, total: seen.append(total - done))
    assert found == (seen[0], whole, whole)
    assert missing(x) == 0


def test_another_matrix_is_refused_before_it_is_counted(x, tmp_path):
    gram(x, store=tmp_path)
    with pytest.raises(ValueError, match=r"differs in `x` \(its first 11 inputs are others\)"):
        missing_pairs(KERNEL, x + 1, store=tmp_path)
    with pytest.raises(ValueError, match="`tile` must be an integer of at least 1"):
        missing_pairs(KERNEL, x, store=tmp_path, tile=0)


def _another_run_first(monkeypatch, run):
    """Let another run make its store after this one has found none, and before it makes its own."""
    from flowkit.gramian import store

    def create(*arguments):
        monkeypatch.setattr(store, "new_group", new_group)
        run()
        return new_group(*arguments)

    monkeypatch.setattr(store, "new_group", create)


@pytest.mark.parametrize("inside", ["folder", "memory"])
@pytest.mark.parametrize("same", [True, False])
def test_of_two_runs_that_start_at_once_the_second_looks_again(
    x, tmp_path, monkeypatch, same, inside
):
    place = tmp_path if inside == "folder" else zarr.storage.MemoryStore()
    _another_run_first(monkeypatch, lambda: gram(x if same else x + 1, store=place))
    if same:
        np.testing.assert_array_equal(gram(x, store=place), gram(x))
        return
    with pytest.raises(ValueError, match=r"differs in `x` \(its first 11 inputs are others\)"):
        gram(x, store=place)
    np.testing.assert_array_equal(open_gram(place), gram(x + 1))


@pytest.mark.parametrize("there", [0, 8])
@pytest.mark.parametrize("same", [True, False])
def test_a_store_that_changes_after_it_was_read_is_read_again(
    x, tmp_path, monkeypatch, same, there
):
    from flowkit.gramian import engine

    rest = x if same else np.concatenate([x[:there], x[there:] + 1])
    if there:
        gram(x[:there], store=tmp_path)

    def read(store):
        known = existing_manifest(store)
        monkeypatch.setattr(engine, "existing_manifest", existing_manifest)
        gram(rest, store=store)
        return known

    monkeypatch.setattr(engine, "existing_manifest", read)
    if same:
        np.testing.assert_array_equal(gram(x, store=tmp_path), gram(x))
        return
    with pytest.raises(ValueError, match=r"differs in `x` \(.* 11 inputs are others\)"):
        gram(x, store=tmp_path)
    np.testing.assert_array_equal(open_gram(tmp_path), gram(rest))


def test_a_manifest_is_never_written_over_another(tmp_path):
    new_group(str(tmp_path), {"of": 1})
    assert dict(new_group(str(tmp_path), {"of": 1}).attrs) == {MANIFEST: {"of": 1}}
    with pytest.raises(TakenError):
        new_group(str(tmp_path), {"of": 2})
    assert dict(zarr.open_group(tmp_path).attrs) == {MANIFEST: {"of": 1}}
    assert list(tmp_path.rglob("*.partial")) == []


class Contested(zarr.storage.WrapperStore):
    """A store in which another run writes its group just before this one does."""

    other: Any = None

    async def set(self, key, value):
        await self._come_first(key)
        await super().set(key, value)

    async def set_if_not_exists(self, key, value):
        await self._come_first(key)
        await super().set_if_not_exists(key, value)

    async def _come_first(self, key):
        if self.other is not None and key == "zarr.json":
            await self._store.set(key, self.other)
            self.other = None


def test_a_manifest_is_not_written_over_one_that_came_in_between():
    from zarr.core.sync import sync

    rival = zarr.storage.MemoryStore()
    new_group(rival, {"of": 2})
    store = Contested(zarr.storage.MemoryStore())
    prototype = zarr.buffer.default_buffer_prototype()
    store.other = sync(rival.get("zarr.json", prototype=prototype))
    with pytest.raises(TakenError):
        new_group(store, {"of": 1})
    assert dict(zarr.open_group(store).attrs) == {MANIFEST: {"of": 2}}
