"""Matrices with missing entries are read entry by entry, and refused by file, line and column."""

import re
import zipfile

import numpy as np
import pytest

from flowkit import MatrixCompletion
from flowkit.datasets import read_matrix

nan = np.nan
MATRIX = np.array([[1.0, nan, -2.5], [4.0, 5e3, nan]])
TEXTS = {
    "commas": ("m.csv", "1,,-2.5\n4,5e3,NA\n", {}),
    "tabs": ("m.tsv", "1\t?\t-2.5\n4\t5000\tnull\n", {}),
    "a header": ("m.csv", "a,b,c\n1,nan,-2.5\n4,5e3,NaN\n", {"header": True}),
    "quotes and blanks": ("M.CSV", '"1", "",-2.5 \r\n4,5e3, None\r\n', {}),
    "a byte order mark": ("m.csv", "\ufeff1,,-2.5\n4,5e3,\n", {}),
    "blank lines at the end": ("m.csv", "1,,-2.5\n4,5e3,NA\n\n\r\n", {}),
    "as pandas writes them": ("m.csv", "1,N/A,-2.5\n4,5e3,#N/A\n", {}),
    "the text of a number": ("m.csv", "1,-1.0,-2.5\n4,5e3,-1\n", {"missing": ["-1"]}),
    "a number": ("m.csv", "1,-1,-2.5\n4,5e3,-1.00\n", {"missing": [-1]}),
    "another number": ("m.csv", "1,,-2.5\n4,5e3,1e2\n", {"missing": {np.float32(100), ""}}),
    "another word": ("m.csv", "1,-999,-2.5\n4,5e3,-999\n", {"missing": ["-999"]}),
}


@pytest.mark.parametrize(("name", "text", "options"), TEXTS.values(), ids=TEXTS.keys())
def test_text_is_read(tmp_path, name, text, options):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    np.testing.assert_array_equal(read_matrix(path, **options), MATRIX)


def test_a_blank_line_is_a_missing_entry_of_a_single_column(tmp_path):
    (tmp_path / "m.csv").write_text('\n1\n\n2\n""\n\n')
    np.testing.assert_array_equal(read_matrix(tmp_path / "m.csv")[:, 0], [nan, 1, nan, 2, nan])


