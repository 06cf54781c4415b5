"""Gram matrices by tiles: against the maths of one pair, and where they are used by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional, FlipAveraged, LocalAverage, UnitDiagonal
from flowkit.kernels.base import pairwise_gram
from flowkit.kernels.checks import KINDS
from flowkit.kernels.tiles import can_tile, gram, planning, registration, running, tiled_gram
from flowkit.kernels.tiles.blocks import Chosen

ROUNDING = 1e-12  # relative to the largest entry

SHAPE = (5, 4, 2)


def images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def assert_tiles_agree(kernel, x, z=None):
    found = tiled_gram(kernel, x, z, kind="both")
    for kind, values in zip(KINDS, found, strict=True):
        other = None if z is None else jnp.asarray(z)
        expected = np.asarray(pairwise_gram(kernel, jnp.asarray(x), other, kind))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(values, expected, rtol=0, atol=ROUNDING * scale, err_msg=kind)


NETWORKS = {
    "gap": dict(depth=4),
    "gap, ends": dict(depth=3, train_ends=True),
    "flatten": dict(depth=4, readout="flatten"),
    "depth 2": dict(depth=2, train_ends=True),
    "local averages": dict(depth=3, readout=LocalAverage(1)),
    "wide averages, circular": dict(depth=3, readout=LocalAverage(2), padding="circular"),
    "circular": dict(depth=4, padding="circular"),
    "5 x 3": dict(depth=3, filter_size=(5, 3)),
    "1 x 3, circular": dict(depth=3, filter_size=(1, 3), padding="circular"),
    "filters beyond the image": dict(depth=3, filter_size=(11, 7)),
    "filters beyond the image, circular": dict(depth=3, filter_size=(11, 7), padding="circular"),
    "biases": dict(depth=4, bias_variance=0.3, weight_variance=1.5),
    "some layers": dict(depth=5, bias_variance=0.2, train=[2, 4], train_biases=[1, 5]),
    "standard": dict(depth=4, parametrization="standard", width=64, bias_variance=0.1),
    "neural-tangents": dict(depth=3, convention="neural-tangents", readout="flatten"),
    "no dense layer": dict(depth=3, convention="neural-tangents", train_ends=False),
    "leaky": dict(depth=4, activation="leaky_relu"),
    "absolute": dict(depth=4, activation="abs", bias_variance=0.1),
    "erf": dict(depth=4, activation="erf", bias_variance=0.1),
    "gelu": dict(depth=3, activation="gelu", filter_size=(3, 1)),
}


LONG = {
    "gap, ends",
    "depth 2",
    "wide averages, circular",
    "1 x 3, circular",
    "filters beyond the image",
    "filters beyond the image, circular",
    "leaky",
    "biases",
    "neural-tangents",
    "no dense layer",
    "absolute",
    "gelu",
}


def cases(table, long):
    """The entries of a table, those that are not for every run marked."""
    slow = lambda name: (pytest.mark.slow,) if name in long else ()
    return [pytest.param(value, marks=slow(name), id=name) for name, value in table.items()]


@pytest.mark.parametrize("options", cases(NETWORKS, LONG))
def test_tiles_agree_with_the_maths_of_one_pair(options):
    x, z = images(2), images(3, seed=1)
    assert_tiles_agree(Convolutional(**options), x, z)


def test_networks_that_mix_offsets_keep_the_general_path():
    refused = [dict(strides=2), dict(pooling={1: 2}), dict(padding="valid")]
    assert not any(can_tile(Convolutional(3, **options)) for options in refused)
    assert all(can_tile(Convolutional(**options)) for options in NETWORKS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone_has_the_values_of_both(kind):
    x, z = images(3), images(2, seed=1)
    both = tiled_gram(Convolutional(4), x, z, kind="both")
    alone = tiled_gram(Convolutional(4), x, z, kind=kind)
    np.testing.assert_allclose(alone, both[KINDS.index(kind)], rtol=1e-14)


COUNTS = {str(counts): counts for counts in [(1, 1), (3, 40), (40, 3), (37, None)]}


@pytest.mark.parametrize("counts", cases(COUNTS, {"(3, 40)", "(37, None)"}))
def test_blocks_of_any_number_of_images_fit_together(counts, monkeypatch):
    monkeypatch.setattr(planning, "TILE_BYTES", 1)  # blocks of 16 lanes
    monkeypatch.setattr(planning, "MOST_ROWS", 5)
    x, z = images(counts[0]), counts[1] and images(counts[1], seed=1)
    assert_tiles_agree(Convolutional(3), x, z)


def test_a_gram_matrix_is_exactly_symmetric():
    ntk, nngp = tiled_gram(Convolutional(4), images(20), kind="both")
    np.testing.assert_array_equal(ntk, ntk.T)
    np.testing.assert_array_equal(nngp, nngp.T)


def test_gram_takes_the_tiles_by_itself(taken):
    x, z = images(2), images(3, seed=1)
    kernel = Convolutional(3)
    for kind in KINDS:
        expected = pairwise_gram(kernel, jnp.asarray(x), jnp.asarray(z), kind)
        np.testing.assert_allclose(kernel.gram(x, z, kind=kind), expected, rtol=ROUNDING)
    assert [options["kind"] for options in taken] == list(KINDS)
    Convolutional(3, strides=2).gram(x)
    assert len(taken) == 2


def test_small_matrices_are_not_worth_compiling(monkeypatch):
    monkeypatch.setattr(registration, "tiled_gram", None)
    Convolutional(3).gram(images(2))


@pytest.mark.slow
def test_traced_grams_are_compiled_whole_and_differentiable(taken):
    x = jnp.asarray(images(2, (3, 3, 1)))
    total = lambda variance, x: jnp.sum(Convolutional(3, weight_variance=variance).gram(x))
    slopes = jax.grad(total, argnums=(0, 1))(1.5, x)
    compiled = jax.jit(Convolutional(3).gram)(x)
    assert not taken
    np.testing.assert_allclose(compiled, Convolutional(3).gram(x), rtol=ROUNDING)
    step, direction = 1e-5, jnp.asarray(images(2, (3, 3, 1), seed=3))
    moved = lambda sign: total(1.5 + sign * step, x + sign * step * direction)
    slope = slopes[0] + jnp.vdot(slopes[1], direction)
    np.testing.assert_allclose((moved(1) - moved(-1)) / (2 * step), slope, rtol=1e-8)
    assert len(taken) == 3


WRAPPED = {
    "unit diagonal": UnitDiagonal,
    "flips": FlipAveraged,
    "both": lambda kernel: UnitDiagonal(FlipAveraged(kernel, ("height", "width"))),
    "flips of directions": lambda kernel: FlipAveraged(UnitDiagonal(kernel)),
}


@pytest.mark.parametrize("wrap", cases(WRAPPED, {"unit diagonal", "both", "flips of directions"}))
def test_wrapped_kernels_take_the_tiles_too(wrap, taken):
    x, z = jnp.asarray(images(3)), jnp.asarray(images(2, seed=1))
    kernel = wrap(Convolutional(3))
    for other in (None, z):
        expected = pairwise_gram(kernel, x, other, "ntk")
        np.testing.assert_allclose(kernel.gram(x, other), expected, rtol=ROUNDING)
    index = np.arange(3)
    expected = kernel._values(x, x, index, index, "ntk")
    np.testing.assert_allclose(kernel.diagonal(x), expected, rtol=ROUNDING)
    assert taken


def test_a_thread_needs_little_memory():
    """So 2,000 x 2,000 images of 32 x 32 need 3 GB only where there are more than 50 cores."""
    kernel, shape, count = Convolutional(11), (32, 32, 3), 2000
    with jax.enable_x64(new_val=True):
        block, _ = gram.block_of(kernel, shape, np.dtype(np.float32), None, tangent=True)
        cut = planning.plan(
            (count, count), (32, 32), offsets=33**2, layers=10, itemsize=4, triangle=True
        )
        some = lambda number: jnp.zeros((number, *shape))
        chosen = Chosen(jnp.arange(33**2), jnp.asarray(0), jnp.asarray(33**2))
        program = running.programs(type(block))[False].lower(
            block, some(cut.rows), some(cut.lanes), chosen
        )
        use = program.compile().memory_analysis()
    per_thread = use.temp_size_in_bytes + use.argument_size_in_bytes + use.output_size_in_bytes
    assert per_thread < 5e7
    assert 6 * 8 * count**2 + 50 * per_thread < 3e9  # six matrices: sums, both kinds, mirrored
