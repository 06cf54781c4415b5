"""Random matrices of low rank, as the experiments on matrix factorization draw them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from flowkit.problems.counts import check_count


class LowRank(NamedTuple):
    """A matrix, and keys for what comes after it.

    Attributes:
        matrix: The matrix.
        data_key: Draws what is observed of it.
        start_key: Draws the factors that training starts from.
    """

    matrix: Float[Array, "size size"]
    data_key: PRNGKeyArray
    start_key: PRNGKeyArray


def low_rank(size: int, rank: int, *, key: PRNGKeyArray) -> LowRank:
    """A Gaussian product of rank `rank`, scaled so that its entries have mean square one.

    Args:
        size: Rows and columns n; the Frobenius norm is n.
        rank: The rank.
        key: Draws the matrix, and the keys for the rest.

    Returns:
        The matrix and further keys.

    Raises:
        ValueError: `size` or `rank` is not a positive integer, or the rank exceeds the size.

    Source:
        The experiments of arXiv:1905.13655.
    """
    check_count(size=size, rank=rank)
    if rank > size:
        raise ValueError(f"Argument `rank` must be at most the size {size}, but it is `{rank}`.")
    left, right, data_key, start_key = jax.random.split(key, 4)
    matrix = jax.random.normal(left, (size, rank)) @ jax.random.normal(right, (rank, size))
    return LowRank(size * matrix / jnp.linalg.norm(matrix), data_key, start_key)
