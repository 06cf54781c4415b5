"""Conventions: the table of `flowkit.kernels`, row by row, and values of neural-tangents."""

import inspect
import re

import equinox as eqx
import numpy as np
import pytest
import slow_kernels

import flowkit.kernels
from flowkit.kernels import Convolutional, FullyConnected

ROUNDING = 1e-12
PRINTED = 5e-7  # the table has six digits

VARIANCES = {"convention": "neural-tangents", "weight_variance": 1.3, "bias_variance": 0.2}
STANDARD = VARIANCES | {"parametrization": "standard", "width": 64}


def draws(count, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def values(kernel, x, z):
    return np.array(eqx.filter_jit(kernel._pair)(np.asarray(x), np.asarray(z)))


# The NTK and the NNGP of neural-tangents 0.6.5 (JAX 0.4.38, float64, W_std^2 = 1.3, b_std^2 = 0.2,
# s = 1 and 64 channels where the parametrization is standard) at `draws(2, shape)`.
OF_VECTORS = {
    "ntk": (FullyConnected(3, **VARIANCES), 0.9596048853234664, 0.5720633992955936),
    "standard": (FullyConnected(3, **STANDARD), 28.865458807822872, 0.5720633992955936),
    "erf": (FullyConnected(3, "erf", **VARIANCES), 1.17294139695646, 0.5544481685609696),
    "no bias": (
        FullyConnected(3, convention="neural-tangents", weight_variance=1.3),
        0.3094873541458566,
        0.1495008543673865,
    ),
}


@pytest.mark.parametrize(("kernel", "ntk", "nngp"), OF_VECTORS.values(), ids=OF_VECTORS.keys())
def test_fully_connected_kernels_are_those_of_neural_tangents(kernel, ntk, nngp):
    np.testing.assert_allclose(values(kernel, *draws(2, (5,))), [ntk, nngp], rtol=ROUNDING)


CASES = {
    "ntk": (3, VARIANCES),
    "standard": (3, STANDARD),
    "circular": (3, VARIANCES | {"padding": "circular", "filter_size": (3, 1)}),
    "valid": (2, VARIANCES | {"padding": "valid"}),
    "strides": (3, VARIANCES | {"strides": (2, 1)}),
    "circular strides": (3, VARIANCES | {"padding": "circular", "strides": {1: 2}}),
    "pooling": (3, VARIANCES | {"pooling": {1: (2, 3)}}),
    "deep pooling": (4, VARIANCES | {"pooling": {1: 2}}),
}
OF_IMAGES = {  # gap, then flatten
    "ntk": (0.6755730143063869, 0.4942439500749706, 0.7805108720351785, 0.5321020828410451),
    "standard": (49.16949465654748, 0.4942439500749706, 445.52789535007776, 0.5321020828410451),
    "circular": (0.9536682447164115, 0.6446384534466731, 1.0895461723385904, 0.6813126541515396),
    "valid": (0.6286828175396124, 0.5529090768539185, 0.7117460765875429, 0.5923744004136742),
    "strides": (0.648165980233113, 0.46484688962791243, 0.709565905861964, 0.4846975118473782),
    "circular strides": (
        *(0.9233904385464817, 0.621424289005144, 0.9360794297042754, 0.6255744989815949),
    ),
    "pooling": (0.534257927661057, 0.38699510070091553, 0.6139715533385277, 0.4152010839702507),
    "deep pooling": (
        *(0.5489041887921078, 0.381161845980972, 0.6638578821051941, 0.4111178289691584),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_convolutional_kernels_are_those_of_neural_tangents(name):
    depth, options = CASES[name]
    kernels = [Convolutional(depth, readout=r, **options) for r in ("gap", "flatten")]
    found = np.concatenate([values(kernel, *draws(2, (4, 6, 2))) for kernel in kernels])
    np.testing.assert_allclose(found, OF_IMAGES[name], rtol=ROUNDING)


def test_without_ends_the_dense_layer_of_neural_tangents_is_dropped():
    nngp_of_the_pooled_features = 0.09954631604877821  # neural-tangents, no Dense, no biases
    kernel = Convolutional(3, convention="neural-tangents", weight_variance=1.3, train_ends=False)
    x, z = draws(2, (4, 6, 2))
    ntk, nngp = values(kernel, x, z)
    np.testing.assert_allclose(nngp, nngp_of_the_pooled_features, rtol=ROUNDING)
    expected, _ = slow_kernels.convolutional(x, z, 3, published=False, weight=1.3, train=[2])
    np.testing.assert_allclose(ntk, expected / 1.3, rtol=ROUNDING)


UNIT = np.eye(3)[0], np.array([0.6, 0.8, 0.0])
IMAGES = draws(2, (2, 2, 2))

TABLE = {
    "A": (FullyConnected(3), slow_kernels.fully_connected(*UNIT, 3)),
    "B": (
        FullyConnected(3, convention="neural-tangents", weight_variance=2.0, bias_variance=0.5),
        slow_kernels.fully_connected(*UNIT, 3, published=False, weight=2.0, bias=0.5),
    ),
    "C": (
        FullyConnected(3, convention="neural-tangents", weight_variance=1.0, bias_variance=0.01),
        slow_kernels.fully_connected(*UNIT, 3, published=False, weight=1.0, bias=0.01),
    ),
    "D": (
        FullyConnected(
            *(3,),
            **{"convention": "neural-tangents", "weight_variance": 2.0, "bias_variance": 0.5},
            **{"parametrization": "standard", "width": 64},
        ),
        slow_kernels.fully_connected(*UNIT, 3, published=False, weight=2.0, bias=0.5, width=64),
    ),
    "E": (
        Convolutional(3, readout="flatten"),
        slow_kernels.convolutional(*IMAGES, 3, readout="flatten"),
    ),
    "F": (Convolutional(3), slow_kernels.convolutional(*IMAGES, 3, train=[2])),
    "G": (
        Convolutional(3, convention="neural-tangents"),
        slow_kernels.convolutional(*IMAGES, 3, published=False),
    ),
    "H": (
        Convolutional(3, readout="flatten", convention="neural-tangents"),
        slow_kernels.convolutional(*IMAGES, 3, readout="flatten", published=False),
    ),
}


@pytest.mark.parametrize("row", TABLE)
def test_a_row_of_the_table(row):
    kernel, expected = TABLE[row]
    inputs = UNIT if isinstance(kernel, FullyConnected) else IMAGES
    np.testing.assert_allclose(values(kernel, *inputs), expected, rtol=ROUNDING)
    text = inspect.getdoc(flowkit.kernels)
    assert text is not None
    printed = re.search(rf"^\s*{row} .* ([-\d.]+)$", text, re.MULTILINE)
    assert printed is not None
    assert abs(float(printed[1]) - expected[0]) < PRINTED * max(1, abs(expected[0]))


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_the_authors_scale_is_a_multiple_of_that_of_neural_tangents(readout):
    """The first layer lacks sw / (q^2 d), the last has 1 / q^2, and flatten no mean."""
    (x, z), ratio = draws(2, (3, 2, 5)), 5 / 2 * (1 if readout == "gap" else 6)
    published, other = (
        values(Convolutional(3, readout=readout, convention=c, train=[1, 2, 3]), x, z)
        for c in ("arora", "neural-tangents")
    )
    np.testing.assert_allclose(published, ratio * other, rtol=ROUNDING)
