"""The flow of a factorization on MovieLens ratings, next to biases, least squares, soft-impute."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from flowkit import baselines
from flowkit.claim import Curves
from flowkit.datasets import movielens as read
from flowkit.estimators import DeepMatrixFactorization
from flowkit.problems import MatrixCompletion
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 3
DIGITS = 12  # of the fingerprint of the ratings
VALIDATION = 0.1  # of the training ratings
WIDTH = 40  # of hidden layers: more than the modes that are learnt before the stopping point
PATIENCE = 4.0  # modes of ratings overlap: no need to wait for a stronger one
BEFORE, AFTER = 0.4, 1.6  # of the stopping time: the stretch of the figure
RIDGES = (1.0, 3.0, 10.0, 30.0)
RANKS = (1, 2, 4, 8)
SWEEPS = 30
GAP = 1e-2  # of soft-impute: 1e-3 gives an error 0.3 % lower for almost three times the work
BIASES, SOFT, SQUARES = "user and movie biases", "soft-impute with biases", "least squares"

CHOICES = (
    f"Flows stop where a held-out {100 * VALIDATION:g} % of the training ratings are predicted "
    f"best; hidden layers are {WIDTH} wide. The others choose ridges, ranks and penalties on such "
    "a part."
)

Matrix = Float[np.ndarray, "users movies"]
Fit = Callable[[MatrixCompletion], Matrix]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Of the factorization.
        observed: The share of the ratings that is trained on; the others are predicted.
        seeds: How many splits and starts.
        size: Only so many users and movies, those of the most ratings; None for all.
    """

    depths: tuple[int, ...] = (2, 3)
    observed: float = 0.8
    seeds: int = 1
    size: int | None = None

    def __post_init__(self):
        check_numbers(self, "depths", "seeds", "size", least=1)
        if not 0 < self.observed < 1:
            raise ValueError(
                f"Argument `observed` must lie between 0 and 1, a share, but it is {self.observed}."
            )


class Split(NamedTuple):
    """Ratings to train on and ratings to predict."""

    train: MatrixCompletion
    test: MatrixCompletion

    def rmse(self, matrix: Matrix) -> float:
        """The root mean square error of a matrix at the ratings to predict."""
        return _rmse(matrix, self.test)


def movielens(settings: Settings, work: Work) -> Study:
    """Predict ratings by the flow of a factorization, stopped by held-out ratings, and by rivals.

    Args:
        settings: Depths, the share trained on, splits.
        work: Its `data` is the file `u.data`, or the folder that holds it.

    Returns:
        A row per method: root mean square error at the ratings to predict, in stars, and by how
        much it is below that of the biases, on the same split.

    Raises:
        ValueError: there is no such file, or a line of it is not as it must be.

    Source:
        Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, which shows MovieLens 100K in a figure.
    """
    ratings = largest(read(work.data), settings.size)
    case = {"ratings": _fingerprint(ratings), "observed": settings.observed}
    methods = [*RIVALS, *(_flow_name(depth) for depth in settings.depths)]
    cases = [
        {**case, "method": method, "seed": seed}
        for method in methods
        for seed in range(settings.seeds)
    ]
    parts = work.parts("ratings", partial(_solve, ratings), cases, version=VERSION)
    found: dict[str, list[dict[str, Any]]] = {}
    for each, part in zip(cases, parts, strict=True):
        found.setdefault(each["method"], []).append(part)
    users, movies = ratings.shape
    title = (
        f"{ratings.values.size} ratings of {movies} movies by {users} users, "
        f"{100 * settings.observed:g} % for training"
    )
    return Study(
        name="movielens",
        title=title,
        settings=settings,
        rows=tuple(_row(method, found) for method in methods),
        chart=_chart(title, found, settings),
        notes=(
            "Errors are root mean squares in stars at ratings that nothing was trained on.",
            CHOICES,
            "Published as a figure only: there is no number to compare with.",
        ),
    )


def largest(ratings: MatrixCompletion, size: int | None) -> MatrixCompletion:
    """The users and movies of the most ratings, and the ratings between these."""
    if size is None:
        return ratings
    mask = ratings.mask
    users, movies = (np.sort(np.argsort(-mask.sum(axis), kind="stable")[:size]) for axis in (1, 0))
    matrix = np.full(ratings.shape, np.nan)
    matrix[mask] = np.asarray(ratings.values)
    part = matrix[np.ix_(users, movies)]
    return MatrixCompletion.from_matrix(part, observed=~np.isnan(part))


def follow(split: Split, depth: int, *, seed: int) -> dict[str, Any]:
    """The flow to its stopping point: its error, and what was seen on the way, in stars."""
    X = np.full(split.train.shape, np.nan)
    X[split.train.mask] = np.asarray(split.train.values)
    model = DeepMatrixFactorization(
        depth,
        width=WIDTH,
        standardise="effects",
        validation=VALIDATION,
        patience=PATIENCE,
        random_state=seed,
    )
    filled = model.fit_transform(X)
    star = float(model.taught_units_.scales[0])
    in_stars = lambda losses: [float(star * loss**0.5) for loss in losses]
    return {
        "rmse": split.rmse(filled),
        "setting": f"time {model.time_:.3g}",
        "time": float(model.time_),
        "times": [float(time) for time in model.times_],
        "training": in_stars(model.train_losses_),
        "validation": in_stars(model.held_out_losses_),
    }


