"""MovieLens files are read as their format says, and what is wrong is refused by file and line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import MatrixCompletion, baselines
from flowkit.datasets import movielens, synthetic_ratings

LINES = ("196\t242\t3\t881250949", "186\t302\t3\t891717742", "22\t377\t1\t878887116")


def _write(folder, *lines):
    path = folder / "u.data"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_users_are_rows_and_movies_columns_counted_from_one(tmp_path):
    path = _write(tmp_path, *LINES)
    for source in (path, str(path), tmp_path):
        problem = movielens(source)
        assert problem.shape == (943, 1682)
        read = dict(
            zip(
                zip(problem.rows.tolist(), problem.cols.tolist(), strict=True),
                problem.values.tolist(),
                strict=True,
            )
        )
        assert read == {(195, 241): 3.0, (185, 301): 3.0, (21, 376): 1.0}


def test_the_largest_ids_are_read_in_a_matrix_of_any_shape(tmp_path):
    problem = movielens(_write(tmp_path, "2\t3\t4.5\t0", "1\t1\t1\t0"), shape=(2, 3))
    assert problem.rows.tolist() == [0, 1]
    assert problem.cols.tolist() == [0, 2]
    assert problem.values.tolist() == [1.0, 4.5]


BAD = {
    "user zero": ("0\t1\t3\t0", "must hold a user id from 1 to 943, an integer, but it is '0'"),
    "user above": ("944\t1\t3\t0", "user id from 1 to 943, an integer, but it is '944'"),
    "movie above": ("1\t1683\t3\t0", "movie id from 1 to 1682, an integer, but it is '1683'"),
    "negative": ("1\t-1\t3\t0", "movie id from 1 to 1682, an integer, but it is '-1'"),
    "fraction": ("1.5\t1\t3\t0", "user id from 1 to 943, an integer, but it is '1.5'"),
    "superscript": ("\u00b2\t1\t3\t0", "user id from 1 to 943"),
    "no number": ("1\t1\tgood\t0", "a rating from 1 to 5, but it is 'good'"),
    "nan": ("1\t1\tnan\t0", "a rating from 1 to 5, but it is 'nan'"),
    "digits in groups": ("1\t1\t0_4\t0", "a rating from 1 to 5, but it is '0_4'"),
    "another break": ("1\t1\t3\t0\x0c2\t2\t3\t0", "must hold 4 fields .* but it holds 7"),
    "six stars": ("1\t1\t6\t0", "a rating from 1 to 5, but it is '6'"),
    "blanks for tabs": ("1 1 3 0", "must hold 4 fields separated by tabs, but it holds 1"),
    "blank line before another": (
        "\n1\t1\t3\t0",
        "must hold 4 fields separated by tabs, but it holds 1: ''",
    ),
    "repeated": (
        "186\t302\t5\t1",
        "a pair that is new, but user 186 rated movie 302 in line 2 already",
    ),
}


@pytest.mark.parametrize(("line", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_refused_by_file_and_number(tmp_path, line, message):
    path = _write(tmp_path, *LINES, line)
    with pytest.raises(ValueError, match=re.escape(f"File `{path}`, line 4 ") + f".*{message}"):
        movielens(path)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\r\n", "\n \t\n"])
def test_blank_lines_at_the_end_are_read_past(tmp_path, end):
    path = tmp_path / "u.data"
    path.write_bytes(("\n".join(LINES) + end).encode())
    assert movielens(path).values.size == len(LINES)


def test_a_byte_order_mark_does_not_count(tmp_path):
    path = tmp_path / "u.data"
    path.write_bytes("\n".join(LINES).encode("utf-8-sig"))
    assert movielens(path).values.tolist() == movielens(_write(tmp_path, *LINES)).values.tolist()


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("shape", [(2,), (2, 3, 4), (2.5, 3), (0, 3), "ab", None, 7])
def test_a_shape_is_two_positive_integers(tmp_path, shape, key):
    message = re.escape(f"`shape` must be two positive integers, but it is {shape!r}.")
    for read in (
        lambda: movielens(_write(tmp_path, *LINES), shape=shape),
        lambda: synthetic_ratings(shape=shape, key=key),
    ):
        with pytest.raises(ValueError, match=message):
            read()


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file `.*u\.data`"):
        movielens(tmp_path)
    with pytest.raises(ValueError, match="must hold at least one rating"):
        movielens(_write(tmp_path))
    with pytest.raises(ValueError, match="must hold at least one rating"):
        movielens(_write(tmp_path, "", " "))


def test_synthetic_ratings_are_what_they_say(key):
    """As many as asked for, no pair twice, and spread as the sum of their parts."""
    problem = synthetic_ratings(noise=0.9, key=key)
    assert isinstance(problem, MatrixCompletion)
    assert problem.shape == (943, 1682)
    assert problem.values.size == 100_000 == problem.mask.sum()
    variance = 2 * 0.45**2 + 0.5**2 + 0.9**2
    assert float(problem.values.var()) == pytest.approx(variance, rel=0.1)
    assert float(problem.values.mean()) == pytest.approx(3.5, abs=0.1)
    counts = problem.mask.sum(0)
    assert counts.max() > 10 * np.median(counts)


def test_synthetic_ratings_are_predicted_better_by_offsets_and_best_by_what_made_them(key):
    ratings = synthetic_ratings(shape=(150, 200), ratings=12_000, rank=1, noise=0.2, key=key)
    train, held_out = ratings.split(0.2, key=jax.random.key(1))
    rmse = lambda matrix: float(held_out.loss(jnp.asarray(matrix))) ** 0.5
    mean = rmse(np.full(train.shape, float(train.values.mean())))
    offsets = rmse(baselines.row_plus_column_effects(train, ridge=1.0).matrix)
    low_rank = rmse(baselines.alternating_least_squares(train, 1, 0.1, key=key).matrix)
    assert 0.18 < low_rank < 0.3 < offsets < mean


def test_more_ratings_than_entries_are_refused(key):
    with pytest.raises(ValueError, match=r"`ratings` must lie in 1 \.\. 6"):
        synthetic_ratings(shape=(2, 3), ratings=7, key=key)
    with pytest.raises(ValueError, match="`rank` must be a positive integer, but it is 0"):
        synthetic_ratings(shape=(2, 3), ratings=4, rank=0, key=key)
