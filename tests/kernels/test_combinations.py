"""Every combination of options against `slow_kernels`, and closed forms of special networks."""

import itertools

import equinox as eqx
import numpy as np
import pytest
import slow_kernels

from flowkit.kernels import Convolutional, FullyConnected, LocalAverage

ROUNDING = 1e-12  # of the largest entry; sums of some hundred terms, and arccos

READOUTS = {"gap": "gap", "flatten": "flatten", "local average": LocalAverage(1)}
TRAINED = ((True, None), (False, None), (None, "last"), (None, "first and third"))


def images(shape, count=2, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def values(kernel, x, z):
    return np.array(eqx.filter_jit(kernel._pair)(np.asarray(x), np.asarray(z)))


def assert_agrees(kernel, expected, x, z):
    np.testing.assert_allclose(values(kernel, x, z), expected, rtol=ROUNDING)


def trained(depth, ends, which):
    """Arguments of the kernel, and the layers that are trained."""
    if which is None:
        return {"train_ends": ends}, range(1, depth + 1) if ends else range(2, depth)
    layers = [depth] if which == "last" else [h for h in (1, 3) if h <= depth]
    return {"train": layers}, layers


def check(depth, readout, train, shape, padding="zero", strides=None):
    arguments, layers = trained(depth, *train)
    kernel = Convolutional(
        depth, readout=readout, padding=padding, strides=strides or {}, **arguments
    )
    x, z = images(shape)
    options = {"readout": readout, "padding": padding, "strides": strides}
    assert_agrees(kernel, slow_kernels.convolutional(x, z, depth, train=layers, **options), x, z)


SOME = {  # each depth, read-out, choice of layers, padding and stride at least twice
    "2 gap": (2, "gap", TRAINED[0], (4, 3, 2), "valid", None),
    "2 flatten": (2, "flatten", TRAINED[2], (3, 4, 1), "circular", {1: (1, 2)}),
    "3 gap": (3, "gap", TRAINED[1], (3, 5, 1), "circular", None),
    "3 flatten": (3, "flatten", TRAINED[3], (5, 3, 2), "zero", {2: (2, 1)}),
    "3 local average": (3, LocalAverage(2), TRAINED[0], (3, 4, 3), "circular", None),
    "4 flatten": (4, "flatten", TRAINED[1], (2, 5, 2), "zero", {1: (1, 2), 3: (2, 2)}),
    "4 local average": (4, LocalAverage(1), TRAINED[3], (4, 2, 2), "zero", None),
    "5 gap": (5, "gap", TRAINED[2], (3, 2, 2), "zero", {2: (1, 2)}),
    "5 local average": (5, LocalAverage(1), TRAINED[1], (2, 4, 1), "zero", None),
}


@pytest.mark.parametrize("case", SOME.values(), ids=SOME.keys())
def test_combinations(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("strides", [None, {1: (2, 1)}], ids=["plain", "strides"])
@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize("train", TRAINED, ids=str)
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS.keys())
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_all_combinations(depth, readout, train, padding, strides):
    check(depth, readout, train, (4, 3, 2), padding, strides)


@pytest.mark.slow
@pytest.mark.parametrize("train", TRAINED, ids=str)
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS.keys())
@pytest.mark.parametrize("depth", [2, 3])
def test_all_combinations_with_valid_padding(depth, readout, train):
    check(depth, readout, train, (6, 5, 2), "valid")


def test_everything_at_once():
    x, z = images((6, 5, 2))
    options = {"train": [1, 3], "train_biases": [2, 4], "padding": "circular", "width": 32}
    kernel = Convolutional(
        *(4, "erf"),
        **{"filter_size": (3, 1), "readout": LocalAverage(1), "strides": {1: (1, 2)}},
        **{"pooling": {2: (2, 1)}, "weight_variance": 1.7, "bias_variance": 0.3},
        **{"convention": "neural-tangents", "parametrization": "standard"},
        **options,
    )
    expected = slow_kernels.convolutional(
        *(x, z, 4, "erf"),
        **{"size": (3, 1), "readout": LocalAverage(1), "strides": {1: (1, 2)}},
        **{"pooling": {2: (2, 1)}, "weight": 1.7, "bias": 0.3, "published": False},
        **options,
    )
    assert_agrees(kernel, expected, x, z)


