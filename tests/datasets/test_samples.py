"""The data are what their documentation says."""

import hashlib
import re
from importlib import resources

import numpy as np

from flowkit.datasets import digits, seattle_temperatures


def test_seattle_is_the_documented_file():
    folder = resources.files("flowkit").joinpath("data")
    content = folder.joinpath("seattle-temps.csv").read_bytes()
    (stated,) = re.findall(r"SHA-256 `([0-9a-f]{64})`", folder.joinpath("README.md").read_text())
    assert hashlib.sha256(content).hexdigest() == stated


def test_seattle_has_one_missing_hour_at_the_clock_change():
    matrix = seattle_temperatures()
    assert matrix.shape == (365, 24)
    assert np.argwhere(np.isnan(matrix)).tolist() == [[31 + 28 + 13, 3]]


def test_seattle_is_as_smooth_as_the_normals_it_is_said_to_be():
    matrix = seattle_temperatures()
    assert np.nanmin(matrix) == 37.5
    assert np.nanmax(matrix) == 75.9
    assert np.nanmax(np.abs(np.diff(matrix, axis=0))) <= 0.71


def test_digits_are_images_with_channels_last():
    images, labels = digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.min() == 0
    assert images.max() == 1
    assert np.array_equal(np.unique(labels), np.arange(10))
