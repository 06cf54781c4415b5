"""`flowkit kernel`: images in, Gram matrices and accuracies out."""

import json
import re
import time
from typing import ClassVar, final

import jax
import numpy as np
import pytest
from datasets.cifar_folders import write_binary
from typer.testing import CliRunner

from flowkit.cli import app
from flowkit.datasets import digits
from flowkit.gramian import open_gram
from flowkit.kernels import AbstractKernel, Convolutional, FullyConnected
from flowkit.studies.estimates import estimate

ROUNDING = 1e-12
FULLY_CONNECTED = ("--network", "fully-connected", "--depth", "2")


def run(*arguments):
    return CliRunner().invoke(app, ["kernel", *map(str, arguments)])


def shown(result):
    return " ".join(re.sub(r"[│\n]+", " ", result.output).split())


@final
class Slow(AbstractKernel):
    axes: ClassVar[tuple[str, ...]] = ("features",)

    def _values(self, x, z, rows, columns, kind):
        raise AssertionError("`gram` is to be taken, not the maths of one pair")

    def gram(self, x, z=None, *, kind="ntk"):
        values = np.zeros((len(x), len(x if z is None else z)))
        time.sleep(1e-3 * values.size)
        return jax.numpy.asarray(values)


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(9, 4))


@pytest.fixture
def images(tmp_path, points):
    np.save(tmp_path / "images.npy", points)
    return tmp_path / "images.npy"


