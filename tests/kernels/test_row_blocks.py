"""A Gram matrix kept row block by row block is the matrix, and a killed run goes on."""

import json

import numpy as np
import pytest

from flowkit.kernels import FullyConnected
from flowkit.kernels.row_blocks import describe_kernel, gram_by_row_blocks

ROUNDING = 1e-13
KERNEL = FullyConnected(2)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(11, 3))


@pytest.fixture
def z():
    return np.random.default_rng(1).normal(size=(7, 3))


class _Killed(Exception):
    pass


def _kill_after(tiles):
    def progress(done, total):
        if done > tiles:
            raise _Killed

    return progress


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_it_is_the_gram_matrix(x, z, tmp_path, rows, kind):
    options = {"kind": kind, "rows": rows}
    own = gram_by_row_blocks(KERNEL, x, folder=tmp_path / "own", **options)
    assert np.abs(own - KERNEL.gram(x, kind=kind)).max() < ROUNDING
    assert (own == own.T).all()
    between = gram_by_row_blocks(KERNEL, x, z, folder=tmp_path / "between", **options)
    assert np.abs(between - KERNEL.gram(x, z, kind=kind)).max() < ROUNDING


def test_the_folder_holds_the_matrix_and_says_what_it_is(x, tmp_path):
    gram = gram_by_row_blocks(KERNEL, x, folder=tmp_path, rows=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gram.json", "gram.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "gram.npy"), gram)
    described = json.loads((tmp_path / "gram.json").read_text())
    assert described["kernel"]["class"] == "FullyConnected"
    assert described["kernel"]["depth"] == 2
    assert (described["kind"], described["shape"], described["dtype"]) == (
        "ntk",
        [11, 11],
        "float64",
    )


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_killed_run_goes_on_where_it_was(x, z, tmp_path, symmetric):
    other = None if symmetric else z
    with pytest.raises(_Killed):
        gram_by_row_blocks(KERNEL, x, other, folder=tmp_path, rows=4, progress=_kill_after(4))
    finished = sorted(tmp_path.glob("rows-*.npy"))
    assert len(finished) == 2
    np.save(finished[0], np.load(finished[0]) + 1000)  # shows whether it is used

    seen = []
    gram = gram_by_row_blocks(
        KERNEL, x, other, folder=tmp_path, rows=2, progress=lambda done, total: seen.append(done)
    )
    change = np.abs(gram - KERNEL.gram(x, other))
    assert change[:4, :4].min() > 999
    assert change[4:, 4:].max() < ROUNDING
    assert seen == ([1, 3, 4, 5, 6] if symmetric else [2, 4, 5, 6])


def test_a_finished_matrix_is_not_computed_again(x, tmp_path, monkeypatch):
    gram = gram_by_row_blocks(KERNEL, x, folder=tmp_path)
    monkeypatch.setattr(FullyConnected, "gram", None)
    np.testing.assert_array_equal(gram_by_row_blocks(KERNEL, x, folder=tmp_path), gram)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kernel": FullyConnected(3)}, "kernel"),
        ({"kind": "nngp"}, "kind"),
        ({"scale": 2.0}, "rows_sha256"),
        ({"z": True}, "shape, columns_sha256"),
    ],
)
def test_another_matrix_is_refused(x, z, tmp_path, change, named):
    gram_by_row_blocks(KERNEL, x, folder=tmp_path)
    scaled = x * change.get("scale", 1.0)
    other = z if "z" in change else None
    with pytest.raises(ValueError, match=f"one that differs in {named}; choose another"):
        gram_by_row_blocks(
            change.get("kernel", KERNEL),
            scaled,
            other,
            folder=tmp_path,
            kind=change.get("kind", "ntk"),
        )


def test_the_number_of_rows_is_checked(x, tmp_path):
    with pytest.raises(ValueError, match="`rows` must be at least 1, but it is `0`"):
        gram_by_row_blocks(KERNEL, x, folder=tmp_path, rows=0)


def test_a_function_is_described_by_its_name_and_an_array_by_its_values():
    assert describe_kernel(json.dumps) == "json.dumps"
    assert describe_kernel((1, np.arange(2), None)) == [1, [0, 1], None]