def biases(train: MatrixCompletion, key: jax.Array) -> tuple[str, Matrix]:
    """Offsets of users and movies, the ridge chosen on held-out ratings."""
    fits = {
        f"ridge {ridge:g}": lambda problem, ridge=ridge: (
            baselines.row_plus_column_effects(problem, ridge=ridge).matrix
        )
        for ridge in RIDGES
    }
    return _chosen(fits, train, key)


def least_squares(train: MatrixCompletion, key: jax.Array) -> tuple[str, Matrix]:
    """Alternating least squares with offsets, rank and ridge chosen on held-out ratings."""
    fits = {
        f"rank {rank}, ridge {ridge:g}": lambda problem, rank=rank, ridge=ridge: (
            baselines.alternating_least_squares(
                problem, rank, ridge, offset_ridge=ridge, sweeps=SWEEPS, key=key
            ).matrix
        )
        for rank in RANKS
        for ridge in RIDGES
    }
    return _chosen(fits, train, key)


def soft_impute(train: MatrixCompletion, key: jax.Array) -> tuple[str, Matrix]:
    """Soft-impute of what biases leave, the penalty chosen on held-out ratings."""
    ridge = float(biases(train, key)[0].removeprefix("ridge "))
    found = baselines.tuned_soft_impute(
        train, offset_ridge=ridge, validation=VALIDATION, tolerance=GAP, key=key
    )
    return f"penalty {found.facts['penalty']:.3g}", found.matrix


RIVALS: Mapping[str, Callable[[MatrixCompletion, jax.Array], tuple[str, Matrix]]] = {
    BIASES: biases,
    SQUARES: least_squares,
    SOFT: soft_impute,
}


def _solve(
    problem: MatrixCompletion, *, ratings: str, observed: float, method: str, seed: int
) -> dict[str, Any]:
    """One method on one split; `ratings`, a fingerprint, is there for what is kept of it."""
    split_key, choice_key = jax.random.split(jax.random.key(seed))
    split = Split(*problem.split(1 - observed, key=split_key))
    if method not in RIVALS:
        return follow(split, int(method.split()[-1]), seed=seed)
    setting, matrix = RIVALS[method](split.train, choice_key)
    return {"rmse": split.rmse(matrix), "setting": setting}


def _chosen(fits: Mapping[str, Fit], train: MatrixCompletion, key: jax.Array) -> tuple[str, Matrix]:
    kept, held_out = train.split(VALIDATION, key=key)
    errors = {name: _rmse(fit(kept), held_out) for name, fit in fits.items()}
    name = min(errors, key=lambda name: errors[name])
    return name, fits[name](train)


def _rmse(matrix: Matrix, problem: MatrixCompletion) -> float:
    entries = np.asarray(problem.rows), np.asarray(problem.cols)
    return float(np.sqrt(np.mean((matrix[entries] - np.asarray(problem.values)) ** 2)))


def _fingerprint(ratings: MatrixCompletion) -> str:
    digest = hashlib.sha256()
    for array in (ratings.rows, ratings.cols, ratings.values):
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()[:DIGITS]


def _flow_name(depth: int) -> str:
    return f"flow, depth {depth}"


def _row(method: str, found: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    values = np.array([part["rmse"] for part in found[method]])
    bias = np.array([part["rmse"] for part in found[BIASES]])
    return {
        "method": method,
        "RMSE_(stars)": float(values.mean()),
        "least": float(values.min()),
        "largest": float(values.max()),
        "below_biases_(%)": float(100 * (1 - values / bias).mean()),
        "chosen": found[method][0]["setting"],
    }


def _chart(title: str, found: Mapping[str, list[dict[str, Any]]], settings: Settings) -> Curves:
    """The first split along the flow of the greatest depth, with the rivals as lines."""
    depth = max(settings.depths)
    flow = found[_flow_name(depth)][0]
    times = np.array(flow["times"])
    seen = (times >= BEFORE * flow["time"]) & (times <= AFTER * flow["time"])
    lines = {
        f"depth {depth}, {name}": (times[seen], np.array(flow[name])[seen])
        for name in ("training", "validation")
    }
    ends = times[seen][[0, -1]]
    for rival in RIVALS:
        lines[rival] = (ends, np.full(2, found[rival][0]["rmse"]))
    return Curves(
        title=title,
        x_label="flow time",
        y_label="root mean square error (stars)",
        lines=lines,
        points={f"depth {depth}, stopped": ([flow["time"]], [flow["rmse"]])},
        references=tuple(RIVALS),
        caption="Grey and the mark: at ratings that nothing was trained on. Validation ratings say "
        "when to stop; then all training ratings are followed to that time.",
    )


STUDY = Reproducible(
    run=movielens,
    settings=Settings(),
    quick=Settings(depths=(3,), size=150),
    data="MovieLens 100K's `u.data`, or its folder",
)