def test_the_gram_matrix_of_a_file(images, points, tmp_path):
    result = run(images, *FULLY_CONNECTED, "--kind", "nngp", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    gram = np.load(tmp_path / "out/train/gram.npy")
    assert np.abs(gram - FullyConnected(2).gram(points, kind="nngp")).max() < ROUNDING
    np.testing.assert_array_equal(open_gram(tmp_path / "out/train/gram.zarr", kind="nngp"), gram)
    assert not (tmp_path / "out/test").exists()


def test_labels_give_accuracies(images, points, tmp_path):
    labels = (points[:, 0] > 0).astype(int)
    np.save(tmp_path / "labels.npy", labels)
    np.savez(tmp_path / "both.npz", images=points, labels=labels)
    sizes = ("--test", 3, *FULLY_CONNECTED)
    first = run(images, "--labels", tmp_path / "labels.npy", *sizes, "--out", tmp_path / "a")
    second = run(tmp_path / "both.npz", *sizes, "--out", tmp_path / "b")
    assert first.exit_code == 0, first.output
    found = json.loads((tmp_path / "a/accuracy.json").read_text())
    assert found == json.loads((tmp_path / "b/accuracy.json").read_text())

    kernel = FullyConnected(2)
    gram, test = kernel.gram(points[:6]), kernel.gram(points[6:], points[:6])
    predicted = np.asarray(test) @ np.linalg.solve(gram, np.eye(2)[labels[:6]] - 0.1)
    right = 100 * (predicted.argmax(1) == labels[6:]).mean()
    assert found["test"]["accuracy"] == pytest.approx(right)
    assert f"{right:.2f}" in second.output
    assert found["train"]["accuracy"] == 100


def test_the_digits_with_a_convolution(tmp_path):
    options = ("--train", 3, "--test", 2, "--depth", 2, "--readout", "flatten", "--seed", 4)
    result = run("digits", *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    gram, test = (np.load(tmp_path / part / "gram.npy") for part in ("train", "test"))
    assert (gram.shape, test.shape) == ((3, 3), (2, 3))
    everything = digits()[0]
    diagonal = np.asarray(Convolutional(2, readout="flatten").diagonal(everything[:40]))
    assert diagonal.min() / 2 < gram[0, 0] < 2 * diagonal.max()


def test_a_cifar_folder(tmp_path):
    folder = write_binary(tmp_path / "cifar")
    options = ("--train", 4, "--test", 3, "--float32", *FULLY_CONNECTED)
    result = run(folder, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "out/test/gram.npy").dtype == np.float32


def test_an_interrupted_run_goes_on(images, points, tmp_path, monkeypatch):
    calls, true_gram = [], FullyConnected.gram

    def gram(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return true_gram(self, *arguments, **options)

    command = (images, *FULLY_CONNECTED, "--rows", 3, "--out", tmp_path / "out")
    monkeypatch.setattr(FullyConnected, "gram", gram)
    result = run(*command)
    assert result.exit_code == 130
    assert "the same command goes on" in result.output
    assert run(*command).exit_code == 0
    assert len(calls) == 4 + 3  # six tiles, one of them lost
    found = np.load(tmp_path / "out/train/gram.npy")
    assert np.abs(found - true_gram(FullyConnected(2), points)).max() < ROUNDING


def test_more_images_cost_only_what_is_new(images, points, tmp_path, monkeypatch):
    seen, true_gram = [], FullyConnected.gram

    def gram(self, x, z=None, **options):
        seen.append(len(x) * (len(x) + 1) // 2 if z is None else len(x) * len(z))
        return true_gram(self, x, z, **options)

    monkeypatch.setattr(FullyConnected, "gram", gram)
    for count in (5, 9):
        result = run(images, *FULLY_CONNECTED, "--train", count, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert sum(seen) == count * (count + 1) // 2
    found = np.load(tmp_path / "out/train/gram.npy")
    assert np.abs(found - true_gram(FullyConnected(2), points)).max() < ROUNDING


def test_hours_are_estimated_before_the_start(images, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.studies.estimates.SECONDS", 0.1)
    options = ("--train", 5, *FULLY_CONNECTED, "--estimate", "--out", tmp_path / "out")
    result = run(images, *options, "--test", 2)
    assert result.exit_code == 0, result.output
    said = " ".join(shown(result).split())
    assert re.search(r"About \S+ hours: 25 pairs at [\d,]+ pairs/s\.", said)  # 15 + 10
    assert np.load(tmp_path / "out/train/gram.npy").shape == (5, 5)
    assert "Nothing is left to compute." in shown(run(images, *options, "--test", 2))
    assert "hours: 10 pairs at" in shown(run(images, *options, "--test", 4))


def test_an_estimate_is_the_time_that_it_takes():
    """A kernel that waits 1 ms a pair: an hour for 3.6 million pairs."""
    found = estimate(Slow(), np.zeros((100, 1)), 10050, seconds=0.4)
    assert 500 < found.pairs_per_second <= 1000
    assert found.hours == pytest.approx(found.pairs / found.pairs_per_second / 3600)


def test_an_estimate_counts_on_columns_that_cost_as_much_as_one(monkeypatch):
    """A kernel that takes a quarter of a second a row for each 16 columns."""
    clock = [0.0]

    def gram(self, x, z=None, *, kind="ntk"):
        clock[0] += 0.25 * len(x) * -(-len(z) // 16)
        return jax.numpy.zeros((len(x), len(z)))

    monkeypatch.setattr(Slow, "gram", gram)
    monkeypatch.setattr("flowkit.studies.estimates.time.perf_counter", lambda: clock[0])
    assert estimate(Slow(), np.zeros((160, 1)), 1).pairs_per_second == pytest.approx(16 / 0.25)
    assert clock[0] < 30


def test_without_zarr_the_matrix_is_written_all_the_same(images, points, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.studies.matrices.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"Without `zarr` an interrupted matrix"):
        result = run(images, *FULLY_CONNECTED, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = np.load(tmp_path / "out/train/gram.npy")
    assert np.abs(found - FullyConnected(2).gram(points)).max() < ROUNDING
    assert not (tmp_path / "out/train/gram.zarr").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["nowhere.npy"],
            "Invalid value for 'IMAGES': must be `digits`, `cifar`, a CIFAR-10 folder",
        ),
        (["digits", "--train", "1700", "--test", "200"], "at most 1797"),
        (
            ["digits", "--train", "2", "--network", "recurrent"],
            "not one of 'convolutional', 'fully-connected'",
        ),
        (["digits", "--train", "2", "--activation", "nonsense"], "nonsense"),
        (["digits", "--train", "2", "--kind", "nonsense"], "not one of 'ntk', 'nngp'"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_is_refused_is_a_usage_error(tmp_path, arguments, named):
    result = run(*arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert named in shown(result)


@pytest.mark.usefixtures("as_a_user")
def test_a_seed_where_nothing_is_drawn_is_refused(images, tmp_path):
    result = run(images, "--seed", 0, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "must be left out with images that are not drawn" in shown(result)


@pytest.mark.usefixtures("as_a_user")
def test_files_that_hold_no_images_are_refused(images, tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"nonsense")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "other.npz", pixels=np.zeros((3, 2)))
    for name in ("broken.npy", "objects.npy", "other.npz"):
        result = run(tmp_path / name, "--out", tmp_path / "out")
        assert result.exit_code == 2
        assert "must hold" in shown(result)
    np.save(tmp_path / "labels.npy", np.zeros(4, int))
    result = run(images, "--labels", tmp_path / "labels.npy", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "9 integers from 0" in shown(result)
