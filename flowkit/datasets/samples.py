"""Real data: temperature matrices that ship with flowkit, and scikit-learn's digits."""

import csv
from importlib import resources

import numpy as np
from jaxtyping import Float, Int

DAYS, HOURS = 365, 24
DIGIT_MAXIMUM = 16.0  # grey levels of scikit-learn's digits are 0..16

Temperatures = Float[np.ndarray, "days=365 hours=24"]


def seattle_temperatures() -> Temperatures:
    """Hourly temperatures of Seattle in degrees Fahrenheit, one row per day of the year.

    The series is NOAA's hourly climate normals (1981-2010 averages under a nominal year), not the
    weather of one year: it is very smooth. The hour lost to daylight saving time is `nan`.

    Returns:
        A 365 x 24 matrix with one `nan`.

    Source:
        NOAA National Climatic Data Center, public domain, as in vega-datasets; see
        flowkit/data/README.md.
    """
    return _temperatures("seattle-temps.csv")


def san_francisco_temperatures() -> Temperatures:
    """Hourly temperatures of San Francisco in degrees Fahrenheit, one row per day of the year.

    Climate normals like those of `seattle_temperatures`, smoother still and of two thirds of
    the range.

    Returns:
        A 365 x 24 matrix with one `nan`.

    Source:
        NOAA National Climatic Data Center, public domain, as in vega-datasets; see
        flowkit/data/README.md.
    """
    return _temperatures("sf-temps.csv")


def _temperatures(name: str) -> Temperatures:
    """A shipped file with a temperature per stamped hour of 2010, in columns of either order."""
    matrix = np.full((DAYS, HOURS), np.nan)
    text = resources.files("flowkit").joinpath("data", name).read_text("utf-8")
    new_year = np.datetime64("2010-01-01T00")
    for row in csv.DictReader(text.splitlines()):
        stamp = np.datetime64(row["date"].replace("/", "-").replace(" ", "T"))
        hour = int((stamp - new_year) / np.timedelta64(1, "h"))
        matrix[hour // HOURS, hour % HOURS] = float(row["temp"])
    return matrix


def digits() -> tuple[Float[np.ndarray, "n 8 8 1"], Int[np.ndarray, " n"]]:
    """Scikit-learn's 1,797 handwritten digits: images in [0, 1], channels last, and labels.

    Returns:
        The images, grey levels divided by the largest one, and the digit that each shows.

    Source:
        E. Alpaydin, C. Kaynak, UCI Optical Recognition of Handwritten Digits, test set.
    """
    from sklearn.datasets import load_digits

    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    return pixels.reshape(-1, 8, 8, 1) / DIGIT_MAXIMUM, labels
