"""Precision of matrix products in float32, which accelerators round to ten bits unless told."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def full_precision() -> Iterator[None]:
    """Within it, or within a function that it decorates, products of float32 keep all its digits.

    Of float64 they always do. A `jax_default_matmul_precision` that the user has set stays.
    """
    if jax.config.jax_default_matmul_precision is not None:  # pyright: ignore
        yield
        return
    with jax.default_matmul_precision("highest"):
        yield
