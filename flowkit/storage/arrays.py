"""Named arrays and a few values in one `.npz` file, written whole or not at all."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from flowkit.storage.values import as_text, from_text

ATTRIBUTES = "attributes"  # the entry of the archive that is no array of the caller's

_EVERYWHERE = ("float32", "float64", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)))
NETCDF_TYPES = frozenset(_EVERYWHERE)
NUMPY_TYPES = NETCDF_TYPES | {"bool", "float16", "complex64", "complex128"}

Arrays = dict[str, Shaped[np.ndarray, "..."]]


def save_arrays(
    path: str | PathLike[str], arrays: Mapping[str, Any], attributes: Any = None
) -> None:
    """Write arrays, bit for bit, and a value of plain Python to a `.npz` file.

    An existing file is replaced once the new one is complete: whatever ends the process, `path`
    holds the old content or the new. `numpy.load` reads the file. Its entry `attributes` is JSON
    text, `{"attributes": .., "types": ..}`; `types` names the type of each array that NumPy does
    not know by itself, such as `bfloat16`, whose bits are stored as unsigned integers.

    Args:
        path: Ends in `.npz`, in a folder that exists.
        arrays: Numeric NumPy or JAX arrays by name; `attributes` is taken.
        attributes: Numbers, text, None, and lists, tuples and mappings of these.

    Raises:
        ValueError: the suffix is another one, or something cannot be stored; the message says what.
        FileNotFoundError: the folder does not exist.
    """
    path = checked_path(path, (".npz",))
    if ATTRIBUTES in arrays:
        raise ValueError(f"Argument `arrays` must not use the name `{ATTRIBUTES}`, but it does.")
    content = {name: as_numeric(array, name) for name, array in arrays.items()}
    stored, types = as_bits(content, NUMPY_TYPES)
    text = as_text({"attributes": attributes, "types": types}, "attributes")
    with replacing(path) as new, zipfile.ZipFile(new, "x") as archive:
        for name, array in (*stored.items(), (ATTRIBUTES, np.array(text))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_arrays(path: str | PathLike[str]) -> tuple[Arrays, Any]:
    """Read what `save_arrays` wrote.

    Args:
        path: The `.npz` file.

    Returns:
        The arrays by name, as NumPy arrays of the types they had, and the attributes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or `save_arrays` did not write it.
    """
    path = existing_path(path, (".npz",))
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            stored = dict(archive)
        content = from_text(stored.pop(ATTRIBUTES).item())
        return from_bits(stored, content["types"]), content["attributes"]
    except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Argument `path` must be a file that `save_arrays` wrote, but `{path}` is damaged or "
            f"something else."
        ) from error


def as_numeric(array: Any, name: str) -> Shaped[np.ndarray, "..."]:
    """An array of numbers as NumPy's, in the byte order of this machine.

    Raises:
        ValueError: it is no array of numbers; a PRNG key is not one, its `key_data` is.
    """
    is_key = isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    if is_key or not _is_storable((values := np.asarray(array)).dtype):
        kind = array.dtype if isinstance(array, jax.Array | np.ndarray) else type(array).__name__
        raise ValueError(
            f"Array `{name}` must hold numbers to be stored, but it is of type {kind}."
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _is_storable(dtype: np.dtype) -> bool:
    is_small = dtype.itemsize <= 2  # NumPy's own long double is not, and differs by machine
    return dtype.name in NUMPY_TYPES or (is_small and bool(jnp.issubdtype(dtype, jnp.number)))


def as_bits(arrays: Arrays, known: frozenset[str]) -> tuple[Arrays, dict[str, str]]:
    """Arrays in types that a format knows, and the names of the types that it does not know.

    Complex numbers get a last axis of real and imaginary part, other types are stored as unsigned
    integers of the same bits.
    """
    types = {n: a.dtype.name for n, a in arrays.items() if a.dtype.name not in known}
    return {n: _as_known(a) if n in types else a for n, a in arrays.items()}, types


def from_bits(arrays: Arrays, types: Mapping[str, str]) -> Arrays:
    """Undo `as_bits`."""
    return {n: _as_typed(a, types[n]) if n in types else a for n, a in arrays.items()}


def _as_known(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    if array.dtype.kind == "c":
        return np.stack([np.real(array), np.imag(array)], axis=-1)
    return array.view(f"uint{8 * array.dtype.itemsize}")


def _as_typed(array: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "..."]:
    dtype = jnp.dtype(name)
    if dtype.kind == "c":
        return np.ascontiguousarray(array).view(dtype)[..., 0]
    return array.view(dtype)


def checked_path(path: str | PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """A path to write to, of one of the suffixes and in a folder that exists."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(
            f"Argument `path` must end in {' or '.join(suffixes)}, but it is `{path}`."
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"The folder of `{path}` does not exist.")
    return path


def existing_path(path: str | PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """A path to read from, of one of the suffixes."""
    path = checked_path(path, suffixes)
    if not path.exists():
        raise FileNotFoundError(f"`{path}` does not exist.")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which then takes the place of `path`.

    If the writing fails, `path` stays as it was and nothing is left beside it. A process that is
    killed may leave a folder named after the file, with a dot in front; one that is killed between
    the two renamings of a folder, which take no time, leaves the old and the new one in there.
    """
    with TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as folder:
        new, old = Path(folder, path.name), Path(folder, "replaced")
        yield new
        try:
            if path.is_dir():  # nothing can be renamed onto a folder with content
                os.replace(path, old)
            os.replace(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
