"""Random subsets of labelled data."""

import jax
import numpy as np
from jaxtyping import Array, Int, Key


def split(
    count: int, train: int, test: int, *, key: Key[Array, ""]
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]]:
    """Disjoint random indices, for training and for testing.

    Args:
        count: How many points there are.
        train: How many to train on; the first of a random order of all.
        test: How many to test on; those that follow.
        key: A PRNG key.

    Returns:
        The indices.

    Raises:
        ValueError: `train` or `test` is less than 1, or there are too few points.
    """
    for name, value in (("train", train), ("test", test)):
        if value < 1:
            raise ValueError(f"Argument `{name}` must be at least 1, but it is `{value}`.")
    if train + test > count:
        raise ValueError(
            f"Arguments `train` and `test` must add up to at most {count}, but they are {train} "
            f"and {test}."
        )
    order = np.asarray(jax.random.permutation(key, count))
    return order[:train], order[train : train + test]


def equal_per_class(
    labels: Int[np.ndarray, " n"], per_class: int, *, key: Key[Array, ""]
) -> Int[np.ndarray, " subset"]:
    """Random indices, the same number for each class.

    The subset is ordered in rounds, one point of each class a round: its first k * classes indices
    are the subset of k per class that the same key gives.

    Args:
        labels: The class of each point.
        per_class: How many of each.
        key: A PRNG key.

    Returns:
        `per_class` indices for each class that occurs.

    Raises:
        ValueError: `per_class` is less than 1, or a class has fewer points.

    Source:
        The protocol of Arora et al. 2020, arXiv:1910.01663, section 5. Checked by
        tests/datasets/test_subsets.py.
    """
    if per_class < 1:
        raise ValueError(f"Argument `per_class` must be at least 1, but it is `{per_class}`.")
    classes, sizes = np.unique(labels, return_counts=True)
    if sizes.min(initial=per_class) < per_class:
        short = np.argmin(sizes)
        raise ValueError(
            f"Argument `per_class` must be at most the size of each class, but it is {per_class} "
            f"and class {classes[short]} has {sizes[short]}."
        )
    order = np.asarray(jax.random.permutation(key, len(labels)))
    of_class = [order[labels[order] == label][:per_class] for label in classes]
    return np.stack(of_class, axis=1).ravel()
