"""Options of `flowkit kernel` give the Gram matrix of the kernel that Python builds."""

import functools
import re

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


def shown(result):
    return " ".join(re.sub(r"[│╭╮╰╯─\n]+", " ", result.output).split())


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


# Options, the option that is named, what it must be; of the three images of 2 x 2.
REFUSED = {
    "even filter": (
        "--filter-size 2",
        "--filter-size",
        "must be odd, but it is `2`.",
    ),
    "no filter": (
        "--filter-size 3y5",
        "--filter-size",
        "must be a number or height x width, such as 3 or 3x5, but it is '3y5'.",
    ),
    "read-out": (
        "--readout lap",
        "--readout",
        "must be gap, flatten or lap:C, such as lap:4, but it is 'lap'.",
    ),
    "no layers": (
        "--trained-layers first",
        "--trained-layers",
        "must be all, inner, none or layers with commas between them, but it is 'first'.",
    ),
    "layer out of range": (
        "--trained-layers 2,7",
        "--trained-layers",
        "must hold layers from 1 to the depth, 3, but it is `(2, 7)`.",
    ),
    "biases out of range": (
        "--trained-biases 4",
        "--trained-biases",
        "must hold layers from 1 to the depth, 3, but it is `(4,)`.",
    ),
    "depth": (
        "--depth 1",
        "--depth",
        "must be an integer of at least 2, but it is `1`.",
    ),
    "negative variance": (
        "--weight-variance -1",
        "--weight-variance",
        "must be a finite number of at least 0, but it is `-1.0`.",
    ),
    "infinite bias": (
        "--bias-variance inf",
        "--bias-variance",
        "must be a finite number of at least 0, but it is `inf`.",
    ),
    "no width": (
        "--parametrization standard",
        "--width",
        (
            "must be given with `parametrization='standard'`, and only then, but it is `None` "
            "with `'standard'`."
        ),
    ),
    "ridge": ("--ridge -0.5", "--ridge", "must be finite and at least 0, but it is `-0.5`."),
    "strides": (
        "--strides first:2",
        "--strides",
        "must be a size or sizes by layer, such as 2 or 1:2,3:2x1, but it is 'first:2'.",
    ),
    "strides out of range": (
        "--strides 3:2",
        "--strides",
        "must map layers from 1 to 2, but it maps `3`.",
    ),
    "pooling too large": (
        "--pooling 3",
        "--pooling",
        "must fit the activations, but a window of 3 meets 2 positions.",
    ),
    "images too small": (
        "--padding valid",
        "IMAGES",
        (
            "must have images of at least 3 positions along each side that a filter or window of "
            "3 moves along, but there are 2."
        ),
    ),
    "flips without images": (
        "--network fully-connected --flip width",
        "--flip",
        "must be left out of a fully connected network, but it is `width`.",
    ),
    "read-out without images": (
        "--network fully-connected --readout lap:2",
        "--readout",
        "must be left out of a fully connected network, but it is `LocalAverage(reach=2)`.",
    ),
}


@pytest.mark.parametrize(("options", "named", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("as_a_user")
def test_a_refusal_names_its_option_and_leaves_no_folder(options, named, message, tmp_path):
    np.save(tmp_path / "images.npy", SMALL)
    result = run(tmp_path / "images.npy", *options.split(), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert shown(result).endswith(f"Error Invalid value for '{named}': {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--padding", "'zero', 'circular', 'valid'"),
        ("--flip", "'width', 'height', 'both'"),
        ("--convention", "'arora', 'neural-tangents'"),
        ("--parametrization", "'ntk', 'standard'"),
    ],
)
def test_what_is_not_among_the_choices_is_refused(option, choices, tmp_path):
    result = run("digits", option, "nonsense", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in shown(result)
    assert f"'nonsense' is not one of {choices}." in shown(result)


@pytest.mark.usefixtures("as_a_user")
def test_an_unknown_activation_is_refused_with_those_there_are(tmp_path):
    result = run("digits", "--activation", "nonsense", "--out", tmp_path / "out")
    assert "Invalid value for '--activation': must be one of `relu`, " in shown(result)
    assert shown(result).endswith("but it is `'nonsense'`.")


@pytest.mark.usefixtures("as_a_user")
def test_images_that_are_not_finite_take_no_folder(tmp_path):
    np.save(tmp_path / "images.npy", np.full((2, 2, 2, 1), np.nan))
    result = run(tmp_path / "images.npy", "--out", tmp_path / "out")
    message = "Invalid value for 'IMAGES': must be finite, but it holds nan or infinity."
    assert shown(result).endswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("as_a_user")
def test_rows_of_features_are_no_images(tmp_path):
    np.save(tmp_path / "points.npy", POINTS)
    result = run(tmp_path / "points.npy", "--out", tmp_path / "out")
    message = (
        "must be a non-empty array of inputs x height x width x channels, but it has shape (3, 4)."
    )
    assert shown(result).endswith(f"Invalid value for 'IMAGES': {message}")
