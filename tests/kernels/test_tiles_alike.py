"""Gram matrices by tiles of images that are alike: small angles, and numbers that overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional, FlipAveraged, LocalAverage, UnitDiagonal
from flowkit.kernels.base import pairwise_gram
from flowkit.kernels.tiles import running, tiled_gram

SINGLE = 5e-7  # relative error of float32, every entry
SMALLEST = 1e-8  # negative eigenvalue in float64, relative to the largest one


def images(count, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def alike():
    """Images, some repeated, scaled, or moved by 1e-8 to 1e-3 of their size; constant ones."""
    x = images(3, (6, 6, 2))
    noise = images(6, (6, 6, 2), seed=2)
    near = x[:1] + np.geomspace(1e-8, 1e-3, 6)[:, None, None, None] * noise
    return np.concatenate([x, x[:1], 2 * x[:1], near, -x[1:2]]).astype(np.float32)


READOUTS = {"gap": "gap", "flatten": "flatten", "local averages": LocalAverage(1)}


@pytest.mark.parametrize(
    "readout", ["gap", "flatten", pytest.param(LocalAverage(1), marks=pytest.mark.slow)], ids=str
)
def test_float32_is_exact_where_images_are_alike(readout):
    x, kernel = alike(), Convolutional(5, readout=readout, train_ends=True)
    single, double = (tiled_gram(kernel, a, kind="both") for a in (x, x.astype(float)))
    for found, expected in zip(single, double, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=SINGLE)


def test_float32_needs_no_setting_of_users():
    x = alike()
    expected = tiled_gram(Convolutional(4), x)
    with jax.enable_x64(new_val=False):
        found = tiled_gram(Convolutional(4), x)
    np.testing.assert_array_equal(found, expected)


def test_angles_that_blur_at_other_offsets_are_computed_in_float64():
    """Patches of little contrast are nearly parallel at every offset, not only at zero."""
    noise = images(4, (6, 6, 2), seed=4)
    x = (1 + np.geomspace(1e-4, 1e-2, 4)[:, None, None, None] * noise).astype(np.float32)
    kernel = Convolutional(5)
    expected = tiled_gram(kernel, x.astype(float))
    np.testing.assert_allclose(tiled_gram(kernel, x), expected, rtol=SINGLE)


def test_float32_alone_would_blur_them(monkeypatch):
    monkeypatch.setattr(running, "MOST_BLURRED", 1.0)
    with pytest.raises(AssertionError):
        test_angles_that_blur_at_other_offsets_are_computed_in_float64()


def test_gram_matrices_of_images_that_are_alike_are_positive_semidefinite():
    x = alike()
    for readout in ("gap", "flatten"):
        gram = tiled_gram(Convolutional(5, readout=readout), x.astype(float))
        values = np.linalg.eigvalsh(gram)
        assert values[0] > -SMALLEST * values[-1]


def without_contrast():
    """Images near a constant one, some repeated, so that angles are small at every offset."""
    noise = images(3, (6, 6, 2), seed=5)
    x = 1 + 1e-7 * noise[:1]
    return np.concatenate([x, x + 1e-12 * noise[1:2], x, 1 + 1e-7 * noise[2:]])


ALIKE = {"alike": lambda: alike().astype(float), "without contrast": without_contrast}


@pytest.mark.parametrize(("kind", "readout"), [("ntk", "flatten"), ("nngp", "gap")])
@pytest.mark.parametrize("made", ALIKE.values(), ids=ALIKE.keys())
def test_and_to_rounding_where_gram_takes_tiles(made, kind, readout, taken):
    x, kernel = made(), Convolutional(4, readout=readout)
    gram = np.asarray(kernel.gram(x, kind=kind))
    assert taken
    expected = pairwise_gram(kernel, jnp.asarray(x), None, kind)
    np.testing.assert_allclose(gram, expected, rtol=1e-13)
    np.testing.assert_array_equal(gram, gram.T)
    values = np.linalg.eigvalsh(gram)
    assert values[0] > -len(x) * np.finfo(float).eps * values[-1]


@pytest.mark.slow
def test_images_nearly_symmetric_are_exact_with_their_flips(taken):
    x = images(2, (4, 4, 2))
    x = np.concatenate([x, x[:1] + x[:1, :, ::-1] + 1e-8 * x[1:]])
    kernel = UnitDiagonal(FlipAveraged(Convolutional(3, readout="flatten", train_ends=True)))
    expected = pairwise_gram(kernel, jnp.asarray(x), None, "ntk")
    np.testing.assert_allclose(kernel.gram(x), expected, rtol=1e-13)
    index = np.arange(len(x))
    found = kernel.kernel.diagonal(x)
    expected = kernel.kernel._values(jnp.asarray(x), jnp.asarray(x), index, index, "ntk")
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert taken


@pytest.mark.slow
def test_what_is_not_finite_alone_takes_the_way_of_one_pair(taken, monkeypatch):
    x = images(4, (4, 4, 1))
    x[1] *= 1e200
    asked, whole = [], Convolutional._values

    def counted(kernel, x, z, rows, columns, kind):
        asked.append(set(zip(rows.tolist(), columns.tolist(), strict=True)))
        return whole(kernel, x, z, rows, columns, kind)

    monkeypatch.setattr(Convolutional, "_values", counted)
    gram = np.asarray(Convolutional(3).gram(x))
    assert taken
    assert asked == [{(i, 1) for i in range(4)} | {(1, i) for i in range(4)}]
    assert np.isinf(gram[1, 1])
    assert np.isfinite(np.delete(np.delete(gram, 1, 0), 1, 1)).all()


def test_jumps_in_float32_keep_the_maths_of_one_pair(taken):
    kernel, x = Convolutional(2, "step", train_ends=True), images(2, (2, 2, 1))
    kernel.gram(x.astype(np.float32), kind="nngp")
    assert not taken
    kernel.gram(x, kind="nngp")
    assert taken
