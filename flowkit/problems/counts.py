"""The check of numbers that count."""

from numbers import Integral


def check_count(**counts: object) -> None:
    """Refuse, by name, what is no positive integer of Python's or NumPy's."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Argument `{name}` must be a positive integer, but it is {value!r}.")