@pytest.mark.parametrize("text", ["1,nan\n3,\n", "a,b\n1,\n3,\n"])
def test_a_last_column_of_which_nothing_is_known_is_written_or_named(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    matrix = read_matrix(tmp_path / "m.csv", header=text.startswith("a"))
    np.testing.assert_array_equal(matrix, [[1, nan], [3, nan]])


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("value", [None, [1], True])
def test_what_is_neither_text_nor_number_stands_for_nothing(tmp_path, value):
    (tmp_path / "m.csv").write_text("1,2\n")
    message = f"`missing` must hold texts and numbers, but it holds {value!r}."
    with pytest.raises(ValueError, match=re.escape(message)):
        read_matrix(tmp_path / "m.csv", missing=["", value])


def test_numpy_files_are_read(tmp_path):
    np.save(tmp_path / "m.npy", MATRIX)
    np.savez(tmp_path / "one.npz", MATRIX)
    np.savez(tmp_path / "two.npz", first=np.eye(2), second=MATRIX.astype(np.float32))
    np.testing.assert_array_equal(read_matrix(tmp_path / "m.npy"), MATRIX)
    np.testing.assert_array_equal(read_matrix(tmp_path / "one.npz"), MATRIX)
    second = read_matrix(tmp_path / "two.npz", name="second")
    np.testing.assert_array_equal(second, MATRIX)
    assert second.dtype == np.float64
    with pytest.raises(ValueError, match=r"`name` must be one of the arrays \['first', 'second'\]"):
        read_matrix(tmp_path / "two.npz")


def test_what_is_read_is_a_completion_problem(tmp_path):
    (tmp_path / "m.csv").write_text("1,,-2.5\n4,5e3,NA\n")
    matrix = read_matrix(tmp_path / "m.csv")
    problem = MatrixCompletion.from_matrix(matrix, observed=~np.isnan(matrix))
    assert problem.values.tolist() == [1.0, -2.5, 4.0, 5000.0]


BAD = {
    "a word": ("1,2\n3,x\n", "line 2, column 2 must be a finite number or missing, but it is 'x'"),
    "infinity": ("1,inf\n", "line 1, column 2 must be a finite number"),
    "too short": ("1,2\n3,4\n5\n", "line 3 must hold 2 entries, as the first row does, but it h"),
    "a blank first line": ("\n5,6\n", "line 1 must hold 2 entries"),
    "digits in groups": ("1_0,2\n", "line 1, column 1 must be a finite number"),
    "an empty line": ("1,2\n\n5,6\n", "line 2 must hold 2 entries"),
    "quotes": ('1,2\n"3,4\n', "must be text in UTF-8 with quotes in pairs, but near line"),
    "commas at the end": ("1,2,\n3,4, \n", "must hold something in its last column, such as `nan`"),
    "a header unannounced": ("a,b\n1,2\n", "line 1, column 1 must be a finite number"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_bad_text_is_refused_by_line_and_column(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"File `{path}`") + ",? " + re.escape(message)):
        read_matrix(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "m.csv").write_text("")
    with pytest.raises(ValueError, match="at least one row of entries, but it is empty"):
        read_matrix(tmp_path / "m.csv")
    with pytest.raises(ValueError, match=r"must end in one of \.csv, \.tsv, \.npy, \.npz"):
        read_matrix(tmp_path / "m.xlsx")
    with pytest.raises(ValueError, match="there is no file"):
        read_matrix(tmp_path / "absent.csv")


def test_one_text_for_missing_is_no_collection_of_its_letters(tmp_path):
    (tmp_path / "m.csv").write_text("9,99\n")
    with pytest.raises(ValueError, match=r"`missing` must be a collection of texts, such as \['99"):
        read_matrix(tmp_path / "m.csv", missing="99")


BAD_ARRAYS = {
    "a list": (np.ones(3), "must hold a real matrix with entries, but it holds .* shape \\(3,\\)"),
    "complex": (1j * np.eye(2), "a real matrix"),
    "words": (np.array([["a"]]), "a real matrix"),
    "nothing": (np.ones((0, 2)), "a real matrix"),
    "infinite": (np.array([[0.0, 1.0], [np.inf, 1.0]]), r"entry \(1, 0\) is inf"),
    "a pickle": (np.array([[None]], dtype=object), "cannot be read"),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(ValueError, match=message):
        read_matrix(tmp_path / "m.npy")


def test_a_truncated_file_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", MATRIX)
    content = (tmp_path / "m.npy").read_bytes()
    (tmp_path / "m.npy").write_bytes(content[:-8])
    with pytest.raises(ValueError, match="cannot be read"):
        read_matrix(tmp_path / "m.npy")
    (tmp_path / "m.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="cannot be read"):
        read_matrix(tmp_path / "m.npz")


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, np.arange(400.0).reshape(20, 20))
    content = bytearray(path.read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        read_matrix(path)


def test_what_is_no_array_in_an_archive_is_read_past(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, first=MATRIX)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "a note")
    np.testing.assert_array_equal(read_matrix(path), MATRIX)
    with pytest.raises(ValueError, match=r"`name` must be one of the arrays \['first'\]"):
        read_matrix(path, name="note.txt")


def test_options_of_another_format_are_refused(tmp_path):
    (tmp_path / "m.csv").write_text("1,2\n")
    np.save(tmp_path / "m.npy", MATRIX)
    for file, options in (("m.csv", {"name": "a"}), ("m.npy", {"name": "a"})):
        with pytest.raises(ValueError, match="`name` must be None"):
            read_matrix(tmp_path / file, **options)
    with pytest.raises(ValueError, match=r"`missing` must be left out for `\.npy`"):
        read_matrix(tmp_path / "m.npy", missing=["-1"])
    with pytest.raises(ValueError, match="`header` must be False"):
        read_matrix(tmp_path / "m.npy", header=True)
