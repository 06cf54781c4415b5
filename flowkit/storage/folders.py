"""Folders that results are written to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Refuse a folder that cannot be made or written to: before the work inside, or when it writes.

    Nothing is made, so that work that is refused for another reason leaves no folder behind.

    Args:
        out: The folder, which need not be there yet.

    Raises:
        ValueError: `out` or a place on the way is no folder, nobody may write there, or the disk is
            full.
    """
    try:
        _check_place(out)
        yield
    except OSError as error:
        if not (_is_about(error, out) or error.errno == errno.ENOSPC):
            raise
        raise ValueError(
            f"Argument `out` must be a folder that can be written, but it is {str(out)!r} "
            f"({error.filename or 'the disk'}: {error.strerror})."
        ) from error


def _check_place(out: Path) -> None:
    """Look at what is there of the folder, or of those that it would be made in."""
    place = out.absolute()
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def _is_about(error: OSError, out: Path) -> bool:
    """Whether an error is of the folder, of something in it, or of a place on the way to it."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    at, place = Path(error.filename).absolute(), out.absolute()
    return at.is_relative_to(place) or place.is_relative_to(at)
