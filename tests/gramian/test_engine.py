"""A Gram matrix computed tile by tile is the matrix, in memory or in a store."""

import sys

import jax
import numpy as np
import pytest
from gramian.plain import Plain, Root

import flowkit as fk
from flowkit.gramian.geometry import Axis, Cut, balanced, usual_tile
from flowkit.gramian.meter import metered
from flowkit.kernels import Convolutional, FlipAveraged, FullyConnected, UnitDiagonal

ROUNDING = 1e-13
KERNEL = FullyConnected(2)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(11, 3))


@pytest.fixture
def z():
    return np.random.default_rng(1).normal(size=(7, 3))


def gram(*arguments, **options):
    return fk.gram(*arguments, **({"progress": False} | options))


@pytest.mark.parametrize(
    ("kernel", "tile"), [*((Plain(), tile) for tile in (1, 4, 5, 100, None)), (KERNEL, 4)]
)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("stored", [False, True])
def test_it_is_the_gram_matrix(x, z, tmp_path, kernel, tile, kind, stored):
    options = {"kind": kind, "tile": tile}
    own = np.asarray(gram(kernel, x, **options, store=tmp_path / "own" if stored else None))
    assert np.abs(own - kernel.gram(x, kind=kind)).max() < ROUNDING
    assert (own == own.T).all()
    store = tmp_path / "between" if stored else None
    between = np.asarray(gram(kernel, x, z, **options, store=store))
    assert np.abs(between - kernel.gram(x, z, kind=kind)).max() < ROUNDING


@pytest.mark.parametrize("stored", [False, True])
def test_both_kinds_come_in_one_pass(x, z, tmp_path, stored):
    for name, columns in (("own", None), ("between", z)):
        store = tmp_path / name if stored else None
        both = gram(Plain(), x, columns, kind="both", tile=4, store=store)
        for kind, found in both._asdict().items():
            np.testing.assert_allclose(found, Plain().gram(x, columns, kind=kind), atol=ROUNDING)


@pytest.mark.parametrize(
    ("kernel", "shape"),
    [
        pytest.param(UnitDiagonal(KERNEL), (3,), id="unit diagonal"),
        pytest.param(FlipAveraged(Convolutional(2)), (2, 3, 1), id="flips", marks=pytest.mark.slow),
    ],
)
def test_a_kernel_gives_both_kinds_in_one_pass(kernel, shape):
    x, z = (np.random.default_rng(i).normal(size=(n, *shape)) for i, n in ((0, 3), (1, 2)))
    for columns in (None, z):
        for kind, found in kernel.grams(x, columns)._asdict().items():
            np.testing.assert_allclose(found, kernel.gram(x, columns, kind=kind), rtol=ROUNDING)


def test_single_precision_and_integers_keep_to_the_type_of_the_kernel(x, tmp_path):
    single = gram(KERNEL, x.astype(np.float32), store=tmp_path)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, KERNEL.gram(x.astype(np.float32)))
    assert gram(KERNEL, np.eye(3, dtype=int)).dtype == np.float64


@pytest.mark.parametrize("tile", [3, 4])
def test_leading_squares_and_leading_rows_are_finished_first(tile):
    side = Axis(tile, (10,))
    tiles = list(Cut(side, side, symmetric=True).tiles())
    assert len(set(tiles)) == len(tiles) == side.count * (side.count + 1) // 2
    assert [max(t) for t in tiles] == sorted(max(t) for t in tiles)
    rows = [i for i, _ in Cut(side, Axis(3, (6,)), symmetric=False).tiles()]
    assert rows == sorted(rows)
    assert len(rows) == 2 * side.count


def test_parts_of_tiles_cover_every_pair_once():
    side = Axis(4, (3, 5, 6, 11))
    for cut in (Cut(side, side, symmetric=True), Cut(side, Axis(3, (2, 7)), symmetric=False)):
        times = np.zeros((cut.rows.points, cut.columns.points), int)
        pairs = 0
        for tile in cut.tiles():
            for part in cut.parts(tile):
                pairs += part.pairs
                times[slice(*part.rows), slice(*part.columns)] += 1
                if cut.symmetric and not part.diagonal:
                    times[slice(*part.columns), slice(*part.rows)] += 1
        assert (times == 1).all()
        assert pairs == cut.pairs()


def test_tiles_are_about_equal_and_neither_small_nor_large():
    assert [usual_tile(n) for n in (1, 300, 1797, 50_000)] == [16, 19, 113, 256]
    for points, tile in ((11, 4), (50_000, 256), (7, 100), (257, 256)):
        size = balanced(points, tile)
        count = -(-points // size)
        assert count == -(-points // tile)
        assert size <= tile
        assert count * size - points < count


def test_progress_counts_pairs(x):
    seen = []
    gram(KERNEL, x, tile=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 66)
    assert [done for done, _ in seen] == [0, 10, 26, 36, 48, 60, 66]


def test_the_bar_shows_pairs_per_second(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = []
    monkeypatch.setattr(
        sys,
        "stderr",
        type(
            "Tty",
            (),
            {
                "write": lambda self, text: shown.append(text),
                "flush": lambda self: None,
                "isatty": lambda self: True,
            },
        )(),
    )
    with metered(True, 100, 1000) as advance:
        for _ in range(5):
            advance(100)
    assert "pairs/s" in "".join(shown)


def test_a_value_that_is_no_number_is_refused(x):
    x[:, 0] = np.where(np.arange(len(x)) == 4, -1, 1)
    with pytest.raises(ValueError, match="its ntk of row 0 and column 4 is nan"):
        gram(Root(), x, tile=4)


def test_the_library_changes_no_setting(x):
    before = dict(jax.config.values)
    gram(KERNEL, x)
    assert dict(jax.config.values) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "`tile` must be an integer of at least 1, but it is `0`"),
        ({"tile": 2.5}, "`tile` must be an integer of at least 1, but it is `2.5`"),
        ({"kind": "cntk"}, "`kind` must be `ntk`, `nngp` or `both`, but it is `'cntk'`"),
        ({"client": object()}, "`client` must be a `distributed.Client`, but it is a `object`"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_is_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        gram(KERNEL, x, **options)


def test_the_kernel_refuses_inputs(x):
    with pytest.raises(ValueError, match="`x` must be a non-empty array of inputs x features"):
        gram(KERNEL, x[0])
    with pytest.raises(ValueError, match="`z` must agree with `x` in features"):
        gram(KERNEL, x, x[:, :2])
