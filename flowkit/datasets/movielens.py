"""MovieLens 100K from the user's own copy, and synthetic ratings of its shape."""

from os import PathLike
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Key

from flowkit.problems import MatrixCompletion
from flowkit.problems.counts import check_count, checked_shape

USERS, MOVIES = 943, 1682
RATINGS = 100_000
LOWEST, HIGHEST = 1.0, 5.0
FILE = "u.data"
BYTE_ORDER_MARK = "\xef\xbb\xbf"  # of UTF-8, as Latin-1 reads it
FIELDS = 4  # user, movie, rating, time of the rating


def movielens(
    path: str | PathLike[str], *, shape: tuple[int, int] = (USERS, MOVIES)
) -> MatrixCompletion:
    """The ratings of a MovieLens 100K file: one row per user, one column per movie.

    Row i is user i + 1 and column j movie j + 1, as ids count from 1. Times are read past,
    and so are blank lines at the end of the file.

    Args:
        path: The file `u.data`, or the folder that holds it. Nothing is downloaded.
        shape: The numbers of users and of movies; by default those of MovieLens 100K.

    Returns:
        The ratings, 1 to 5, as observations.

    Raises:
        ValueError: `shape` is not two positive integers, there is no such file, or a line does not
            hold four fields separated by tabs, an id is no integer or outside of 1 .. its number, a
            rating does not parse or is outside of 1 .. 5, or a pair has been rated before. The
            message names file and line.

    Source:
        Harper and Konstan 2015, The MovieLens datasets. Checked by
        tests/datasets/test_movielens.py.
    """
    shape = checked_shape(shape)
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"Argument `path` must be a file `{FILE}` or the folder that holds it, but there is no "
            f"file `{path}`."
        )
    seen: dict[tuple[int, int], int] = {}
    ratings: list[float] = []
    for number, line in enumerate(_lines(path), 1):
        where = f"File `{path}`, line {number}"
        user, movie, rating = _parsed(line, where, shape)
        if (first := seen.setdefault((user, movie), number)) != number:
            raise ValueError(
                f"{where} must hold a pair that is new, but user {user} rated movie {movie} in "
                f"line {first} already."
            )
        ratings.append(rating)
    if not ratings:
        raise ValueError(f"File `{path}` must hold at least one rating, but it is empty.")
    users, movies = np.array(list(seen), int).T
    return MatrixCompletion(users - 1, movies - 1, np.array(ratings), shape)


def _lines(path: Path) -> list[str]:
    """Lines, less a byte order mark and blank lines at the end.

    They end at line feeds alone; other breaks of Unicode are characters of a line.
    """
    lines = path.read_text("latin-1").removeprefix(BYTE_ORDER_MARK).split("\n")
    while lines and not lines[-1].strip(" \t\r"):
        lines.pop()
    return lines


def _parsed(line: str, where: str, shape: tuple[int, int]) -> tuple[int, int, float]:
    fields = line.split("\t")
    if len(fields) != FIELDS:
        raise ValueError(
            f"{where} must hold {FIELDS} fields separated by tabs, but it holds {len(fields)}: "
            f"{line!r}."
        )
    user, movie = (
        _id(text, name, size, where)
        for text, name, size in zip(fields, ("user", "movie"), shape, strict=False)
    )
    try:
        rating = float(fields[2] if "_" not in fields[2] else "")  # Python reads 0_4 as four
    except ValueError:
        rating = float("nan")
    if not LOWEST <= rating <= HIGHEST:
        raise ValueError(
            f"{where} must hold a rating from {LOWEST:g} to {HIGHEST:g}, but it is {fields[2]!r}."
        )
    return user, movie, rating


def _id(text: str, name: str, size: int, where: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= size):
        raise ValueError(
            f"{where} must hold a {name} id from 1 to {size}, an integer, but it is {text!r}."
        )
    return int(text)


def synthetic_ratings(
    *,
    shape: tuple[int, int] = (USERS, MOVIES),
    ratings: int = RATINGS,
    rank: int = 5,
    noise: float = 0.9,
    key: Key[Array, ""],
) -> MatrixCompletion:
    """Ratings of a known kind: a mean, offsets of users and movies, a low rank, and noise.

    rating_ij = 3.5 + a_i + b_j + u_i . v_j / sqrt(rank) / 2 + noise e_ij with a, b of deviation
    0.45 and the rest standard normal: the taste u . v has deviation 0.5. They are not rounded. Busy
    users and popular movies are rated more often: entries are drawn without replacement with
    chances exp(activity_i + popularity_j), of deviations 0.8 and 1.2.

    Args:
        shape: The numbers of users and of movies.
        ratings: How many entries are observed.
        rank: Rank of the taste.
        noise: Deviation of the noise: no method has a lower root mean square error on average.
        key: Draws everything.

    Returns:
        The ratings as observations.

    Raises:
        ValueError: `shape` is not two positive integers, `ratings` is no number of entries of a
            matrix of that shape, or `rank` is no positive integer.
    """
    users, movies = shape = checked_shape(shape)
    check_count(ratings=ratings, rank=rank)
    if ratings > users * movies:
        raise ValueError(
            f"Argument `ratings` must lie in 1 .. {users * movies}, but it is {ratings!r}."
        )
    sides, chances, entries, errors = jax.random.split(key, 4)
    left, right = (
        np.asarray(jax.random.normal(k, (size, rank + 1)))
        for k, size in zip(jax.random.split(sides), shape, strict=True)
    )
    activity, popularity = (
        deviation * np.asarray(jax.random.normal(k, (size,)))
        for k, size, deviation in zip(jax.random.split(chances), shape, (0.8, 1.2), strict=True)
    )
    log_chances = activity[:, None] + popularity[None, :]
    drawn = log_chances + np.asarray(jax.random.gumbel(entries, shape))
    rows, cols = np.unravel_index(np.argsort(-drawn, axis=None)[:ratings], shape)
    taste = (left[rows, 1:] * right[cols, 1:]).sum(1) / rank**0.5
    offsets = 0.45 * (left[rows, 0] + right[cols, 0])
    values = 3.5 + offsets + 0.5 * taste
    noisy = values + noise * np.asarray(jax.random.normal(errors, (ratings,)))
    return MatrixCompletion(rows, cols, noisy, shape)