@pytest.mark.parametrize("convention", ["arora", "neural-tangents"])
@pytest.mark.parametrize("depth", [1, 4])
def test_fully_connected_with_chosen_layers_and_biases(depth, convention):
    x, z = images((5,))
    train, biases = ([1], []) if depth == 1 else ([1, 3], [2, 4])
    kernel = FullyConnected(
        *(depth, "erf"),
        **{"convention": convention, "weight_variance": 1.7, "bias_variance": 0.3},
        **{"train": train, "train_biases": biases},
    )
    published = convention == "arora"
    options = {"published": published, "weight": 1.7, "bias": 0.3}
    expected = np.array(
        slow_kernels.fully_connected(
            x, z, depth, "erf", train=train, train_biases=biases, **options
        )
    )
    if depth == 1:  # its bias is not trained
        expected[0] -= 0.3
    assert_agrees(kernel, expected, x, z)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_a_linear_network_has_the_kernel_of_its_filters(readout):
    """Without an activation the maps compose: Sigma is a power of the box, Theta depth times it."""
    depth, (x, z) = 4, images((3, 4, 2))
    kernel = Convolutional(depth, "identity", readout=readout, train_ends=True)
    shift = lambda n: sum(np.eye(n, k=k)[:, :, None, None] * np.eye(n, k=k) for k in (-1, 0, 1))
    products = np.einsum("abc,dec->adbe", x, z)
    for _ in range(depth - 1):
        products = np.einsum("ikjl,klbe->ijbe", shift(3).transpose(0, 1, 2, 3), products)
        products = np.einsum("ikjl,abkl->abij", shift(4), products)
    products /= 9 ** (depth - 1)
    sigma = products.mean() if readout == "gap" else np.einsum("aabb->", products)
    assert_agrees(kernel, [depth * sigma, sigma], x, z)


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_pooling_of_a_circular_network_averages_over_translations(bias):
    """Global pooling is the mean over translations of one image, before flatten."""
    x, z = images((3, 4, 2))
    options = {"padding": "circular", "convention": "neural-tangents", "bias_variance": bias}
    pooled, flat = (
        eqx.filter_jit(Convolutional(3, readout=r, **options)._pair) for r in ("gap", "flatten")
    )
    moves = itertools.product(range(3), range(4))
    moved = [np.array(flat(x, np.roll(z, move, (0, 1)))) for move in moves]
    np.testing.assert_allclose(np.array(pooled(x, z)), np.mean(moved, axis=0), rtol=ROUNDING)


def test_filters_of_one_pixel_leave_the_fully_connected_kernel_of_each():
    x, z = images((2, 3, 4))
    options = {"weight_variance": 1.4, "bias_variance": 0.1, "train": [1, 3]}
    dense = FullyConnected(3, **options)
    pixels = [np.diag(gram) for gram in dense.grams(x.reshape(6, 4), z.reshape(6, 4))]
    kernel = Convolutional(3, filter_size=1, readout="flatten", **options)
    expected = np.sum(pixels, axis=1) - 5 * 0.1  # one read-out bias, not one for each pixel
    assert_agrees(kernel, expected, x, z)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_local_averages_lie_between_flatten_and_global(padding):
    x, z = images((3, 2, 2))
    kernel = lambda readout: values(
        Convolutional(3, readout=readout, train_ends=True, padding=padding), x, z
    )
    np.testing.assert_allclose(kernel(LocalAverage(0)), kernel("flatten"), rtol=ROUNDING)
    if padding == "zero":  # all six windows of 5 x 5 hold the whole image
        expected = 6 * (6 / 25) ** 2 * kernel("gap")
        np.testing.assert_allclose(kernel(LocalAverage(2)), expected, rtol=ROUNDING)


BAD = {
    "readout": ({"readout": "mean"}, "`readout` must be `gap`, `flatten` or a `LocalAverage`"),
    "padding": ({"padding": "same"}, "`padding` must be `zero`, `circular` or `valid`"),
    "filter": ({"filter_size": (3, 2)}, r"`filter_size` must be odd, but it is `\(3, 2\)`"),
    "strides": ({"strides": 0}, "`strides` must be an integer of at least 1"),
    "layer": ({"strides": {3: 2}}, "`strides` must map layers from 1 to 2, but it maps `3`"),
    "pooling": ({"pooling": {0: 2}}, "`pooling` must map layers from 1 to 2"),
    "train": ({"train": [4]}, r"`train` must hold layers from 1 to the depth, 3, .* `\[4\]`"),
    "both": ({"train": [2], "train_ends": True}, "`train` must not come with `train_ends`"),
    "convention": ({"convention": "jax"}, "`convention` must be `arora` or `neural-tangents`"),
    "width": ({"width": 3}, "`width` must be given with `parametrization='standard'`"),
    "no width": ({"parametrization": "standard"}, "`width` must be given"),
    "parametrization": ({"parametrization": "mup"}, "`parametrization` must be `ntk` or `stand"),
    "variance": ({"weight_variance": -1.0}, "`weight_variance` must be a finite number of at"),
    "bias": ({"bias_variance": np.inf}, "`bias_variance` must be a finite number"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Convolutional(3, **options)


def test_images_too_small_are_refused():
    x = images((2, 2, 1))
    with pytest.raises(ValueError, match="filter or window of 3 moves along, but there are 2"):
        Convolutional(2, padding="valid").gram(x)
    with pytest.raises(ValueError, match="a window of 3 meets 2"):
        Convolutional(3, pooling={1: 3}).gram(x)
