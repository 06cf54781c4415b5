"""Choosing the ridge and the time at which to stop, by leaving points out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.regression.checks import check_gram, check_ridge, check_targets, check_time
from flowkit.regression.fitting import fit
from flowkit.regression.flow import KernelRegression

Score = Callable[[Array, Array], Array]  # predictions and targets to one number, lower is better
Folds = Sequence[Sequence[int] | np.ndarray]
INFINITY = float("inf")


def mean_square(predictions: Float[Array, "..."], targets: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean over points and outputs of the squared error."""
    return ((predictions - targets) ** 2).mean()


def misclassification(
    predictions: Float[Array, "points classes"], targets: Float[Array, "points classes"]
) -> Float[Array, ""]:
    """The fraction of points whose largest output is not that of the targets; of ties the first.

    Args:
        predictions: One output per class and point.
        targets: Likewise, as of one-hot labels.

    Returns:
        A number from 0 to 1, of the floating type of the predictions.

    Raises:
        ValueError: there are not several classes, or the shapes differ.
    """
    if predictions.ndim != 2 or predictions.shape[1] < 2 or predictions.shape != targets.shape:
        raise ValueError(
            f"Arguments `predictions` and `targets` must hold an output for each point and each of "
            f"several classes, but their shapes are {predictions.shape} and {targets.shape}."
        )
    dtype = predictions.dtype if jnp.issubdtype(predictions.dtype, jnp.floating) else None
    return (predictions.argmax(1) != targets.argmax(1)).mean(dtype=dtype)


@dataclass(frozen=True, eq=False)
class Selection:
    """Scores over a grid of ridges and times, and the best of them.

    Attributes:
        ridges: The ridges, absolute.
        times: The times.
        scores: Of the predictions of points left out, ridges by times; lower is better.
        ridge: The ridge of the lowest score; of equal ones, the largest.
        t: The time of the lowest score; of equal ones, the earliest, at the largest ridge.
    """

    ridges: tuple[float, ...]
    times: tuple[float, ...]
    scores: Float[np.ndarray, "ridges times"]
    ridge: float
    t: float


def select(
    K: Num[ArrayLike, "..."],
    y: Num[ArrayLike, "..."],
    *,
    ridges: Sequence[float] = (0.0,),
    times: Sequence[float] = (INFINITY,),
    folds: Folds | None = None,
    loss: str = "half-sum",
    score: Score = mean_square,
) -> Selection:
    """Choose a ridge and a time by the predictions of points left out.

    One eigendecomposition for each fold serves all ridges and times. Without folds each point is
    left out in turn; where all times are infinite that needs one eigendecomposition in all, and
    otherwise one for each point.

    Args:
        K: Kernel values of the training points.
        y: Targets, one number or one row of outputs for each point.
        ridges: The ridges to try, absolute.
        times: The times to try; infinity is the end of the flow.
        folds: The indices of the points that each refit leaves out, as in
            `[test for _, test in KFold(5).split(y)]`; one fold is a held-out set. Each point
            at most once.
        loss: That of `fit`: it sets the clock of `times`. With "half-mean" and "mean" a fold's own
            number of points counts.
        score: Predictions and targets of all points left out to one number, lower is better.

    Returns:
        The scores and the best ridge and time.

    Raises:
        ValueError: what `fit` refuses, an empty grid, or folds that are empty, overlap or leave
            nothing to fit.

    Source:
        Rasmussen, Williams 2006, section 5.3; tests/regression/test_selection.py checks it against
        explicit refits.
    """
    K = check_gram(K)
    y = check_targets(y, len(K), K.dtype)
    if len(ridges) == 0 or len(times) == 0:
        raise ValueError("Arguments `ridges` and `times` must not be empty, but one is.")
    for ridge in ridges:
        check_ridge(ridge, K.dtype)
    for t in times:
        check_time(t, K.dtype)
    if folds is None and all(np.isinf(t) for t in times):
        left_out = _leave_one_out(fit(K, y, loss=loss), ridges, len(times))
        return _best(ridges, times, left_out, y, score)
    parts = _check_folds([[i] for i in range(len(K))] if folds is None else folds, len(K))
    left_out = jnp.concatenate(
        [_held_out(K, y, part, ridges, times, loss) for part in parts], axis=2
    )
    return _best(ridges, times, left_out, y[np.concatenate(parts)], score)


def _leave_one_out(
    model: KernelRegression, ridges: Sequence[float], times: int
) -> Float[Array, "ridges times points *outputs"]:
    path = jax.vmap(lambda ridge: model.with_ridge(ridge).leave_one_out())
    values = path(jnp.asarray(ridges, model.ridge.dtype))
    return jnp.stack([values] * times, axis=1)


def _held_out(
    K: Float[Array, "train train"],
    y: Float[Array, " train *outputs"],
    part: np.ndarray,
    ridges: Sequence[float],
    times: Sequence[float],
    loss: str,
) -> Float[Array, "ridges times points *outputs"]:
    """Predictions of one fold by a fit of all points outside it."""
    rest = np.setdiff1d(np.arange(len(K)), part)
    model = fit(K[np.ix_(rest, rest)], y[rest], loss=loss)
    test = K[np.ix_(part, rest)]
    return _over_grid(model, test, jnp.asarray(ridges, K.dtype), jnp.asarray(times, K.dtype))


@eqx.filter_jit
def _over_grid(
    model: KernelRegression,
    test: Float[Array, "points train"],
    ridges: Float[Array, " ridges"],
    times: Float[Array, " times"],
) -> Float[Array, "ridges times points *outputs"]:
    at = lambda ridge, t: model.with_ridge(ridge).predict_at(test, t)
    return jax.vmap(jax.vmap(at, (None, 0)), (0, None))(ridges, times)


def _best(
    ridges: Sequence[float],
    times: Sequence[float],
    left_out: Float[Array, "ridges times points *outputs"],
    targets: Float[Array, " points *outputs"],
    score: Score,
) -> Selection:
    scores = np.array([[float(score(each, targets)) for each in row] for row in left_out])
    if not np.isfinite(scores).any():
        raise ValueError("Argument `score` must be finite somewhere, but no value of it is.")
    order = lambda at: (scores[at], -ridges[at[0]], times[at[1]])
    row, column = min(zip(*np.nonzero(np.isfinite(scores)), strict=True), key=order)
    return Selection(
        ridges=tuple(map(float, ridges)),
        times=tuple(map(float, times)),
        scores=scores,
        ridge=float(ridges[row]),
        t=float(times[column]),
    )


def _check_folds(folds: Folds, points: int) -> list[np.ndarray]:
    parts = [np.asarray(fold) for fold in folds]
    if not parts or any(part.ndim != 1 or part.size in (0, points) for part in parts):
        raise ValueError(
            "Argument `folds` must be lists of points, each with at least one point in it and one "
            "outside it, but a list is not."
        )
    every = np.concatenate(parts)
    if not np.issubdtype(every.dtype, np.integer) or every.min() < 0 or every.max() >= points:
        raise ValueError(
            f"Argument `folds` must hold indices from 0 to {points - 1}, but does not."
        )
    if len(np.unique(every)) < len(every):
        raise ValueError("Argument `folds` must leave each point out at most once, but do twice.")
    return parts
