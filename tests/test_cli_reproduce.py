"""`flowkit reproduce`: studies write numbers and a figure, and go on after a kill."""

import dataclasses
import json
import re

import numpy as np
import pytest
from datasets.cifar_folders import write_binary
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.cli.studies import reproduce
from flowkit.cli.terminal import options_of
from flowkit.kernels import Convolutional
from flowkit.studies import STUDIES, settings_of
from flowkit.studies.settings import plural


def run(*arguments):
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])


def _results(folder):
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return write_binary(tmp_path / "cifar", train=10, test=12)


@pytest.mark.slow
def test_digits_next_to_baselines_and_again_without_kernels(tmp_path, monkeypatch):
    command = ("cntk-digits", "--depth", 3, "--train", 20, "--test", 12, "--out", tmp_path)
    result = run(*command)
    assert result.exit_code == 0, result.output
    rows = _results(tmp_path)["rows"]
    methods = ["CNTK-V", "CNTK-GAP", "FC-NTK", "RBF ridge, tuned", "linear ridge, tuned"]
    assert [row["method"] for row in rows] == methods
    for row in rows:
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 100
        assert row["accuracy"] * 12 / 100 == pytest.approx(round(row["accuracy"] * 12 / 100))
    assert rows[3]["minus_RBF"] == 0
    assert "CNTK-GAP" in result.output

    monkeypatch.setattr(Convolutional, "gram", None)  # what is there is not computed again
    assert run(*command).exit_code == 0
    assert _results(tmp_path)["rows"] == rows
    assert run(*command, "--seed", 1).exit_code == 2  # other images, another folder


@pytest.mark.slow
def test_cifar_has_a_row_for_each_published_number(folder, tmp_path):
    options = ("--depth", 3, "--train", 6, "--test", 5, "--shrink", 16)
    result = run("cntk-cifar", "--data", folder, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = _results(tmp_path / "out")
    assert [row["published"] for row in found["rows"]] == [40.94, 49.71]
    assert [row["same_setup"] for row in found["rows"]] == ["no", "no"]
    assert found["settings"]["train"] == [6]
    gram = np.load(tmp_path / "out/grams/cntk-gap-depth-3-train/gram.npy")
    assert gram.shape == (6, 6)


@pytest.mark.slow
def test_small_training_sets_are_a_curve(folder, tmp_path):
    options = ("--depth", "2,3", "--train", "10,20", "--test", 4, "--draws", 1, "--shrink", 16)
    result = run("cntk-small", "--data", folder, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = _results(tmp_path / "out")["rows"]
    assert [(row["depth"], row["train"]) for row in rows] == [(2, 10), (2, 20), (3, 10), (3, 20)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "must be one of depth-vs-nuclear,"),
        (["cntk-cifar"], "'--data': must be a CIFAR-10 folder"),
        (["cntk-digits", "--depth", "3,x"], "'--depth': must be integers with commas"),
        (["cntk-digits", "--scale", "0.1"], "'--scale': must be left out for cntk-digits, whose"),
        (["cntk-digits", "--depth", "0"], "'--depth': must hold numbers of at least 1"),
        (["cntk-digits", "--train", "10,20"], "'--train': must be one number for this study"),
        (["cntk-small", "--data", "."], "'--data': must hold all of data_batch_1"),
        (["cntk-small", "--data", "nowhere"], "'--data': must be a folder, but `nowhere` is not"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_is_refused_is_a_usage_error(tmp_path, arguments, named):
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert named in " ".join(re.sub(r"[│\n]+", " ", result.output).split())


def test_help_and_refusal_list_every_study(tmp_path):
    wide = CliRunner(env={"COLUMNS": "400"})
    listed = wide.invoke(app, ["reproduce", "--help"]).output
    refused = wide.invoke(app, ["reproduce", "nonsense", "--out", str(tmp_path)]).output
    for name, study in STUDIES.items():
        assert f"{name}: {study.summary}" in listed
        assert name in refused


@pytest.mark.parametrize("name", STUDIES)
def test_every_setting_is_an_option(name):
    options = options_of(reproduce)
    allowed = set(options) | {plural(option) for option in options}
    for quick in (False, True):
        for setting in dataclasses.fields(settings_of(name, quick=quick)):
            assert setting.name in allowed
