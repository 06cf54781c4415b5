"""The front door of kernel regression: loss and ridge conventions, and the choice of a solver."""

from typing import Literal, overload

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.regression.checks import (
    Number,
    check_choice,
    check_definite,
    check_gram,
    check_ridge,
    check_start,
    check_targets,
)
from flowkit.regression.cholesky import CholeskyRegression, factor_and_solve
from flowkit.regression.flow import KernelRegression
from flowkit.regression.iterative import check_host_targets
from flowkit.regression.packed import PackedRegression, StoredMatrix, fit_stored

LOSSES = ("half-sum", "half-mean", "mean")
SOLVERS = ("eigen", "cholesky")


@overload
def fit(
    K: Num[ArrayLike, "..."],
    y: Num[ArrayLike, "..."],
    *,
    ridge: Number = ...,
    relative_ridge: bool = ...,
    loss: str = ...,
    rounding: float | None = ...,
    solver: Literal["eigen"] = ...,
    start: Num[ArrayLike, "..."] | None = ...,
) -> KernelRegression: ...


@overload
def fit(
    K: Num[ArrayLike, "..."],
    y: Num[ArrayLike, "..."],
    *,
    ridge: Number = ...,
    relative_ridge: bool = ...,
    loss: str = ...,
    rounding: float | None = ...,
    solver: Literal["cholesky"],
    start: Num[ArrayLike, "..."] | None = ...,
) -> CholeskyRegression: ...


@overload
def fit(
    K: StoredMatrix,
    y: Num[ArrayLike, "..."],
    *,
    ridge: float = ...,
    relative_ridge: bool = ...,
    loss: str = ...,
    rounding: float | None = ...,
    solver: Literal["cholesky"],
    start: Num[ArrayLike, "..."] | None = ...,
) -> PackedRegression: ...


def fit(
    K: Num[ArrayLike, "..."] | StoredMatrix,
    y: Num[ArrayLike, "..."],
    *,
    ridge: Number = 0.0,
    relative_ridge: bool = False,
    loss: str = "half-sum",
    rounding: float | None = None,
    solver: str = "eigen",
    start: Num[ArrayLike, "..."] | None = None,
) -> KernelRegression | CholeskyRegression | PackedRegression:
    """Solve kernel gradient flow of a squared loss, for every time at once.

    With outputs u on the training points du/dt = -s K (u - y) without a ridge, which `train_at`
    gives in closed form; its end is kernel regression. The loss sets s, and thereby the clock of
    the flow and the scale of a learning rate, not its end; the sum over outputs is never averaged:

        "half-sum"    1/2 sum_i |u_i - y_i|^2          s = 1
        "half-mean"   1/(2n) sum_i |u_i - y_i|^2       s = 1/n
        "mean"        1/n sum_i |u_i - y_i|^2          s = 2/n

    The ridge is what is added to the diagonal of K: the objective is s times (the half sum plus
    ridge / 2 times the squared norm in the kernel's space), whatever the loss.

    Args:
        K: Kernel values of the training points: symmetric, positive semidefinite up to rounding; an
            array, or a matrix in a store as `flowkit.gram` returns it, which "cholesky" reads strip
            by strip and factors in float64, in place, in memory for n (n + 1) / 2 numbers.
        y: Targets, one number or one row of outputs for each point.
        ridge: Added to the diagonal of K.
        relative_ridge: Whether the ridge counts in units of the mean diagonal of K. For a kernel
            of unit diagonal, as in arXiv:1911.00809, both are the same.
        loss: "half-sum", "half-mean" or "mean".
        rounding: How far below zero an eigenvalue may lie, as a fraction of the largest in size;
            100 n eps where omitted. Those no larger than the most negative one count as zero.
        solver: "eigen", one symmetric eigendecomposition, for every time and every ridge; or
            "cholesky", cheaper, for the end of the flow at this ridge.
        start: Training outputs at t = 0, shaped as y; zero where omitted.

    Returns:
        The solved flow: a `KernelRegression`, or a `CholeskyRegression` from "cholesky", of a
        stored matrix a `PackedRegression`.

    Raises:
        ValueError: K is not square, finite, symmetric and positive semidefinite (for "cholesky":
            definite beyond rounding, with the ridge), a shape disagrees with it, the ridge is
            negative, or a name is unknown.

    Source:
        arXiv:1904.11955, section 3. Checked by tests/regression/test_regression_flow.py,
        tests/regression/test_cholesky.py and tests/regression/test_packed.py.
    """
    check_choice("loss", loss, LOSSES)
    check_choice("solver", solver, SOLVERS)
    if solver == "cholesky" and isinstance(K, StoredMatrix):
        return _fit_stored(K, y, start, ridge, relative=relative_ridge)
    K = check_gram(jnp.asarray(K))
    y = check_targets(y, len(K), K.dtype)
    absolute = check_ridge(ridge, K.dtype) * (jnp.diagonal(K).mean() if relative_ridge else 1)
    initial = check_start(start, y.shape, K.dtype)
    K = (K + K.T) / 2
    if solver == "cholesky":
        return factor_and_solve(K, y, initial, absolute)
    return _diagonalize(K, y, initial, absolute, _speed(loss, len(K)), rounding)


def _fit_stored(
    K: StoredMatrix,
    y: Num[ArrayLike, "..."],
    start: Num[ArrayLike, "..."] | None,
    ridge: Number,
    *,
    relative: bool,
) -> PackedRegression:
    """The regression of a stored matrix, from arguments that are checked here."""
    if not 0 <= (amount := float(ridge)) < np.inf:
        raise ValueError(f"Argument `ridge` must be finite and at least 0, but it is `{ridge}`.")
    targets = check_host_targets(y).astype(float)
    if len(targets) != K.shape[0]:
        raise ValueError(
            f"Argument `y` must have {K.shape[0]} rows, one for each row of `K`, but it has shape "
            f"{targets.shape}."
        )
    first = None if start is None else _host_start(start, targets.shape)
    return fit_stored(K, targets, first, amount, relative=relative)


def _host_start(
    start: Num[ArrayLike, "..."], shape: tuple[int, ...]
) -> Float[np.ndarray, " train *outputs"]:
    """Outputs at t = 0 in float64, whatever JAX computes in."""
    array = np.asarray(start, dtype=float)
    if array.shape != shape:
        raise ValueError(f"Argument `start` must have shape {shape}, but it has {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("Argument `start` must be finite, but it holds nan or infinity.")
    return array


def _diagonalize(
    K: Float[Array, "train train"],
    y: Float[Array, " train *outputs"],
    start: Float[Array, " train *outputs"],
    ridge: Float[Array, ""],
    speed: float,
    rounding: float | None,
) -> KernelRegression:
    eigenvalues, eigenvectors = jnp.linalg.eigh(K)
    check_definite(eigenvalues, rounding)
    above = eigenvalues > jnp.maximum(-eigenvalues.min(), jnp.zeros_like(eigenvalues[0]))
    return KernelRegression(
        eigenvalues=jnp.where(above, eigenvalues, jnp.zeros_like(eigenvalues)),
        eigenvectors=eigenvectors,
        residual=eigenvectors.T @ (y - start),
        start=start,
        ridge=ridge,
        speed=jnp.asarray(speed, K.dtype),
    )


def _speed(loss: str, points: int) -> float:
    return {"half-sum": 1.0, "half-mean": 1.0 / points, "mean": 2.0 / points}[loss]
