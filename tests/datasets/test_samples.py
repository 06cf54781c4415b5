"""The data are what their documentation says."""

import hashlib
import re
from datetime import datetime
from importlib import resources

import numpy as np
import pytest

from flowkit.datasets import digits, san_francisco_temperatures, seattle_temperatures

FILES = ("seattle-temps.csv", "sf-temps.csv")
# Readers, and what the data's README says: least and largest value, largest and mean change from
# one day to the next.
CITIES = {
    "Seattle": (seattle_temperatures, 37.5, 75.9, 0.7, 0.16),
    "San Francisco": (san_francisco_temperatures, 45.6, 72.2, 0.4, 0.09),
}


@pytest.mark.parametrize("name", FILES)
def test_temperatures_are_the_documented_files(name):
    folder = resources.files("flowkit").joinpath("data")
    content = folder.joinpath(name).read_bytes()
    section = folder.joinpath("README.md").read_text().split(f"## `{name}`")[1].split("\n## ")[0]
    (stated,) = re.findall(r"SHA-256 `([0-9a-f]{64})`", section)
    assert hashlib.sha256(content).hexdigest() == stated


@pytest.mark.parametrize("name", FILES)
def test_temperatures_stand_at_their_days_and_hours(name):
    """Line by line: no value is read twice, none is lost, and the clock change alone is missing."""
    read = {FILES[0]: seattle_temperatures, FILES[1]: san_francisco_temperatures}[name]()
    matrix = np.full((365, 24), np.nan)
    lines = resources.files("flowkit").joinpath("data", name).read_text().splitlines()[1:]
    for line in lines:
        value, stamp = sorted(line.split(","), key=len)
        when = datetime.fromisoformat(stamp.replace("/", "-"))
        matrix[when.timetuple().tm_yday - 1, when.hour] = float(value)
    np.testing.assert_array_equal(read, matrix)
    assert len(lines) == 8759
    assert np.argwhere(np.isnan(matrix)).tolist() == [[31 + 28 + 13, 3]]


@pytest.mark.parametrize("city", CITIES)
def test_temperatures_are_as_smooth_as_the_normals_they_are_said_to_be(city):
    read, least, largest, jump, change = CITIES[city]
    matrix = read()
    changes = np.abs(np.diff(matrix, axis=0))
    assert (np.nanmin(matrix), np.nanmax(matrix)) == (least, largest)
    assert np.nanmax(changes) == pytest.approx(jump)
    assert np.nanmean(changes) == pytest.approx(change, abs=0.005)


def test_digits_are_images_with_channels_last():
    images, labels = digits()
    assert images.shape == (1797, 8, 8, 1)
    assert images.min() == 0
    assert images.max() == 1
    assert np.array_equal(np.unique(labels), np.arange(10))
