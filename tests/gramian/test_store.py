"""What a store keeps: nothing corrupt, nothing twice, and no other matrix than its own."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from gramian.plain import KERNEL, Killed, Plain, gram, kill_at

import flowkit as fk
from flowkit.gramian import open_gram
from flowkit.kernels import FullyConnected

ROUNDING = 1e-13


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(11, 3))


@pytest.fixture
def z():
    return np.random.default_rng(1).normal(size=(7, 3))


@pytest.fixture
def counted(monkeypatch):
    """The numbers of pairs that kernels were asked for, call by call."""
    counts, true_gram = [], Plain.gram

    def gram(self, x, z=None, **options):
        counts.append(len(x) * (len(x) + 1) // 2 if z is None else len(x) * len(z))
        return true_gram(self, x, z, **options)

    monkeypatch.setattr(Plain, "gram", gram)
    return counts


@pytest.mark.parametrize("symmetric", [True, False])
def test_an_ended_run_goes_on_where_it_was(x, z, tmp_path, counted, symmetric):
    other = None if symmetric else z
    whole = gram(x, other)
    counted.clear()
    with pytest.raises(Killed):
        gram(x, other, store=tmp_path, progress=kill_at(30))
    first, seen = sum(counted), []
    found = gram(
        x, other, store=tmp_path, tile=2, progress=lambda done, total: seen.append((done, total))
    )
    assert sum(counted) == (66 if symmetric else 77)
    assert seen[0] == (first, sum(counted))
    np.testing.assert_array_equal(found, whole)


def test_an_unfinished_square_can_be_used(x, tmp_path):
    with pytest.raises(Killed):
        gram(x, store=tmp_path, progress=kill_at(36))
    partial = open_gram(tmp_path)
    assert partial.complete == 8
    np.testing.assert_array_equal(partial[:8, :8], gram(x)[:8, :8])
    assert np.isnan(partial[8:, 8:]).all()
    gram(x, store=tmp_path)
    assert open_gram(tmp_path).complete == len(x)


def test_unfinished_rows_can_be_used(x, z, tmp_path):
    with pytest.raises(Killed):
        gram(x, z, store=tmp_path, progress=kill_at(29))
    assert open_gram(tmp_path).complete == 4


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_finished_matrix_is_not_computed_again(x, z, tmp_path, counted, symmetric):
    other = None if symmetric else z
    found = np.asarray(gram(x, other, store=tmp_path))
    counted.clear()
    np.testing.assert_array_equal(gram(x, other, store=tmp_path), found)
    assert counted == []


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"flipped": None, "torn": 20, "empty": 0}[how]])


@pytest.mark.parametrize("how", ["flipped", "torn", "empty"])
def test_a_damaged_tile_is_found_and_computed_again(x, tmp_path, counted, how):
    whole = np.asarray(gram(x, store=tmp_path))
    damage(tmp_path / "ntk/c/1/2", how)
    for read in (lambda g: g[5, 9], lambda g: g[9, 5], lambda g: g(np.ones((11, 1)))):
        with pytest.raises(ValueError, match=r"in the ntk of .* a tile of .* is damaged; `flowkit"):
            read(open_gram(tmp_path))
    counted.clear()
    np.testing.assert_array_equal(gram(x, store=tmp_path), whole)
    assert counted == [4 * 3]


def test_appended_points_cost_only_what_is_new(x, tmp_path, counted):
    first = np.asarray(gram(x[:6], store=tmp_path))
    for count in (7, 11):
        counted.clear()
        before = first
        first = np.asarray(gram(x[:count], store=tmp_path))
        new = count * (count + 1) // 2 - len(before) * (len(before) + 1) // 2
        assert sum(counted) == new
        np.testing.assert_array_equal(first[: len(before), : len(before)], before)
        assert np.abs(first - KERNEL.gram(x[:count])).max() < ROUNDING
    counted.clear()
    gram(x, store=tmp_path)
    assert counted == []


def test_appending_goes_on_after_its_end_and_after_damage(x, tmp_path, counted):
    gram(x[:6], store=tmp_path)
    whole = np.asarray(gram(x, store=tmp_path))
    other = tmp_path / "other"
    gram(x[:6], store=other)
    with pytest.raises(Killed):
        gram(x, store=other, progress=kill_at(40))
    for damaged in ("0/0", "1/1"):
        damage(other / "ntk/c" / damaged, "torn")
    np.testing.assert_array_equal(gram(x, store=other), whole)


def test_rows_and_columns_are_appended_to_a_matrix_between_two_sets(x, z, tmp_path, counted):
    gram(x[:5], z[:3], store=tmp_path)
    counted.clear()
    found = gram(x, z, store=tmp_path)
    assert sum(counted) == 11 * 7 - 5 * 3
    assert np.abs(np.asarray(found) - KERNEL.gram(x, z)).max() < ROUNDING


def test_a_kind_is_added_to_a_store(x, tmp_path, counted):
    ntk = np.asarray(gram(x, store=tmp_path))
    with pytest.raises(ValueError, match="`kind` must be `ntk` for this store, but it is `nngp`"):
        open_gram(tmp_path, kind="nngp")
    counted.clear()
    both = gram(x, store=tmp_path, kind="both")
    assert sum(counted) == 66  # the other kind's alone
    np.testing.assert_array_equal(both.ntk, ntk)
    assert np.abs(np.asarray(both.nngp) - KERNEL.gram(x, kind="nngp")).max() < ROUNDING


def test_a_kind_that_is_not_asked_for_grows_as_well(x, tmp_path):
    gram(x[:6], store=tmp_path, kind="both")
    gram(x, store=tmp_path)
    for kind, count in (("ntk", 11), ("nngp", 6)):
        assert open_gram(tmp_path, kind=kind).complete == count
    assert np.isnan(np.asarray(open_gram(tmp_path, kind="nngp"))[:, 6:]).all()
    whole = np.asarray(gram(x, store=tmp_path, kind="nngp"))
    assert np.abs(whole - KERNEL.gram(x, kind="nngp")).max() < ROUNDING


def test_what_an_array_lacks_that_was_not_grown_before_the_end_is_nan(x, tmp_path):
    before = np.asarray(gram(x[:6], store=tmp_path))
    gram(x, store=tmp_path)
    zarr.open_group(tmp_path)["ntk"].resize((6, 6))
    found = open_gram(tmp_path)
    assert found.complete == 6
    np.testing.assert_array_equal(found[:6, :6], before)
    assert np.isnan(found[:, 6:]).all()
    assert np.isnan(found(np.ones((11, 1)))).all()


def test_a_folder_with_nothing_but_unfinished_files_is_empty(x, tmp_path):
    (tmp_path / "zarr.0123.partial").write_text("{")
    assert gram(x, store=tmp_path).complete == len(x)


@pytest.mark.parametrize("spelled", [str, Path])
def test_a_relative_path_is_that_of_the_folder_in_which_the_run_began(
    x, tmp_path, monkeypatch, spelled
):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    found = gram(x, store=spelled("own"))
    monkeypatch.chdir(tmp_path / "other")
    np.testing.assert_array_equal(found, gram(x))


def test_a_run_whose_array_has_grown_spoils_nothing(x, tmp_path):
    def append(done, total):
        if done == 0:
            with pytest.raises(Killed):
                gram(x, store=tmp_path, progress=kill_at(10))

    with pytest.raises(ValueError, match=r"the ntk of .* has grown from \(7, 7\) to \(11, 11\)"):
        gram(x[:7], store=tmp_path, progress=append)
    np.testing.assert_array_equal(gram(x, store=tmp_path)[:7, :7], gram(x[:7]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kernel": Plain(3)}, r"`kernel.depth` \(2, not 3\)"),
        ({"kernel": FullyConnected(2)}, r"`kernel` \(gramian.plain.Plain, not FullyConnected\)"),
        ({"scale": 2.0}, r"`x` \(its first 11 inputs are others\)"),
        ({"count": 10}, r"`x` \(11 inputs, not 10\)"),
        ({"z": True}, r"`symmetric` \(True, not False\)"),
        ({"dtype": np.float32}, r"`dtype` \('float64', not 'float32'\)"),
        ({"features": 2}, r"`input_shape` \(\[3\], not \[2\]\)"),
    ],
)
def test_another_matrix_is_refused(x, z, tmp_path, change, named):
    gram(x, store=tmp_path)
    other = (x * change.get("scale", 1.0)).astype(change.get("dtype", float))
    other = other[: change.get("count"), : change.get("features")]
    columns = z if "z" in change else None
    kernel = change.get("kernel", KERNEL)
    with pytest.raises(ValueError, match=f"differs in .*{named}.*; choose another folder or store"):
        fk.gram(kernel, other, columns, store=tmp_path, progress=False)


def test_another_batch_among_those_appended_is_refused(x, tmp_path):
    gram(x[:4], store=tmp_path)
    gram(x[:8], store=tmp_path)
    x[5] += 1
    with pytest.raises(ValueError, match=r"`x` \(its first 8 inputs are others\)"):
        gram(x, store=tmp_path)
    x[2] += 1
    with pytest.raises(ValueError, match=r"`x` \(its first 4 inputs are others\)"):
        gram(x, store=tmp_path)


def test_what_is_no_gram_matrix_is_left_alone(x, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    zarr.create_group(tmp_path / "group", attributes={"mine": 1})
    zarr.create_array(tmp_path / "array", shape=(2,), dtype=float)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/zarr.json").write_text('{"zarr_')
    for name in ("folder", "file", "group", "array", "broken"):
        with pytest.raises(ValueError, match="`store` must be empty or hold a Gram matrix, but"):
            gram(x, store=tmp_path / name)
    with pytest.raises(ValueError, match=r"`store` must hold a Gram matrix, but .* is empty"):
        open_gram(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["notes.txt"]


def test_a_newer_format_is_refused(x, tmp_path):
    gram(x, store=tmp_path)
    group = zarr.open_group(tmp_path)
    group.attrs["gram"] = dict(group.attrs)["gram"] | {"format_version": 2}
    with pytest.raises(ValueError, match=r"of format version 1 or older, but .* of version 2"):
        gram(x, store=tmp_path)


def test_other_programs_read_the_triangle(x, tmp_path):
    whole = np.asarray(gram(x, store=tmp_path))
    stored = zarr.open_array(tmp_path / "ntk")[...]
    assert zarr.open_group(tmp_path).metadata.zarr_format == 3
    upper = np.triu_indices(len(x))
    np.testing.assert_array_equal(stored[upper], whole[upper])
    assert np.isnan(stored[8:, :4]).all()
