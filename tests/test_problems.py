"""Completion problems hold what was observed, and refuse what cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

from flowkit import MatrixCompletion
from flowkit.problems import WeightedCompletion


def test_loss_is_the_mean_square_over_observations(key):
    problem = MatrixCompletion([0, 1, 2], [1, 0, 1], [1.0, 2.0, 3.0], (3, 2))
    W = jax.random.normal(key, (3, 2))
    residuals = np.array([W[0, 1] - 1, W[1, 0] - 2, W[2, 1] - 3])
    assert float(problem.loss(W)) == pytest.approx(np.mean(residuals**2), rel=1e-14)


def test_gradient_is_supported_on_the_observations(key):
    problem = completion()
    gradient = problem.gradient(jax.random.normal(key, problem.shape))
    assert np.array_equal(np.asarray(gradient) != 0, problem.mask)


def test_held_out_entries_are_the_known_ones_that_are_not_observed(key):
    target = np.arange(12.0).reshape(3, 4)
    target[1, 2] = np.nan
    problem = MatrixCompletion.from_matrix(target, observed=5, key=key)
    held_out = problem.held_out(target)
    assert problem.values.size == 5
    assert held_out.values.size == 6
    assert not (problem.mask & held_out.mask).any()
    assert not (problem.mask | held_out.mask)[1, 2]


@pytest.mark.parametrize(("observed", "count"), [(7, 7), (0.5, 6), (1.0, 12), (1, 1)])
def test_a_float_is_a_fraction_and_an_int_a_number(observed, count, key):
    target = np.arange(12.0).reshape(3, 4)
    assert MatrixCompletion.from_matrix(target, observed=observed, key=key).values.size == count


def test_split_is_a_partition(key):
    problem = completion()
    train, validation = problem.split(0.25, key=key)
    assert not (train.mask & validation.mask).any()
    assert np.array_equal(train.mask | validation.mask, problem.mask)


def test_repeated_observations_that_agree_count_once():
    problem = MatrixCompletion([0, 0, 1], [1, 1, 0], [2.0, 2.0, 1.0], (2, 2))
    assert problem.values.size == 2


NAN, INF = float("nan"), float("inf")
BAD = {
    "one size": (([0], [0], [1.0], 4), "`shape` must be two positive integers, but it is 4"),
    "complex": (([0], [0], [1j], (2, 2)), "`values` must be real"),
    "empty": (([], [], [], (2, 2)), "`rows` must be a list of at least one index"),
    "lengths": (([0, 1], [0], [1.0], (2, 2)), "must have one length"),
    "outside": (([0, 2], [0, 1], [1.0, 1.0], (2, 2)), r"`rows\[1\]` is 2"),
    "negative": (([0, 1], [0, -1], [1.0, 1.0], (2, 2)), r"`cols\[1\]` is -1"),
    "fractional": (([0.5], [0], [1.0], (2, 2)), "`rows` must be integers"),
    "not finite": (([0, 1], [0, 1], [1.0, NAN], (2, 2)), r"`values\[1\]` is nan"),
    "infinite": (([0], [0], [INF], (2, 2)), r"`values\[0\]` is inf"),
    "disagreeing": (([1, 1], [0, 0], [1.0, 2.0], (2, 2)), r"\(1, 0\) has both 1.0 and 2.0"),
    "masked": (([0, 1], [0, 1], np.ma.array([1, 2], mask=[0, 1]), (2, 2)), r"`values\[1\]` is nan"),
    "one side": (([0], [0], [1.0], (2,)), r"`shape` must be two positive integers.*\(2,\)"),
    "sides of words": (([0], [0], [1.0], ("a", 2)), r"`shape` must be two positive integers"),
    "nan": (([0], [0], [1.0], (NAN, 2)), r"`shape` must be two positive integers"),
    "shape": (([0], [0], [1.0], (2, 0)), r"`shape` must be two positive integers.*\(2, 0\)"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_observations_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        MatrixCompletion(*arguments)


BAD_MATRICES = {
    "no number": (np.ones((2, 2)), NAN, "`observed` must be a fraction, a number or a mask"),
    "a truth value": (np.ones((2, 2)), True, "`observed` must be a fraction, a number or a mask"),
    "vector": (np.ones(3), 1, "`target` must be a matrix"),
    "infinite": (np.array([[INF, 1.0]]), 1, "1 infinities"),
    "none": (np.ones((2, 2)), 0, "`observed` must select between 1 and all 4"),
    "too many": (np.ones((2, 2)), 5, "5 selects 5"),
    "fraction above one": (np.ones((2, 2)), 1.5, "1.5 selects 6"),
    "unknown entry": (np.array([[NAN, 1.0]]), np.array([[True, True]]), r"`target\[0, 0\]` is nan"),
    "mask of another shape": (np.ones((2, 2)), np.ones((1, 2), bool), "Boolean mask of shape"),
    "empty mask": (np.ones((2, 2)), np.zeros((2, 2), bool), "at least one entry"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("target", "observed", "message"), BAD_MATRICES.values(), ids=BAD_MATRICES.keys()
)
def test_bad_matrices_are_refused_by_name(target, observed, message, key):
    with pytest.raises(ValueError, match=message):
        MatrixCompletion.from_matrix(target, observed=observed, key=key)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_what_a_mask_hides_is_unknown(dtype, key):
    """As `nan` would be: neither drawn, nor held out, nor to be observed by a mask."""
    values, hidden = np.array([[1, 99], [3, 4]], dtype), np.array([[False, True], [False, False]])
    target = np.ma.array(values, mask=hidden)
    problem = MatrixCompletion.from_matrix(target, observed=1.0, key=key)
    assert problem.values.tolist() == [1.0, 3.0, 4.0]
    first = MatrixCompletion.from_matrix(target, observed=np.array([[True, False], [False, False]]))
    assert first.held_out(target).values.tolist() == [3.0, 4.0]
    with pytest.raises(ValueError, match=r"`target\[0, 1\]` is nan"):
        MatrixCompletion.from_matrix(target, observed=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match=r"`values\[0, 1\]` is nan"):
        WeightedCompletion(np.ones((2, 2)), target)
    assert values[0, 1] == 99


def test_drawing_needs_a_key():
    with pytest.raises(ValueError, match="`key` must be a PRNG key"):
        MatrixCompletion.from_matrix(jnp.ones((2, 2)), observed=2)


def test_a_matrix_of_another_shape_has_no_loss():
    """Indexing alone would read a larger matrix without complaint."""
    with pytest.raises(ValueError, match=r"`product` must have shape \(5, 4\)"):
        completion((5, 4)).loss(jnp.ones((6, 6)))


def test_held_out_entries_need_a_matrix_of_the_same_shape_with_something_left():
    problem = MatrixCompletion.from_matrix(np.ones((2, 3)), observed=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"`target` must have shape \(2, 3\)"):
        problem.held_out(np.ones((3, 2)))
    with pytest.raises(ValueError, match="`target` must have known entries"):
        problem.held_out(np.ones((2, 3)))


def test_values_that_overflow_single_precision_are_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"`values\[0\]` is inf"):
        MatrixCompletion([0], [0], [1e300], (2, 2))


def test_weighted_values_that_overflow_single_precision_are_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"`values\[0, 1\]` is inf"):
        WeightedCompletion(np.ones((1, 2)), np.array([[1.0, 1e39]]))


def test_a_split_that_leaves_nothing_is_refused(key):
    with pytest.raises(ValueError, match="`fraction` must leave observations on both sides"):
        completion().split(0.0, key=key)


def test_weights_of_zero_and_one_are_completion(key):
    """The same loss and gradient as by index, at entries that are `nan` elsewhere too."""
    problem = completion()
    W = jax.random.normal(key, problem.shape)
    values = np.full(problem.shape, np.nan)
    values[np.asarray(problem.rows), np.asarray(problem.cols)] = np.asarray(problem.values)
    direct = WeightedCompletion(problem.mask.astype(float), values)
    for weighted in (direct, WeightedCompletion.of(problem)):
        assert float(weighted.loss(W)) == pytest.approx(float(problem.loss(W)), rel=1e-14)
        np.testing.assert_allclose(weighted.gradient(W), problem.gradient(W), atol=1e-14)


def test_a_weight_counts_an_entry_as_often():
    weighted = WeightedCompletion(np.array([[2.0, 0.0, 1.0]]), np.array([[1.0, 5.0, -1.0]]))
    W = jnp.array([[0.0, 9.0, 1.0]])
    assert float(weighted.loss(W)) == pytest.approx((1 + 1 + 4) / 3)


@pytest.mark.parametrize(
    ("weights", "values", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 3)), "must be matrices of one shape"),
        (-np.ones((1, 2)), np.ones((1, 2)), "`weights` must be finite, not negative"),
        (np.zeros((1, 2)), np.ones((1, 2)), "not all zero"),
        (np.ones((1, 2)), np.full((1, 2), np.nan), "`values` must be finite where"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_bad_weights_are_refused(weights, values, message):
    with pytest.raises(ValueError, match=message):
        WeightedCompletion(weights, values)


def test_a_product_of_another_shape_than_the_weights_is_refused():
    with pytest.raises(ValueError, match=r"`product` must have shape \(1, 2\)"):
        WeightedCompletion(np.ones((1, 2)), np.ones((1, 2))).loss(jnp.zeros((2, 2)))
