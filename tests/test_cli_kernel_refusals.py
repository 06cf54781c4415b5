"""What `flowkit kernel` refuses, in the words of its command line."""

import re

import numpy as np
import pytest
from datasets.cifar_folders import write_binary
from typer.testing import CliRunner

from flowkit.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["kernel", *map(str, arguments)])


def shown(result):
    return " ".join(re.sub(r"[│╭╮╰╯─\n]+", " ", result.output).split())


SMALL = np.random.default_rng(0).normal(size=(3, 2, 2, 1))
POINTS = np.random.default_rng(0).normal(size=(3, 4))

# Options, the option that is named, what it must be; of the three images of 2 x 2.
REFUSED = {
    "even filter": (
        "--filter-size 2",
        "--filter-size",
        "must be odd, but it is '2'.",
    ),
    "even sides": (
        "--filter-size 2x3",
        "--filter-size",
        "must be odd, but it is '2x3'.",
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
        "must hold layers from 1 to the depth, 3, but it is '2,7'.",
    ),
    "biases out of range": (
        "--bias-variance 0.1 --trained-biases 4",
        "--trained-biases",
        "must hold layers from 1 to the depth, 3, but it is '4'.",
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
        "must be given with `--parametrization standard`, and only then, but it is left out.",
    ),
    "needless width": (
        "--width 8",
        "--width",
        (
            "must be given with `--parametrization standard`, and only then, but it is `8` with "
            "`ntk`."
        ),
    ),
    "needless biases": (
        "--trained-biases 1,2",
        "--trained-biases",
        "must be left out without biases, which `--bias-variance` gives, but it is `1,2`.",
    ),
    "needless ridge": (
        "--ridge 0.5",
        "--ridge",
        (
            "must be left out where nothing is classified, without labels or without images to "
            "test on, but it is `0.5`."
        ),
    ),
    "strides twice": (
        "--strides 1:2,1:3",
        "--strides",
        "must name each layer once, but it is '1:2,1:3'.",
    ),
    "pooling twice": (
        "--pooling 2:1,02:3",
        "--pooling",
        "must name each layer once, but it is '2:1,02:3'.",
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
        "must be left out of a fully connected network, but it is `lap:2`.",
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


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("source", ["digits", "cifar"])
def test_labels_of_images_that_have_their_own_are_refused(source, tmp_path):
    images = write_binary(tmp_path / "cifar") if source == "cifar" else source
    result = run(images, "--train", 3, "--labels", "mine.npy", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert shown(result).endswith(
        "Invalid value for '--labels': must be left out with the digits and with a CIFAR-10 "
        "folder, which have their own, but it is `mine.npy`."
    )


@pytest.mark.usefixtures("as_a_user")
def test_a_ridge_without_images_to_test_on_is_refused(tmp_path):
    result = run("digits", "--train", 3, "--ridge", 0.5, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Invalid value for '--ridge': must be left out where nothing" in shown(result)
    assert not (tmp_path / "out").exists()
