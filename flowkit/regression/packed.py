"""Kernel ridge regression by a Cholesky factorization in half the memory of a square matrix.

The lower triangle is read strip by strip into LAPACK's rectangular full packed format and factored
there, in place, by routines that work on blocks: n (n + 1) / 2 numbers, 10 GB at n = 50,000.

    n = 6:  33 43 53      n = 5:  00 33 43
            00 44 54              10 11 44
            10 11 55              20 21 22
            20 21 22              30 31 32
            30 31 32              40 41 42
            40 41 42
            50 51 52
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from flowkit.regression.iterative import Kernel, product_with

Strip = tuple[int, int, Float[np.ndarray, "rows columns"]]
Entries = tuple[np.ndarray, np.ndarray]

MOST_POINTS = 65_535  # whose triangle LAPACK's integers of 32 bits count


@runtime_checkable
class StoredMatrix(Protocol):
    """A matrix that is read a strip of its upper triangle at a time, as `flowkit.gram` stores it.

    `strips` gives the first and the last index of some columns, and these columns, all rows down to
    the last index.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def symmetric(self) -> bool: ...
    def strips(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Triangle:
    """The lower triangle of a symmetric matrix, in rectangular full packed format.

    Attributes:
        points: Rows of the matrix.
        packed: The numbers, in the order of LAPACK.
    """

    points: int
    packed: Float[np.ndarray, " entries"] = field(repr=False)

    @property
    def _half(self) -> int:
        """How many columns of the triangle are columns of the rectangle; the others are rows."""
        return (self.points + 1) // 2

    @property
    def _below(self) -> int:
        """By how many rows the former stand below their place."""
        return 1 - self.points % 2

    @property
    def _rectangle(self) -> Float[np.ndarray, "rows columns"]:
        return self.packed.reshape((self.points + self._below, self._half), order="F")

    def put(self, first: int, last: int, strip: Float[np.ndarray, "last columns"]) -> None:
        """Write some rows of the triangle: columns of the upper one, down to the last index."""
        half, below, rectangle = self._half, self._below, self._rectangle
        aside = 1 - below - half
        left = min(first, half)
        rectangle[first + below : last + below, :left] = strip[:left].T
        if first > half:
            rectangle[: first - half, first + aside : last + aside] = strip[half:first]
        for j in range(first, last):
            if j < half:
                rectangle[j + below : last + below, j] = strip[j, j - first :]
            else:
                rectangle[j - half, j + aside : last + aside] = strip[j, j - first :]

    def diagonal(self) -> Float[np.ndarray, " points"]:
        """The diagonal, copied."""
        return self._rectangle[self._on_the_diagonal()]

    def add_to_diagonal(self, value: float) -> None:
        self._rectangle[self._on_the_diagonal()] += value

    def _on_the_diagonal(self) -> Entries:
        j = np.arange(self.points)
        left = j < self._half
        rows = np.where(left, j + self._below, j - self._half)
        return rows, np.where(left, j, j - self._half + 1 - self._below)


@dataclass(frozen=True, eq=False)
class PackedRegression:
    """Predictions at the end of kernel gradient flow; made by `fit` of a stored matrix.

    As `CholeskyRegression`, on the host and in float64 whatever the type of the store.

    Attributes:
        factor: The lower triangular L of K + ridge I = L L^T.
        weights: (K + ridge I)^{-1} (y - u_0).
        targets: y.
        ridge: The ridge, absolute.
    """

    factor: Triangle = field(repr=False)
    weights: Float[np.ndarray, " train *outputs"] = field(repr=False)
    targets: Float[np.ndarray, " train *outputs"] = field(repr=False)
    ridge: float

    def predict(
        self, K_test_train: Kernel, *, start: Float[np.ndarray, " test *outputs"] | None = None
    ) -> Float[np.ndarray, " test *outputs"]:
        """Outputs at the end of the flow: f_0 + k(x, X) (K + ridge I)^{-1} (y - u_0).

        Args:
            K_test_train: Kernel values, test points by training points: a matrix, in a store or
                not, or a function that multiplies by it.
            start: The test outputs f_0 at t = 0; zero where omitted, also after a fit from `start`.

        Returns:
            The predictions, shaped as y with test points for training points.
        """
        columns = self.weights.reshape(len(self.weights), -1)
        values = product_with(K_test_train)(columns)
        values = values.reshape(len(values), *self.weights.shape[1:])
        return values if start is None else start + values

    def leave_one_out(self) -> Float[np.ndarray, " train *outputs"]:
        """Each training point's output by the regression on all the other points.

        With G = (K + ridge I)^{-1} it is y_i - weights_i / G_ii, shaped as y. Takes as much memory
        again as the factor.

        Source:
            Rasmussen, Williams 2006, section 5.4.2.
        """
        n = self.factor.points
        inverse = self.factor.packed.copy()
        _call("dpftri", n, inverse)
        diagonal = Triangle(n, inverse).diagonal()
        return self.targets - (self.weights.T / diagonal).T


def fit_stored(
    K: StoredMatrix,
    y: Float[np.ndarray, " train *outputs"],
    start: Float[np.ndarray, " train *outputs"] | None,
    ridge: float,
    *,
    relative: bool,
) -> PackedRegression:
    """The regression of a stored matrix; the ridge in units of the mean diagonal if relative.

    Raises:
        ValueError: K is not symmetric, not finite, as where it is not finished, not positive
            definite beyond rounding with its ridge, or too large for LAPACK.

    Source:
        Gustavson, Wasniewski, Dongarra, Langou 2010, ACM Transactions on Mathematical Software
        37(2), article 18. Checked by tests/regression/test_packed.py.
    """
    triangle = _read(K)
    absolute = ridge * float(triangle.diagonal().mean() if relative else 1.0)
    triangle.add_to_diagonal(absolute)
    n, wanted = triangle.points, y if start is None else y - start
    minor = _call("dpftrf", n, triangle.packed)
    pivots = triangle.diagonal() ** 2
    if minor or not pivots.min() > n * np.finfo(float).eps * pivots.max():
        found = f"the leading {minor} rows are not" if minor else f"a pivot is {pivots.min():.2e}"
        raise ValueError(
            f"Argument `K` must be positive definite together with the ridge, {absolute:.2e}, to "
            f"be factored, but up to rounding it is not: {found}; raise the ridge."
        )
    weights = np.array(wanted.reshape(n, -1), order="F")
    _call("dpftrs", n, weights.shape[1], triangle.packed, weights, n)
    return PackedRegression(triangle, weights.reshape(y.shape), y, absolute)


def _call(name: str, *arguments: int | Float[np.ndarray, "..."]) -> int:
    """Run a routine of LAPACK on lower triangles, in place; returns its `info`.

    By its address: SciPy's own functions, of `scipy.linalg.lapack`, check the length of a triangle
    with n (n + 1) in 32 bits, which ends at n = 46,340.
    """
    pointers: list[Any] = [b"N", b"L"]
    for value in arguments:
        is_array = isinstance(value, np.ndarray)
        pointers.append(value.ctypes if is_array else ctypes.byref(ctypes.c_int(value)))
    info = ctypes.c_int(0)
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(pointers) + 1))
    prototype(_address(name))(*pointers, ctypes.byref(info))
    return info.value


def _address(name: str) -> int:
    """Where a routine of LAPACK is, as SciPy gives it to Cython."""
    capsules: Any = import_module("scipy.linalg.cython_lapack")
    capsule, api = capsules.__pyx_capi__[name], ctypes.pythonapi
    own_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    return pointer(("PyCapsule_GetPointer", api))(capsule, own_name(capsule))


def _read(K: StoredMatrix) -> Triangle:
    """The lower triangle; memory holds a strip besides."""
    n = K.shape[0]
    if not K.symmetric:
        raise ValueError(
            f"Argument `K` must be the matrix of one set of points, but it is one of two sets, "
            f"with shape {K.shape}."
        )
    if n > MOST_POINTS:
        raise ValueError(f"Argument `K` must have at most {MOST_POINTS} rows, but it has {n}.")
    triangle = Triangle(n, np.empty(n * (n + 1) // 2))
    for first, last, strip in K.strips():
        if not np.isfinite(strip).all():
            raise ValueError(
                f"Argument `K` must be finite, but rows {first} to {last - 1} hold nan, which is "
                f"what is not computed yet, or infinity."
            )
        triangle.put(first, last, strip)
    return triangle
