"""Where a command cannot write, and what it says of a place that is taken."""

import os
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.storage.folders import writing_to


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def refusal(result):
    assert result.exit_code == 2, result.output
    return " ".join(re.sub(r"[│╭╮╰╯─\n]+", " ", result.output).split())


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).normal(size=(3, 2, 2, 1)))
    return path


@pytest.fixture
def taken(tmp_path):
    path = tmp_path / "taken"
    path.write_text("a file")
    return path


UNUSABLE = "Invalid value for '--out': must be a folder that can be written, but it is"


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("inside", [".", "inner/most"])
def test_a_file_in_the_place_of_a_folder_is_refused(inside, images, taken):
    commands = (
        ("kernel", images, "--network", "fully-connected"),
        ("kernel", images, "--network", "fully-connected", "--depth", "2,3"),
        ("reproduce", "saturation", "--quick"),
    )
    for command in commands:
        said = refusal(run(*command, "--out", taken / inside))
        assert UNUSABLE in said
        assert "Not a directory" in said
    assert taken.read_text() == "a file"


@pytest.mark.usefixtures("as_a_user")
def test_a_file_in_the_place_of_a_part_is_refused_when_it_is_met(images, tmp_path):
    for name, command in (
        ("train", ("kernel", images, "--network", "fully-connected")),
        ("parts", ("reproduce", "saturation", "--quick")),
    ):
        (tmp_path / name).write_text("a file")
        said = refusal(run(*command, "--out", tmp_path))
        assert UNUSABLE in said
        assert f"{name}:Fileexists" in said.replace(" ", "")  # long lines are broken


def test_only_errors_of_the_folder_are_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), writing_to(tmp_path / "out"):
        (tmp_path / "other").read_text()
    with pytest.raises(ValueError, match="File name too long"), writing_to(tmp_path / ("a" * 300)):
        pass
    with pytest.raises(ValueError, match="the disk: No space left"), writing_to(tmp_path):
        raise OSError(28, os.strerror(28))
    with writing_to(tmp_path / "not" / "there"):
        pass
    assert not (tmp_path / "not").exists()


@pytest.mark.usefixtures("as_a_user")
def test_a_folder_with_another_matrix_names_the_option(images, tmp_path):
    command = ("kernel", images, "--network", "fully-connected", "--out", tmp_path / "gram")
    assert run(*command, "--depth", 2).exit_code == 0
    said = refusal(run(*command, "--depth", 3))
    assert "Invalid value for '--out': must be empty or hold this Gram matrix, but" in said
    assert "([1, 2], not [1, 2, 3])" in said
    assert said.endswith("choose another folder or store.")
