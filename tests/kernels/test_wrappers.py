"""Kernels made of a kernel: flips against augmented data, and the unit diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional, FlipAveraged, FullyConnected, UnitDiagonal

ROUNDING = 1e-13

EVEN = Convolutional(3, readout="flatten")
UNEVEN = Convolutional(3, readout="flatten", strides={1: 2})  # sees an image from its left


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 2, 4, 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_unit_diagonal_divides_by_norms(kind):
    x, z = images(3), images(2, seed=1)
    kernel = UnitDiagonal(EVEN)
    norms = lambda a: np.sqrt(EVEN.diagonal(a, kind=kind))
    expected = EVEN.gram(x, z, kind=kind) / np.outer(norms(x), norms(z))
    np.testing.assert_allclose(kernel.gram(x, z, kind=kind), expected, rtol=ROUNDING)
    np.testing.assert_allclose(kernel.pair(x[0], z[1], kind=kind), expected[0, 1], rtol=ROUNDING)
    np.testing.assert_allclose(kernel.diagonal(x, kind=kind), 1, rtol=ROUNDING)
    gram = kernel.gram(x, kind=kind)
    assert jnp.array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(gram).min() > -ROUNDING


def test_a_zero_input_has_no_direction_and_a_finite_gradient():
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    kernel = UnitDiagonal(FullyConnected(3))
    gram = kernel.gram(x)
    np.testing.assert_allclose(gram, [[0, 0], [0, 1]], atol=ROUNDING)
    assert jnp.isfinite(jax.grad(lambda x: kernel.gram(x).sum())(jnp.asarray(x))).all()


@pytest.mark.parametrize("flipped", [("width",), ("height", "width")], ids=len)
@pytest.mark.parametrize(
    "inner", [EVEN, pytest.param(UNEVEN, marks=pytest.mark.slow)], ids=["even", "uneven"]
)
def test_flips_average_the_gram_matrix_of_all_mirror_images(inner, flipped):
    x, turns = images(3), [x_turned for x_turned in (lambda a: a, lambda a: a[:, :, ::-1])]
    if "height" in flipped:
        turns += [lambda a: a[:, ::-1], lambda a: a[:, ::-1, ::-1]]
    everything = np.concatenate([turn(x) for turn in turns])
    blocks = np.asarray(inner.gram(everything)).reshape(len(turns), 3, len(turns), 3)
    gram = FlipAveraged(inner, flipped).gram(x)
    np.testing.assert_allclose(gram, blocks.mean((0, 2)), rtol=1e-12)


def test_flipped_images_are_the_same_inputs():
    x = images(2)
    kernel = UnitDiagonal(FlipAveraged(EVEN))
    np.testing.assert_allclose(kernel.gram(x, x[:, :, ::-1]), kernel.gram(x), rtol=1e-12)
    single = EVEN.gram(x, x[:, :, ::-1])
    assert abs(single[0, 0] / EVEN.gram(x)[0, 0] - 1) > 0.1  # which the kernel alone does not see


@pytest.mark.slow
def test_an_uneven_kernel_is_not_taken_for_an_even_one():
    x = images(2)
    one_sided = (UNEVEN.gram(x) + UNEVEN.gram(x, x[:, :, ::-1])) / 2
    assert np.abs(FlipAveraged(UNEVEN).gram(x) / one_sided - 1).max() > 1e-3


def test_wrong_kernels_and_axes_are_refused():
    with pytest.raises(ValueError, match=r"`kernel` must be one of images, .* \('features',\)"):
        FlipAveraged(FullyConnected(3))
    with pytest.raises(ValueError, match="`flipped` must hold `height`, `width` or both"):
        FlipAveraged(EVEN, ())
