"""Matrix completion: some entries of a matrix are observed, the others are to be found."""

import abc
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from flowkit.problems.counts import checked_shape
from flowkit.problems.masked import with_nan


class AbstractProblem(eqx.Module):
    """A loss of one matrix, the end-to-end matrix W of a factorization."""

    shape: eqx.AbstractVar[tuple[int, int]]

    @abc.abstractmethod
    def loss(self, product: Float[Array, "out in"]) -> Scalar:
        """The training loss at W; the docstring of each problem states its convention."""

    def gradient(self, product: Float[Array, "out in"]) -> Float[Array, "out in"]:
        """G = grad loss at W, by automatic differentiation."""
        return jax.grad(self.loss)(product)


def check_product(problem: AbstractProblem, product: Array) -> None:
    """Refuse a matrix that does not have the shape of a problem."""
    if product.shape != problem.shape:
        raise ValueError(
            f"Argument `product` must have shape {problem.shape}, but it has {product.shape}."
        )


@final
class MatrixCompletion(AbstractProblem):
    """Observed entries of a matrix, with the mean of squares as loss.

    loss(W) = 1/m sum_{i,j observed} (W_ij - value_ij)^2 over the m observations.

    Attributes:
        rows: Row of each observation.
        cols: Column of each observation.
        values: The observed values.
        shape: Rows and columns of the matrix.
    """

    rows: Int[Array, " observed"]
    cols: Int[Array, " observed"]
    values: Float[Array, " observed"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, rows, cols, values, shape: tuple[int, int]):
        """Collect observations; entries given twice with one value count once.

        Args:
            rows: Integer row of each observation.
            cols: Integer column of each observation.
            values: Real value of each observation.
            shape: Rows and columns of the matrix, at least 1 x 1.

        Raises:
            ValueError: there are no observations, the lengths differ, an index is outside
                `shape`, a value is not finite, or an entry is given two values.
        """
        self.shape = checked_shape(shape)
        rows, cols = (_checked_indices(*a, self.shape) for a in (("rows", rows), ("cols", cols)))
        values = values if isinstance(values, Tracer) else np.asarray(with_nan(values))
        if values.dtype.kind not in "fiu":
            raise ValueError(f"Argument `values` must be real, but its type is {values.dtype}.")
        with np.errstate(over="ignore"):  # an overflow is refused below, as a value
            values = values.astype(jnp.zeros(()).dtype)
        _check_values(rows, cols, values)
        rows, cols, values = _without_repeats(rows, cols, values)
        self.rows, self.cols = jnp.asarray(rows), jnp.asarray(cols)
        self.values = jnp.asarray(values)

    @classmethod
    def from_matrix(
        cls,
        target: Float[Array | np.ndarray, "out in"],
        *,
        observed: float | int | Bool[Array | np.ndarray, "out in"],
        key: PRNGKeyArray | None = None,
    ) -> "MatrixCompletion":
        """Observe entries of a known matrix; `nan` or a mask marks those that nobody knows.

        Args:
            target: The matrix; entries that are `nan`, or masked in a NumPy masked array, are never
                observed.
            observed: Which entries: a fraction of the known ones (a float in (0, 1]), their
                number (an int), or a Boolean mask.
            key: Draws the entries, uniformly without replacement; not needed with a mask.

        Returns:
            The completion problem.

        Raises:
            ValueError: `target` is no matrix or holds infinities, `observed` asks for no entry,
                too many or unknown ones, or `key` is missing.
        """
        target = np.asarray(with_nan(target), dtype=float)
        if target.ndim != 2 or np.isinf(target).any():
            raise ValueError(
                f"Argument `target` must be a matrix of finite values (or nan where unknown), but "
                f"it has shape {target.shape} and {np.isinf(target).sum()} infinities."
            )
        rows, cols = np.nonzero(_observation_mask(~np.isnan(target), observed, key))
        return cls(rows, cols, target[rows, cols], target.shape)

    def loss(self, product: Float[Array, "out in"]) -> Scalar:
        """Mean of squared residuals over the observations.

        Raises:
            ValueError: `product` does not have the problem's shape.
        """
        check_product(self, product)
        return jnp.mean((product[self.rows, self.cols] - self.values) ** 2)

    @property
    def mask(self) -> Bool[np.ndarray, "out in"]:
        """Where the matrix is observed."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[np.asarray(self.rows), np.asarray(self.cols)] = True
        return mask

    def held_out(self, target: Float[Array | np.ndarray, "out in"]) -> "MatrixCompletion":
        """The known entries that are not observed, as a problem whose loss is the test error."""
        target = np.asarray(with_nan(target), dtype=float)
        if target.shape != self.shape:
            raise ValueError(
                f"Argument `target` must have shape {self.shape}, but it has {target.shape}."
            )
        left = ~np.isnan(target) & ~self.mask
        if not left.any():
            raise ValueError(
                "Argument `target` must have known entries that are not observed, but it has none."
            )
        return MatrixCompletion.from_matrix(target, observed=left)

    def split(
        self, fraction: float, *, key: PRNGKeyArray
    ) -> tuple["MatrixCompletion", "MatrixCompletion"]:
        """Split the observations at random into two problems, for training and validation.

        Args:
            fraction: The part of the observations that goes into the second problem.
            key: Draws them.

        Returns:
            The problem to train on and the problem to validate on.

        Raises:
            ValueError: either part would be empty.
        """
        count = round(fraction * self.values.size) if np.isfinite(fraction) else 0
        if not 0 < count < self.values.size:
            raise ValueError(
                f"Argument `fraction` must leave observations on both sides, but {fraction} takes "
                f"{count} of {self.values.size}."
            )
        order = np.asarray(jax.random.permutation(key, self.values.size))
        parts = (order[count:], order[:count])
        first, second = (
            MatrixCompletion(self.rows[p], self.cols[p], self.values[p], self.shape) for p in parts
        )
        return first, second


def _checked_indices(name: str, indices, shape: tuple[int, int]) -> np.ndarray:
    indices = np.asarray(indices)
    size = shape[0] if name == "rows" else shape[1]
    if indices.ndim != 1 or indices.size == 0:
        raise ValueError(
            f"Argument `{name}` must be a list of at least one index, but its shape is "
            f"{indices.shape}."
        )
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"Argument `{name}` must be integers, but its type is {indices.dtype}.")
    outside = np.flatnonzero((indices < 0) | (indices >= size))
    if outside.size:
        at = outside[0]
        raise ValueError(
            f"Argument `{name}` must lie in 0..{size - 1}, but `{name}[{at}]` is {indices[at]}."
        )
    return indices


def _check_values(rows: np.ndarray, cols: np.ndarray, values: np.ndarray | Array) -> None:
    if not rows.shape == cols.shape == values.shape:
        raise ValueError(
            f"Arguments `rows`, `cols` and `values` must have one length, but their shapes are "
            f"{rows.shape}, {cols.shape} and {values.shape}."
        )
    if isinstance(values, Tracer):
        return  # nothing is known of the numbers under `jax.grad`
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"Argument `values` must be finite, but `values[{bad[0]}]` is {values[bad[0]]}."
        )


def _without_repeats(
    rows: np.ndarray, cols: np.ndarray, values: np.ndarray | Array
) -> tuple[np.ndarray, np.ndarray, np.ndarray | Array]:
    order = np.lexsort((cols, rows))
    rows, cols, values = rows[order], cols[order], values[order]
    repeats = (rows[1:] == rows[:-1]) & (cols[1:] == cols[:-1])
    if not repeats.any():
        return rows, cols, values
    if isinstance(values, Tracer):
        raise ValueError("Argument `rows` must not repeat an entry while `values` is traced.")
    disagree = np.flatnonzero(repeats & (values[1:] != values[:-1]))
    if disagree.size:
        at = disagree[0]
        raise ValueError(
            f"Argument `values` must give each entry one value, but entry "
            f"({rows[at]}, {cols[at]}) has both {values[at]} and {values[at + 1]}."
        )
    first = np.concatenate(([True], ~repeats))
    return rows[first], cols[first], values[first]


def _observation_mask(
    known: np.ndarray,
    observed: float | int | Bool[Array | np.ndarray, "out in"],
    key: PRNGKeyArray | None,
) -> np.ndarray:
    if np.ndim(observed) > 0:
        return _checked_mask(known, np.asarray(observed))
    total = int(known.sum())
    if isinstance(observed, bool) or not np.isfinite(observed):
        raise ValueError(
            f"Argument `observed` must be a fraction, a number or a mask, but it is {observed!r}."
        )
    is_count = isinstance(observed, int | np.integer)
    count = int(observed) if is_count else round(float(observed) * total)
    if not 0 < count <= total:
        raise ValueError(
            f"Argument `observed` must select between 1 and all {total} known entries, but "
            f"{observed!r} selects {count}; an int counts entries, a float is a fraction."
        )
    if not isinstance(key, jax.Array):
        raise ValueError(f"Argument `key` must be a PRNG key to draw entries, but it is {key!r}.")
    chosen = np.asarray(jax.random.choice(key, total, (count,), replace=False))
    mask = np.zeros(known.shape, dtype=bool)
    mask.flat[np.flatnonzero(known)[chosen]] = True
    return mask


def _checked_mask(known: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if mask.shape != known.shape or mask.dtype != bool:
        raise ValueError(
            f"Argument `observed` must be a Boolean mask of shape {known.shape}, but it has shape "
            f"{mask.shape} and type {mask.dtype}."
        )
    if (mask & ~known).any():
        i, j = np.argwhere(mask & ~known)[0]
        raise ValueError(
            f"Argument `observed` must select known entries, but `target[{i}, {j}]` is nan."
        )
    if not mask.any():
        raise ValueError("Argument `observed` must select at least one entry, but it has none.")
    return mask
