"""Matrices with missing entries from the user's files: delimited text, and NumPy's formats."""

import csv
import struct
import zlib
from collections.abc import Collection, Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from flowkit.problems.counts import is_number

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".npy", ".npz")
UNREADABLE = (
    ValueError,
    EOFError,
    OSError,
    NotImplementedError,  # from zipfile: a compression that it does not know
    struct.error,
    BadZipFile,
    zlib.error,
)
MISSING = (  # whatever their case: what pandas takes for missing, and the question mark
    *("", "nan", "-nan", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "null", "none"),
    *("-1.#ind", "1.#ind", "-1.#qnan", "1.#qnan", "?"),
)


def read_matrix(
    path: str | PathLike[str],
    *,
    missing: Collection[str | int | float | np.number] = MISSING,
    header: bool = False,
    name: str | None = None,
) -> Float[np.ndarray, "rows columns"]:
    """A matrix whose missing entries are `nan`, ready for `MatrixCompletion.from_matrix`.

    Args:
        path: A `.csv` (commas) or `.tsv` file (tabs) with a row a line, or a NumPy `.npy` or `.npz`
            file, read without pickles. Nothing is downloaded.
        missing: What stands for a missing entry in text, whatever its case; blanks around it do
            not count. What is a number, or the text of one, stands for that number however it is
            written: -1 also for `-1.0`. By default what pandas takes for missing, and `?`. In
            NumPy's formats it is `nan`. A blank line is a missing entry where rows hold a single
            one, except at the end of the file, where blank lines are read past.
        header: Whether the first line of text holds names, which are read past; not for NumPy's
            formats.
        name: Which array of a `.npz` file, and of no other; needed where it holds several.

    Returns:
        The matrix in float64.

    Raises:
        ValueError: `missing` is a single text or holds what is neither text nor number, or an
            option does not apply; the file is missing, of another kind, empty or not a real matrix;
            a line of text has another length than the first, an entry is neither a finite number
            nor missing, or every line ends in a comma (tab), so that nobody knows whether there is
            a last column: write `nan` into it if there is, or name it in a header. The message
            names the file and, of text, line and column.
    """
    if isinstance(missing, str):
        raise ValueError(
            f"Argument `missing` must be a collection of texts, such as [{missing!r}], but it is "
            f"the text {missing!r}."
        )
    absent = _Missing.of(missing)
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"Argument `path` must end in one of {', '.join(SUFFIXES)}, but it is `{file}`."
        )
    if not file.is_file():
        raise ValueError(f"Argument `path` must be a file, but there is no file `{file}`.")
    suffix = file.suffix.lower()
    if header and suffix not in DELIMITERS:
        raise ValueError(f"Argument `header` must be False for `{suffix}`, but it is {header!r}.")
    if name is not None and suffix != ".npz":
        raise ValueError(f"Argument `name` must be None for `{suffix}`, but it is {name!r}.")
    if suffix in DELIMITERS:
        return _from_text(file, absent, header=header)
    if absent != _Missing.of(MISSING):
        raise ValueError(f"Argument `missing` must be left out for `{suffix}`, where it is `nan`.")
    return _checked(file, _loaded(file, name))


class _Missing(NamedTuple):
    """What stands for a missing entry: texts in lower case, and numbers."""

    texts: frozenset[str]
    numbers: frozenset[float]

    @classmethod
    def of(cls, missing: Collection[str | int | float | np.number]) -> "_Missing":
        for value in missing:
            if not isinstance(value, str) and not is_number(value):
                raise ValueError(
                    f"Argument `missing` must hold texts and numbers, but it holds {value!r}."
                )
        texts = frozenset(str(value).strip().lower() for value in missing)
        return cls(
            texts, frozenset(number for text in texts if (number := _number(text)) is not None)
        )


def _from_text(path: Path, missing: _Missing, *, header: bool) -> Float[np.ndarray, "rows columns"]:
    names, lines = [], list(_lines(path))
    if header and lines:
        (_, names), *lines = lines
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines:
        raise ValueError(f"File `{path}` must hold at least one row of entries, but it is empty.")
    width = next(len(cells) for _, cells in lines if cells)
    rows: list[list[float]] = []
    for where, cells in lines:
        if (len(cells) or 1) != width:
            raise ValueError(
                f"{where} must hold {width} entries, as the first row does, but it holds "
                f"{len(cells)}."
            )
        rows.append([_entry(cell, missing, where, j) for j, cell in enumerate(cells or [""], 1)])
    is_named = len(names) == width and names[-1].strip()
    if width > 1 and not is_named and not any(cells[-1].strip() for _, cells in lines):
        raise ValueError(
            f"File `{path}` must hold something in its last column, such as `nan`, but every line "
            f"ends before it."
        )
    return np.array(rows)


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The cells of every line, and where it stands."""
    delimiter = DELIMITERS[path.suffix.lower()]
    with path.open(newline="", encoding="utf-8-sig") as text:
        lines = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in lines:
                yield f"File `{path}`, line {lines.line_num}", cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"File `{path}` must be text in UTF-8 with quotes in pairs, but near line "
                f"{lines.line_num} it is not: {error}."
            ) from error


def _entry(cell: str, missing: _Missing, where: str, column: int) -> float:
    value = _number(cell)
    if value in missing.numbers or cell.strip().lower() in missing.texts:
        return float("nan")
    if value is None:
        raise ValueError(
            f"{where}, column {column} must be a finite number or missing, but it is {cell!r}."
        )
    return value


def _number(text: str) -> float | None:
    """The finite number that a text is; None where it is none."""
    try:
        value = float(text if "_" not in text else "")  # Python reads 1_0 as ten
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _loaded(path: Path, name: str | None) -> np.ndarray:
    """The array of a file, or the arrays of an archive by name."""
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = None if isinstance(content, np.ndarray) else dict(content)
    except UNREADABLE as error:
        raise ValueError(
            f"File `{path}` must hold arrays in NumPy's format, but it cannot be read: {error}."
        ) from error
    if arrays is None:
        return content
    arrays = {key: array for key, array in arrays.items() if isinstance(array, np.ndarray)}
    chosen = next(iter(arrays), None) if name is None and len(arrays) == 1 else name
    if chosen not in arrays:
        raise ValueError(
            f"Argument `name` must be one of the arrays {list(arrays)} of `{path}`, but it is "
            f"{name!r}."
        )
    return arrays[chosen]


def _checked(path: Path, matrix: np.ndarray) -> Float[np.ndarray, "rows columns"]:
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "fiu":
        raise ValueError(
            f"File `{path}` must hold a real matrix with entries, but it holds an array of shape "
            f"{matrix.shape} and type {matrix.dtype}."
        )
    infinite = np.argwhere(np.isinf(matrix))
    if len(infinite):
        i, j = infinite[0]
        raise ValueError(
            f"File `{path}` must hold finite numbers, or nan where missing, but entry ({i}, {j}) "
            f"is {matrix[i, j]}."
        )
    return matrix.astype(float)
