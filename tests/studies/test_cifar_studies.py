"""The studies of CIFAR-10 use the images the papers name, and compare only what can be compared."""

import numpy as np
import pytest
from datasets.cifar_folders import write_binary

from flowkit.datasets import cifar10
from flowkit.kernels import Convolutional
from flowkit.studies.catalogue import run_study
from flowkit.studies.cifar import first_images, shrunk
from flowkit.studies.images import ImageSettings
from flowkit.studies.published import CNTK_CIFAR, SMALL_CIFAR


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_binary(tmp_path_factory.mktemp("cifar"), train=20, test=30)


def _settings(**given):
    return ImageSettings(**({"depths": (2,), "train": (20,), "test": 15, "shrink": 16} | given))


def test_the_first_images_are_taken_and_shrunk_by_means(folder):
    images, labels = cifar10(folder, dtype=np.float64)
    data = first_images(_settings(shrink=8), folder)
    assert data.images.shape == (20, 4, 4, 3)
    assert data.test_images.shape == (15, 4, 4, 3)
    assert data.labels.tolist() == labels[:20].tolist()
    block = images[3, 8:16, 24:32, 1].mean()
    assert data.images[3, 1, 3, 1] == pytest.approx(block, abs=1e-12)


def test_what_the_folder_does_not_hold_is_refused(folder):
    with pytest.raises(ValueError, match="`train` must be at most the 100 images"):
        first_images(_settings(train=(101,)), folder)
    with pytest.raises(ValueError, match="`test` must be at most the 30 images"):
        first_images(_settings(test=31), folder)
    with pytest.raises(ValueError, match="`shrink` must divide the size 32 x 32"):
        shrunk(np.zeros((1, 32, 32, 3)), 5)


@pytest.mark.slow
def test_the_table_is_exact_regression_next_to_published_numbers(folder, tmp_path):
    study = run_study("cntk-cifar", _settings(depths=(2, 3)), out=tmp_path, data=folder)
    assert [(row["kernel"], row["depth"]) for row in study.rows] == [
        ("CNTK-V", 2),
        ("CNTK-V", 3),
        ("CNTK-GAP", 2),
        ("CNTK-GAP", 3),
    ]
    data = first_images(_settings(), folder)
    for row in study.rows:
        readout = "flatten" if row["kernel"] == "CNTK-V" else "gap"
        if row["depth"] == 2 and readout == "gap":
            continue  # nothing is trained there
        kernel = Convolutional(row["depth"], readout=readout)
        gram, test = kernel.gram(data.images), kernel.gram(data.test_images, data.images)
        wanted = np.eye(10)[data.labels] - 0.1
        predicted = np.asarray(test) @ np.linalg.solve(gram, wanted)
        right = (predicted.argmax(1) == data.test_labels).mean()
        assert row["accuracy"] == pytest.approx(100 * right)
        published = CNTK_CIFAR.get((readout, row["depth"]), {}).get(2000)
        assert row["published"] == published
        assert row["same_setup"] == "no"  # 20 images are not 2,000
        if published is not None:
            assert row["off_by"] == pytest.approx(row["accuracy"] - published)


@pytest.mark.slow
def test_small_training_sets_are_equal_per_class_and_averaged(folder, tmp_path):
    settings = _settings(train=(10, 20), draws=2, depths=(3,), seed=3)
    study = run_study("cntk-small", settings, out=tmp_path, data=folder)
    assert [row["train"] for row in study.rows] == [10, 20]
    assert [row["published"] for row in study.rows] == [None, None]  # not depth 11
    grams = sorted(path.name for path in (tmp_path / "grams").iterdir())
    assert grams == [
        f"cntk-gap-depth-3-draw-{draw}-{part}" for draw in (0, 1) for part in ("test", "train")
    ]
    first, second = (np.load(tmp_path / "grams" / name / "gram.npy") for name in grams[1::2])
    assert first.shape == (20, 20)
    assert not np.allclose(first, second)  # another draw


def test_small_training_sets_are_checked(folder, tmp_path):
    with pytest.raises(ValueError, match="multiples of 10, equally many of each class, but it hol"):
        run_study("cntk-small", _settings(train=(10, 25)), out=tmp_path, data=folder)
    with pytest.raises(ValueError, match="`per_class` must be at most the size of each class"):
        run_study("cntk-small", _settings(train=(110,)), out=tmp_path, data=folder)


def test_published_means_are_those_of_the_protocol():
    assert list(SMALL_CIFAR) == [10 * 2**k for k in range(8)]
    assert {depth for _, depth in CNTK_CIFAR} == {3, 4, 6, 11, 21}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("nonsense", None, "`name` must be one of depth-vs-nuclear, .*cntk-digits"),
        ("cntk-cifar", None, "`data` must be a CIFAR-10 folder for cntk-cifar"),
        ("cntk-digits", "folder", "`data` must be left out for cntk-digits"),
    ],
)
def test_studies_say_what_they_need(folder, tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message):
        run_study(name, _settings(), out=tmp_path, data=folder if data else None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depths": ()}, "`depths` must hold numbers of at least 1"),
        ({"train": (0,)}, "`train` must hold numbers of at least 1"),
        ({"draws": 0}, "`draws` must be at least 1, but it is `0`"),
    ],
)
def test_settings_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        _settings(**given)
    with pytest.raises(ValueError, match="`train` must be one number for this study"):
        _ = _settings(train=(10, 20)).only_train
