"""Options of `flowkit kernel` give the Gram matrix of the kernel that Python builds."""

import functools

import numpy as np
import pytest
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.kernels import (
    Convolutional,
    FlipAveraged,
    FullyConnected,
    LocalAverage,
    UnitDiagonal,
)

ROUNDING = 1e-12
MOVED = 1e-3


def run(*arguments):
    return CliRunner().invoke(app, ["kernel", *map(str, arguments)])


def pixels(*shape):
    return np.random.default_rng(0).normal(size=shape)


SMALL, OBLONG, LARGE = pixels(3, 2, 2, 1), pixels(3, 2, 3, 1), pixels(2, 4, 4, 1)
POINTS = pixels(3, 4)

cntk = functools.partial(Convolutional, 2, train_ends=True)
ntk = functools.partial(FullyConnected, 3)

# Options, the kernel that they describe, images.
CONVOLUTIONS = {
    "LAP(1)": ("--readout lap:1", cntk(readout=LocalAverage(1)), OBLONG),
    "flatten": ("--readout flatten", cntk(readout="flatten"), OBLONG),
    "circular": ("--padding circular", cntk(padding="circular"), LARGE),
    "valid": ("--padding valid", cntk(padding="valid"), LARGE),
    "1 x 1": ("--filter-size 1", cntk(filter_size=1), SMALL),
    "1 x 3": ("--filter-size 1x3", cntk(filter_size=(1, 3)), OBLONG),
    "strides": ("--strides 2", cntk(strides=2), LARGE),
    "strides of a layer": ("--strides 1:2x1", cntk(strides={1: (2, 1)}), LARGE),
    "pooling": ("--pooling 3", cntk(pooling=3), LARGE),
    "flips": ("--flip width", FlipAveraged(cntk()), OBLONG),
    "vertical flips": ("--flip height", FlipAveraged(cntk(), ("height",)), OBLONG),
    "both flips": ("--flip both", FlipAveraged(cntk(), ("height", "width")), OBLONG),
    "unit diagonal": ("--unit-diagonal", UnitDiagonal(cntk()), SMALL),
    "unit diagonal of flips": (
        "--unit-diagonal --flip width",
        UnitDiagonal(FlipAveraged(cntk())),
        OBLONG,
    ),
    "convention": ("--convention neural-tangents", cntk(convention="neural-tangents"), SMALL),
    "biases": ("--bias-variance 0.1", cntk(bias_variance=0.1), SMALL),
}
ENDS = {
    "published": ("", Convolutional(3), SMALL),
    "all": ("--trained-layers all", Convolutional(3, train_ends=True), SMALL),
    "inner": (
        "--trained-layers inner --readout flatten",
        Convolutional(3, readout="flatten", train_ends=False),
        SMALL,
    ),
    "inner, the last fixed rather than dropped": (
        "--trained-layers inner --convention neural-tangents",
        Convolutional(3, convention="neural-tangents", train=(2,)),
        SMALL,
    ),
    "a subset": ("--trained-layers 1,3", Convolutional(3, train=(1, 3)), SMALL),
}
DENSE = {
    "activation": ("--activation erf", ntk("erf"), "ntk"),
    "weight variance": ("--weight-variance 1.5", ntk(weight_variance=1.5), "ntk"),
    "bias variance": ("--bias-variance 0.2", ntk(bias_variance=0.2), "ntk"),
    "convention": ("--convention neural-tangents", ntk(convention="neural-tangents"), "ntk"),
    "parametrization": (
        "--parametrization standard --width 8",
        ntk(parametrization="standard", width=8),
        "ntk",
    ),
    "inner layers": ("--trained-layers inner", ntk(train=(2,)), "ntk"),
    "inner layers in neural-tangents": (
        "--trained-layers inner --convention neural-tangents",
        ntk(convention="neural-tangents", train=(2,)),
        "ntk",
    ),
    "the last layer": ("--trained-layers 3", ntk(train=(3,)), "ntk"),
    "biases alone": (
        "--bias-variance 0.2 --trained-layers none --trained-biases 1,2",
        ntk(bias_variance=0.2, train=(), train_biases=(1, 2)),
        "ntk",
    ),
    "unit diagonal": ("--unit-diagonal", UnitDiagonal(ntk()), "ntk"),
    "NNGP": ("--kind nngp --bias-variance 0.2", ntk(bias_variance=0.2), "nngp"),
}


def written(options, images, folder):
    np.save(folder / "images.npy", images)
    result = run(folder / "images.npy", *options.split(), "--out", folder / "out")
    assert result.exit_code == 0, result.output
    return np.load(folder / "out/train/gram.npy")


def check(found, expected, plain):
    """Equal to what is expected, which the options have moved away from the plain kernel."""
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    assert np.abs(expected - plain).max() > MOVED * np.abs(plain).max()


@pytest.mark.parametrize(("options", "kernel", "images"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_options_of_convolutions(options, kernel, images, tmp_path):
    gram = written(f"--depth 2 --trained-layers all {options}", images, tmp_path)
    check(gram, kernel.gram(images), cntk().gram(images))


@pytest.mark.parametrize(("options", "kernel", "images"), ENDS.values(), ids=ENDS)
def test_layers_of_convolutions_that_train(options, kernel, images, tmp_path):
    check(written(options, images, tmp_path), kernel.gram(images), np.zeros((3, 3)))


@pytest.mark.parametrize(("options", "kernel", "kind"), DENSE.values(), ids=DENSE)
def test_options_of_fully_connected_networks(options, kernel, kind, tmp_path):
    gram = written(f"--network fully-connected {options}", POINTS, tmp_path)
    check(gram, kernel.gram(POINTS, kind=kind), ntk().gram(POINTS, kind=kind))


def test_single_precision_is_that_of_the_matrix(tmp_path):
    options = "--float32 --network fully-connected --depth 2 --bias-variance 0.2"
    assert written(options, POINTS, tmp_path).dtype == np.float32
