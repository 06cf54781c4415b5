"""Kernel ridge regression by conjugate gradients, for Gram matrices that are only multiplied by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import lineax as lx
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.sparse.linalg import LinearOperator, cg

Matrix = Float[np.ndarray, "points columns"]
Product = Callable[[Matrix], Matrix]
Kernel = Any  # a matrix, a Lineax operator, or a function that multiplies a matrix by the kernel

REACHED = "reached the tolerance"
DRIFT = 2  # the recursion of the residual may be off by this factor at the end


@dataclass(frozen=True)
class RowTiles:
    """A Gram matrix read a tile of rows at a time, as from a file, and never held as a whole.

    Attributes:
        read: Gives the rows of a slice, all columns.
        points: The number of rows.
        tile: The number of rows to read at once.
    """

    read: Callable[[slice], Any]
    points: int
    tile: int = 256

    def __call__(self, columns: Matrix) -> Matrix:
        """The product of the matrix and some columns; every row is read once for all of them."""
        starts = range(0, self.points, self.tile)
        rows = (slice(start, min(start + self.tile, self.points)) for start in starts)
        return np.concatenate([np.asarray(self.read(each)) @ columns for each in rows])


@dataclass(frozen=True, eq=False)
class IterativeSolution:
    """What conjugate gradients found.

    Attributes:
        weights: Approximately (K + ridge I)^{-1} y, shaped as y.
        iterations: The number of steps taken; each multiplies by K once, for all outputs.
        residual: |y - (K + ridge I) weights| / |y|, of the weights as they are.
        converged: Whether the residual is within the tolerance, up to a factor of 2.
        reason: Why it ended.
    """

    weights: Float[np.ndarray, " train *outputs"] = field(repr=False)
    iterations: int
    residual: float
    converged: bool
    reason: str

    def predict(self, K_test_train: Kernel) -> Float[np.ndarray, " test *outputs"]:
        """Outputs k(x, X) weights, from zero at the start.

        Args:
            K_test_train: Kernel values, test points by training points, or their product.

        Returns:
            The predictions, shaped as y with test points for training points.

        Raises:
            ValueError: the solve did not converge; its `weights` may still be used by hand.
        """
        if not self.converged:
            raise ValueError(f"The solve must have converged to predict, but it {self.reason}.")
        columns = self.weights.reshape(len(self.weights), -1)
        values = product_with(K_test_train)(columns)
        return values.reshape(len(values), *self.weights.shape[1:])


class _Stopped(Exception):
    """Ends the iteration from within a product, with a reason."""


def conjugate_gradients(
    K: Kernel,
    y: Any,
    *,
    ridge: float = 0.0,
    preconditioner: Product | None = None,
    tolerance: float = 1e-8,
    max_steps: int | None = None,
) -> IterativeSolution:
    """Solve (K + ridge I) weights = y with products alone, all outputs at once.

    The end of kernel flow from zero, as `fit` gives it. Runs on the host in the dtype of y (float64
    for integers), so that K may be read from a file: by `RowTiles`, or as `flowkit.gram` returns
    it from a store.

    Args:
        K: A matrix, a Lineax operator, or a function that multiplies a (train, outputs) matrix;
            symmetric and positive semidefinite.
        y: Targets, one number or one row of outputs for each point.
        ridge: Added to the diagonal of K.
        preconditioner: Multiplies by an approximate inverse of K + ridge I; see `nystrom`.
        tolerance: Of |y - (K + ridge I) weights| / |y|, over all outputs.
        max_steps: The largest number of steps; ten times the number of points where omitted.

    Returns:
        The solution, also where the solve failed; it says why.

    Raises:
        ValueError: y is not finite or has more than two axes, or a number is out of its range.

    Source:
        Hestenes, Stiefel 1952; SciPy's `cg`. Checked by tests/regression/test_iterative.py.
    """
    targets = check_host_targets(y)
    _check_numbers(ridge, tolerance, max_steps)
    shape, size = targets.shape, targets.size
    product, limit = product_with(K), max_steps or 10 * len(targets)
    system = lambda columns: _finite(product(columns)) + ridge * columns
    flat = lambda function: LinearOperator(
        (size, size),
        lambda v: function(v.reshape(len(targets), -1)).ravel(),
        dtype=targets.dtype,  # pyright: ignore[reportCallIssue]
    )
    inverse = None if preconditioner is None else flat(preconditioner)
    progress = _Progress(np.zeros(size, targets.dtype))
    try:
        weights, failed = cg(
            flat(lambda columns: _check_curvature(columns, system(columns))),
            targets.ravel(),
            rtol=tolerance,
            maxiter=limit,
            M=inverse,
            callback=progress,
        )
        reason = f"took {limit} steps" if failed else REACHED
    except _Stopped as stop:
        weights, reason = progress.last, str(stop)
    weights = weights.reshape(shape)
    residual = _residual(system, weights, targets)
    converged = reason == REACHED and residual <= DRIFT * tolerance
    if reason == REACHED and not converged:
        reason = f"stagnated at a residual of {residual:.1e} by rounding"
    return IterativeSolution(weights, progress.steps, residual, converged, reason)


@dataclass
class _Progress:
    """Counts steps and keeps the last weights."""

    last: Float[np.ndarray, " entries"]
    steps: int = 0

    def __call__(self, weights: Float[np.ndarray, " entries"]) -> None:
        self.last, self.steps = weights.copy(), self.steps + 1


def nystrom(K: Kernel, points: int, rank: int, *, ridge: float, key: PRNGKeyArray) -> Product:
    """A preconditioner of K + ridge I from one product of K and `rank` random columns.

    With U diag(lambda) U' the Nystrom approximation of K from those columns, P^{-1} multiplies by
    (lambda_min + ridge) / (lambda_i + ridge) along u_i and by 1 elsewhere: where K decays beyond
    its first `rank` eigenvalues, the condition number falls to about lambda_rank / ridge.

    Args:
        K: What `conjugate_gradients` takes.
        points: The number of training points.
        rank: The number of random columns.
        ridge: That of the system, above 0.
        key: Draws the columns.

    Returns:
        The product with P^{-1}.

    Raises:
        ValueError: the rank is not between 1 and the number of points, or the ridge is not above 0.

    Source:
        Frangella, Tropp, Udell 2021, arXiv:2110.02820, Algorithm 2.1 and equation 5.3. Checked by
        tests/regression/test_iterative.py.
    """
    if not 1 <= rank <= points:
        raise ValueError(f"Argument `rank` must be from 1 to {points}, but it is `{rank}`.")
    if not 0 < ridge < np.inf:
        raise ValueError(f"Argument `ridge` must be finite and above 0, but it is `{ridge}`.")
    columns = np.linalg.qr(np.asarray(jax.random.normal(key, (points, rank))))[0]
    sketch = product_with(K)(columns)
    if not np.isfinite(sketch).all():
        raise ValueError("Argument `K` must give finite products, but one holds nan or infinity.")
    sketch = sketch + np.finfo(sketch.dtype).eps * np.linalg.norm(sketch) * columns
    core, basis = np.linalg.eigh(columns.T @ sketch)
    kept = core > rank * np.finfo(core.dtype).eps * core.max()
    vectors, singular, _ = np.linalg.svd(
        sketch @ (basis[:, kept] / np.sqrt(core[kept])), full_matrices=False
    )
    eigenvalues = singular**2 + ridge
    gain = eigenvalues[-1] / eigenvalues - 1
    return lambda v: v + vectors @ (gain[:, None] * (vectors.T @ v))


def product_with(K: Kernel) -> Product:
    """The function that multiplies by a kernel, on the host."""
    if isinstance(K, lx.AbstractLinearOperator):
        return lambda columns: np.asarray(jax.vmap(K.mv, 1, 1)(jax.numpy.asarray(columns)))
    if callable(K):
        return lambda columns: np.asarray(K(columns))
    matrix = np.asarray(K)
    return lambda columns: matrix @ columns


def _finite(values: Matrix) -> Matrix:
    if not np.isfinite(values).all():
        raise _Stopped("met nan or infinity in a product with the kernel")
    return values


def _check_curvature(columns: Matrix, image: Matrix) -> Matrix:
    """Refuse a direction along which the quadratic form is negative beyond rounding."""
    curvature = float((columns * image).sum())
    size = float(np.linalg.norm(columns) * np.linalg.norm(image))
    if curvature < -len(columns) * np.finfo(image.dtype).eps * size:
        raise _Stopped(
            f"met a direction of negative curvature, {curvature:.2e}: the kernel with its ridge is "
            f"not positive semidefinite"
        )
    return image


def _residual(system: Product, weights: np.ndarray, targets: np.ndarray) -> float:
    try:
        error = targets - system(weights.reshape(len(weights), -1)).reshape(weights.shape)
    except _Stopped:
        return float("nan")
    return float(np.linalg.norm(error) / max(np.linalg.norm(targets), np.finfo(float).tiny))


def check_host_targets(y: Any) -> Float[np.ndarray, " train *outputs"]:
    """One number or one row of outputs for each point, as an array of NumPy."""
    targets = np.asarray(y)
    if not np.issubdtype(targets.dtype, np.floating):
        targets = targets.astype(float)
    if targets.ndim not in (1, 2) or targets.size == 0:
        raise ValueError(
            f"Argument `y` must have one or two axes and at least one entry, but it has shape "
            f"{targets.shape}."
        )
    if not np.isfinite(targets).all():
        raise ValueError("Argument `y` must be finite, but it holds nan or infinity.")
    return targets


def _check_numbers(ridge: float, tolerance: float, max_steps: int | None) -> None:
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"Argument `max_steps` must be at least 1, but it is `{max_steps}`.")
    if not 0 <= ridge < np.inf:
        raise ValueError(f"Argument `ridge` must be finite and at least 0, but it is `{ridge}`.")
    if not 0 < tolerance < 1:
        raise ValueError(f"Argument `tolerance` must be between 0 and 1, but it is `{tolerance}`.")
