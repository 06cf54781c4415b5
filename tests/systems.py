"""Reference systems with known exact solutions, shared by the tests; see each docstring."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from flowkit import MatrixCompletion


def completion(shape=(5, 4), rank=2, observed=0.7, seed=0) -> MatrixCompletion:
    """A random completion problem in general position."""
    left, right, entries = jax.random.split(jax.random.key(seed), 3)
    target = jax.random.normal(left, (shape[0], rank)) @ jax.random.normal(right, (rank, shape[1]))
    return MatrixCompletion.from_matrix(target, observed=observed, key=entries)


def random_factors(sizes, seed=1):
    """Factors W_1 .. W_N of shapes (sizes[j], sizes[j-1]) with standard normal entries."""
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    return tuple(
        jax.random.normal(k, (after, before))
        for k, before, after in zip(keys, sizes[:-1], sizes[1:], strict=True)
    )


@dataclass(frozen=True)
class Observed:
    """A fully observed matrix at depth 1: every entry decays alone.

    Under the mean of squares over m entries, W(t) = Y + (W(0) - Y) e^{-2 t / m}.
    """

    target: np.ndarray

    @property
    def problem(self) -> MatrixCompletion:
        return MatrixCompletion.from_matrix(self.target, observed=1.0, key=jax.random.key(0))

    def exact(self, start, t):
        return self.target + (np.asarray(start) - self.target) * np.exp(-2 * t / self.target.size)


def logistic(t, start, target):
    """One balanced mode of a depth-2 network under 1/2 the square: the logistic curve (Saxe)."""
    growth = jnp.exp(2 * target * t)
    return target * start * growth / (target + start * (growth - 1))
