"""Accuracies by depth and size are those of regression on the first images, written and drawn."""

import json
import re

import jax
import numpy as np
import pytest
from datasets.cifar_folders import BINARY, needs_sample, write_binary
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.datasets import cifar10, digits, equal_per_class
from flowkit.kernels import Convolutional, FullyConnected
from flowkit.studies.classification import Data, rbf_hits
from flowkit.studies.curve_charts import CurveRow, curve_chart
from flowkit.studies.curves import published_percent

PNG = b"\x89PNG"
DENSE = ("--network", "fully-connected")


def run(*arguments):
    return CliRunner().invoke(app, ["kernel", *map(str, arguments)])


def shown(result):
    return " ".join(re.sub(r"[│╭╮╰╯─\n]+", " ", result.output).split())


def rows_of(folder):
    return json.loads((folder / "accuracy.json").read_text())["rows"]


def drawn(folder, train, test, *, seed=0, dtype="float64"):
    """The images of the protocol: equally many of each class, the first test images."""
    images, labels = cifar10(folder, dtype=dtype)
    chosen = equal_per_class(labels, train // 10, key=jax.random.key(seed))
    held_out, test_labels = cifar10(folder, train=False, dtype=dtype)
    return Data(images[chosen], labels[chosen], held_out[:test], test_labels[:test])


def solved(kernel, data, n, ridge=0.0):
    """Percent of the test images that a linear solve classifies correctly."""
    gram = np.asarray(kernel.gram(data.images[:n])) + ridge * np.eye(n)
    wanted = np.eye(10)[data.labels[:n]] - 0.1
    test = np.asarray(kernel.gram(data.test_images, data.images[:n]))
    hits = (test @ np.linalg.solve(gram, wanted)).argmax(1) == data.test_labels
    return 100 * hits.mean()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_binary(tmp_path_factory.mktemp("cifar"), train=20, test=30)


@pytest.mark.slow
def test_each_depth_and_size_is_a_linear_solve(folder, tmp_path):
    options = ("--depth", "3,2", "--train", "20,10", "--seed", 4, "--ridge", 0.5, *DENSE)
    result = run("cifar", "--data", folder, *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    data = drawn(folder, 20, 30, seed=4).flat()
    expected = {(d, n): solved(FullyConnected(d), data, n, 0.5) for d in (2, 3) for n in (10, 20)}
    assert len(set(expected.values())) > 1
    found = {(row["depth"], row["train"]): row for row in rows_of(tmp_path)}
    for key, percent in expected.items():
        assert found[key]["accuracy"] == pytest.approx(percent)
        assert found[key]["published"] is None
    for n in (10, 20):
        part = Data(data.images[:n], data.labels[:n], data.test_images, data.test_labels)
        baseline = 100 * rbf_hits(part, 4).mean()
        assert found[None, n]["accuracy"] == pytest.approx(baseline)
        assert found[2, n]["minus_RBF"] == pytest.approx(expected[2, n] - baseline)
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)
    assert np.load(tmp_path / "depth-3/train/gram.npy").shape == (20, 20)
    assert np.load(tmp_path / "depth-2/test/gram.npy").shape == (30, 20)
    assert "RBF ridge" in result.output


def test_a_finished_run_computes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.studies.estimates.SECONDS", 0.1)
    command = ("cifar", "--data", folder, "--depth", "2,3", "--train", 10, "--test", 4, *DENSE)
    first = run(*command, "--estimate", "--out", tmp_path)
    assert first.exit_code == 0, first.output
    assert len(re.findall(r"Depth \d: About \S+ hours: 95 pairs", shown(first))) == 2  # 55 + 40
    assert re.search(r"About \S+ hours in all\.", shown(first))
    monkeypatch.setattr(FullyConnected, "gram", None)
    again = run(*command, "--estimate", "--out", tmp_path)
    assert again.exit_code == 0, again.output
    assert "Depth 2: Nothing is left to compute." in shown(again)


def test_sizes_of_the_digits_are_parts_of_their_order(tmp_path):
    result = run("digits", "--train", "12,30", "--test", 9, "--depth", 2, *DENSE, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    test = np.load(tmp_path / "test/gram.npy")
    assert test.shape == (9, 30)
    found = {(row["depth"], row["train"]): row["accuracy"] for row in rows_of(tmp_path)}
    order = np.asarray(jax.random.permutation(jax.random.key(0), len(digits()[1])))
    labels, gram = digits()[1][order], np.load(tmp_path / "train/gram.npy")
    for n in (12, 30):
        values = test[:, :n] @ np.linalg.solve(gram[:n, :n], np.eye(10)[labels[:n]] - 0.1)
        assert found[2, n] == pytest.approx(100 * (values.argmax(1) == labels[30:39]).mean())


def test_without_images_to_test_on_only_matrices_are_written(tmp_path):
    result = run("digits", "--train", 4, "--depth", "2,3", *DENSE, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth-2", "depth-3"]


@pytest.mark.slow
@needs_sample
def test_real_images_at_depth_three(tmp_path):
    options = ("--depth", 3, "--train", 10, "--test", 20, "--float32")
    result = run("cifar", "--data", BINARY, *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    own, baseline = rows_of(tmp_path)
    data = drawn(BINARY, 10, 20, dtype="float32")
    assert (own["method"], baseline["method"]) == ("CNTK-GAP", "RBF ridge")
    assert own["accuracy"] == pytest.approx(solved(Convolutional(3), data, 10))
    assert own["standard_error"] == pytest.approx(
        100 * np.sqrt(own["accuracy"] / 100 * (1 - own["accuracy"] / 100) / 20)
    )


@pytest.mark.slow
@needs_sample
def test_the_published_kernel_stands_next_to_the_published_number(tmp_path):
    options = ("--depth", 11, "--train", "10,20", "--test", 15, "--float32")
    result = run("cifar", "--data", BINARY, *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    own = [row for row in rows_of(tmp_path) if row["depth"] == 11]
    assert [(row["method"], row["published"]) for row in own] == [
        ("CNTK-GAP", 15.3),
        ("CNTK-GAP", 18.7),
    ]
    data = drawn(BINARY, 20, 15, dtype="float32")
    assert own[1]["accuracy"] == pytest.approx(solved(Convolutional(11), data, 20))


def test_published_numbers_are_those_of_the_same_training_images():
    assert published_percent("CNTK-GAP", 11, 160) == 30.5
    assert published_percent("CNTK-GAP", 11, 50_000) == 77.43
    assert published_percent("CNTK-V", 3, 50_000) == 64.47
    assert published_percent("CNTK-V", 11, 160) is None
    assert published_percent("CNTK-GAP", 3, 160) is None
    assert published_percent("CNTK-GAP", 11, 2_000) is None  # of the first, not of a draw
    assert published_percent("NTK", 11, 160) is None


def _row(depth, train, published=None):
    accuracy = float(10 * (depth or 1) + train)
    return CurveRow(
        "A" if depth else "B", depth, train, accuracy, 1.0, accuracy - 2, accuracy + 2,
        published=published,
    )  # fmt: skip


def test_a_chart_runs_over_sizes():
    keys = [(2, 10), (2, 20), (3, 10), (3, 20), (None, 10), (None, 20)]
    chart = curve_chart("images", [_row(*key, 7.0 if key == (3, 20) else None) for key in keys], 5)
    assert list(chart.lines) == ["A, depth 2", "A, depth 3", "B"]
    assert chart.lines["A, depth 3"] == ([10, 20], [40.0, 50.0])
    assert chart.intervals["B"] == ([10, 20], [18.0, 28.0], [22.0, 32.0])
    assert chart.points == {"A, depth 3, published": ([20], [7.0])}
    assert chart.log_x


def test_a_chart_of_one_size_runs_over_depth():
    chart = curve_chart("images", [_row(2, 10), _row(3, 10, 7.0), _row(None, 10)], 5)
    assert chart.lines == {"A": ([2, 3], [30.0, 40.0]), "B": ([2, 3], [20.0, 20.0])}
    assert chart.points == {"A, published": ([3], [7.0])}
    assert chart.integer_x


# Options, the option that is named, what it must be.
REFUSED = {
    "no folder": (
        "cifar",
        "--data",
        "must be a CIFAR-10 folder with `cifar`, but it is left out.",
    ),
    "another source": (
        "digits --data there",
        "--data",
        "must be left out without `cifar`, but it is `there`.",
    ),
    "nowhere": ("cifar --data nowhere", "--data", "must be a folder, but `nowhere` is not one."),
    "broken rounds": (
        "cifar --data FOLDER --train 20,15",
        "--train",
        "must be a multiple of 10, equally many of each class, but it is `15`.",
    ),
    "broken rounds of all": (
        "cifar --data FOLDER --train 15",
        "--train",
        "must be a multiple of 10, equally many of each class, but it is `15`.",
    ),
    "too many": (
        "cifar --data FOLDER --train 110",
        "--train",
        "must be at most 100, equally many of each class of the folder, but it is `110`.",
    ),
    "none": ("digits --train 0,5", "--train", "must be at least 1, but it is `0`."),
    "no numbers": (
        "digits --train 5,x",
        "--train",
        "must be integers with commas between them, but it is '5,x'.",
    ),
    "several for nothing": (
        "digits --train 4,5",
        "--train",
        (
            "must be one number where nothing is classified, without labels or without images to "
            "test on, but it is `4,5`."
        ),
    ),
    "fewer than none": ("digits --test -3", "--test", "must be at least 0, but it is `-3`."),
    "a depth": (
        "digits --train 5 --depth 3,1",
        "--depth",
        "must be an integer of at least 2, but it is `1`.",
    ),
}


@pytest.mark.parametrize(("options", "named", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("as_a_user")
def test_a_refusal_names_its_option_and_leaves_no_folder(options, named, message, folder, tmp_path):
    result = run(*options.replace("FOLDER", str(folder)).split(), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert shown(result).endswith(f"Error Invalid value for '{named}': {message}")
    assert not (tmp_path / "out").exists()
