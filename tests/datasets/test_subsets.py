"""Random subsets are disjoint, equal per class and nested."""

import jax
import numpy as np
import pytest

from flowkit.datasets import equal_per_class, split


def test_a_split_is_disjoint_and_random(key):
    train, test = split(20, 8, 12, key=key)
    assert sorted([*train, *test]) == list(range(20))
    other, _ = split(20, 8, 12, key=jax.random.key(1))
    assert train.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((0, 1), "`train` must be at least 1"), ((9, 2), "at most 10, but they are 9 and 2")],
)
def test_impossible_splits_are_refused(key, sizes, message):
    with pytest.raises(ValueError, match=message):
        split(10, *sizes, key=key)


def test_subsets_hold_each_class_equally_and_are_nested(key):
    labels = np.random.default_rng(0).integers(0, 4, 100)
    large, small = (equal_per_class(labels, k, key=key) for k in (7, 3))
    assert np.bincount(labels[large]).tolist() == [7] * 4
    assert len(set(large.tolist())) == 28
    assert large[:12].tolist() == small.tolist()
    assert small.tolist() != equal_per_class(labels, 3, key=jax.random.key(1)).tolist()


def test_a_class_that_is_too_small_is_named(key):
    labels = np.array([0, 0, 0, 5, 5])
    with pytest.raises(ValueError, match="it is 3 and class 5 has 2"):
        equal_per_class(labels, 3, key=key)
    with pytest.raises(ValueError, match="`per_class` must be at least 1"):
        equal_per_class(labels, 0, key=key)
