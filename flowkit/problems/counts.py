"""The checks of numbers that count."""

from numbers import Integral, Real

import numpy as np


def check_count(**counts: object) -> None:
    """Refuse, by name, what is no positive integer of Python's or NumPy's."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Argument `{name}` must be a positive integer, but it is {value!r}.")


def is_number(value: object) -> bool:
    """Whether a value is one real number, of Python's or in an array."""
    number = np.asarray(value)
    return number.ndim == 0 and number.dtype.kind in "fiu"


def checked_shape(shape: object) -> tuple[int, int]:
    """The rows and columns of a matrix.

    Raises:
        ValueError: `shape` is not two positive integers.
    """
    sizes = np.asarray(shape, dtype=object)
    if sizes.shape != (2,) or not all(
        isinstance(n, Real) and float(n) >= 1 and float(n).is_integer() for n in sizes
    ):
        raise ValueError(f"Argument `shape` must be two positive integers, but it is {shape!r}.")
    return int(sizes[0]), int(sizes[1])
