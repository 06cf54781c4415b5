"""Imputation by deep matrix factorization."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from flowkit import initial
from flowkit.estimators.base import DTYPES
from flowkit.estimators.early_stopping import first_time, train, train_until
from flowkit.estimators.standardisation import (
    COLUMNS,
    KINDS,
    Rows,
    Units,
    fitted,
    left_out_residuals,
)
from flowkit.estimators.starts import Learnt, mean_product
from flowkit.problems import MatrixCompletion, WeightedCompletion
from flowkit.problems.counts import check_count, is_number
from flowkit.problems.masked import with_nan

LONGEST = 1e4  # of the default end, in units of the time in which the strongest mode grows


class DeepMatrixFactorization(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Completion of a matrix by the gradient flow of its factors, from a small start.

    The known entries, in standard units, are fitted by a product W_N ... W_1 that follows the
    gradient flow of the mean of squares. Depth and a small start favour a low rank, and strong
    modes are learnt before weak ones; some known entries are held out to tell when to stop.

    Rows seen in `fit` are completed by the product (`fit_transform`). Others are fitted by ridge
    regression on the learnt features, the product's right singular vectors (`transform`, `score`).
    Computes in JAX's precision, float64 where x64 is on.

    Args:
        depth: The number of factors N.
        scale: Scale of the product at the start. The smaller, the longer it takes and the stronger
            the bias to a low rank.
        width: Size of the hidden layers, a bound of the rank; None for no bound.
        standardise: "columns" for the mean and deviation of each column, as columns of different
            units need; "matrix" for those of all entries together; "effects" to subtract effects
            of rows and columns (ridge regression) and divide by the deviation of what is left.
        validation: The part of the known entries that is held out to tell when to stop; 0 to train
            to the end. Offsets and scales are those of the others until then.
        refit: Whether to train on all known entries, with their offsets and scales, up to the
            stopping time found.
        patience: Training ends where the time has grown by this factor since the held-out error was
            least. Between two modes that are learnt one after the other it hardly moves: a factor
            below the ratio of their strengths ends training too early.
        tolerance: Training ends where the mean square of residuals, in standard units, falls below.
        max_time: The flow time to end at; None for 10,000 times that in which the strongest mode
            grows at depth 1.
        ridge: Of `transform`, in squared standard units; None for the held-out mean square (the
            training one where nothing is held out; the mean over starts), the variance of what
            features cannot explain.
        starts: How many times all of this is done, each from a start and with held-out entries of
            its own. The completed matrices are averaged, which takes off what differs by chance
            between them, for so many times the work.
        random_state: Draws the starts and the held-out entries.

    Attributes:
        flows_: What each start led to; `factors_`, `time_` and what follows it are of the first.
        factors_: The factors (W_1, .., W_N), in the standard units of `flows_[0].units`.
        product_: The completed matrix, in standard units: the product, or the mean over starts.
        features_: What rows are combinations of, in standard units, a column each.
        units_: The offsets and scales of `product_`: those of all known entries where these were
            trained on, after `refit`, or where several starts are averaged; else `taught_units_`.
        taught_units_: Those of the entries that were not held out, the units of the mean squares
            along training.
        time_: The flow time at which training stopped.
        ridge_: The ridge of `transform`.
        times_, train_losses_, held_out_losses_: Mean squares along training, in the standard units
            `taught_units_`: with one scale, as of "matrix" and "effects", a mean square times the
            square of this scale is in the squared units of X.
        n_features_in_: The number of columns.

    Source:
        Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655. Checked by
        tests/test_matrix_factorization.py.
    """

    def __init__(
        self,
        depth: int = 3,
        scale: float = 1e-3,
        *,
        width: int | None = None,
        standardise: str = COLUMNS,
        validation: float = 0.1,
        refit: bool = True,
        patience: float = 16.0,
        tolerance: float = 1e-6,
        max_time: float | None = None,
        ridge: float | None = None,
        starts: int = 1,
        random_state: Any = None,
    ):
        self.depth = depth
        self.scale = scale
        self.width = width
        self.standardise = standardise
        self.validation = validation
        self.refit = refit
        self.patience = patience
        self.tolerance = tolerance
        self.max_time = max_time
        self.ridge = ridge
        self.starts = starts
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "DeepMatrixFactorization":
        """Learn the factors of X, `nan` or masked where it is unknown; y is not looked at."""
        self._fit(X)
        return self

    def fit_transform(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: Any, y: Any = None
    ) -> Rows:
        """Learn the factors of X and fill its unknown entries with those of the product."""
        rows = self._fit(X)
        filled = self.units_.restore(self.product_)
        return np.where(np.isnan(rows), filled, rows).astype(rows.dtype)

    def transform(self, X: Any) -> Rows:
        """Fill unknown entries of rows, known from `fit` or not, from their other entries."""
        rows = self._rows(X, reset=False)
        fits, _ = fitted(self._standard(rows), self.features_, self.ridge_)
        filled = np.where(np.isnan(rows), self.units_.restore(fits, new=True), rows)
        return filled.astype(rows.dtype)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the root mean square error of known entries, each predicted from the others.

        In standard units, which makes models of one `standardise` comparable. Every known entry of
        X is left out in turn and predicted from the other known entries of its row, in closed form
        by its leverage where that keeps the digits. Rows seen in `fit` are predicted too well:
        score others.

        Raises:
            ValueError: nothing of X is known.
        """
        standard = self._standard(self._rows(X, reset=False))
        if np.isnan(standard).all():
            raise ValueError("Argument `X` must have known entries, but all of it is nan.")
        left_out = left_out_residuals(standard, self.features_, self.ridge_)
        return -float(np.sqrt(np.nanmean(left_out**2)))

    def _fit(self, X: Any) -> Rows:
        rows = self._rows(X)
        self._check_parameters()
        random = check_random_state(self.random_state)
        known = MatrixCompletion.from_matrix(rows, observed=~np.isnan(rows))
        exact = rows.astype(float)
        units, everything = self._standardised(exact)
        keys = [jax.random.key(random.randint(2**31 - 1)) for _ in range(self.starts)]
        flows = [self._learn(exact, known, units, everything, key) for key in keys]
        self._keep(flows, units)
        return rows

    def _learn(
        self,
        rows: Rows,
        known: MatrixCompletion,
        units: Units,
        everything: WeightedCompletion,
        key: jax.Array,
    ) -> Learnt:
        """Train from one start; a matrix without residuals has nothing to teach."""
        start, split = jax.random.split(key)
        factors = initial.gaussian(known, self.depth, self.scale, width=self.width, key=start)
        if not everything.values.any():
            return Learnt(factors, units, units)
        taught_units, taught, held_out = units, everything, None
        if self._held_out_count(known.values.size) > 0:
            first, second = known.split(float(self.validation), key=split)
            first_units, first_problem = self._standardised(np.where(first.mask, rows, np.nan))
            if first_problem.values.any():
                taught_units, taught = first_units, first_problem
                held_out = _in_units(first_units, np.where(second.mask, rows, np.nan))
        longest = LONGEST * first_time(taught) if self.max_time is None else float(self.max_time)
        trained = train(
            taught,
            held_out,
            factors,
            max_time=longest,
            tolerance=float(self.tolerance),
            patience=float(self.patience),
        )
        learnt = Learnt(taught_units=taught_units, units=taught_units, **vars(trained))
        if held_out is None or not self.refit:
            return learnt
        refitted = train_until(everything, factors, trained.time)
        return replace(learnt, units=units, factors=refitted)

    def _keep(self, flows: list[Learnt], units: Units) -> None:
        """Set what was learnt, of which only the completed matrix is a mean over starts."""
        first = flows[0]
        self.flows_ = tuple(flows)
        self.units_ = first.units if len(flows) == 1 else units
        self.product_ = mean_product(flows, self.units_)
        self.features_ = self.units_.features(self.product_)
        loss = float(np.mean([flow.loss for flow in flows]))
        self.ridge_ = loss if self.ridge is None else float(self.ridge)
        self.factors_, self.time_ = first.factors, first.time
        self.taught_units_, self.times_ = first.taught_units, first.times
        self.train_losses_, self.held_out_losses_ = first.train_losses, first.held_out_losses

    def _standardised(self, rows: Rows) -> tuple[Units, WeightedCompletion]:
        """Units of the known entries, and what is to be learnt of them in these."""
        units = Units.of(rows, self.standardise)
        return units, _in_units(units, rows)

    def _held_out_count(self, known: int) -> int:
        count = round(self.validation * known)
        if count == known:
            raise ValueError(
                f"Argument `validation` must leave known entries to train on, but "
                f"{self.validation!r} holds out {count} of {known}."
            )
        return count

    def _rows(self, X: Any, *, reset: bool = True) -> Any:
        if not reset:
            check_is_fitted(self)
        rows: Any = validate_data(
            self, with_nan(X), dtype=DTYPES, ensure_all_finite="allow-nan", reset=reset
        )
        if reset and np.isnan(rows).all():
            raise ValueError("Argument `X` must have known entries, but all of it is nan.")
        return rows

    def _standard(self, rows: Rows) -> Rows:
        return self.units_.standardise(rows.astype(float), new=True)

    def _check_parameters(self) -> None:
        check_count(starts=self.starts)
        if self.standardise not in KINDS:
            raise ValueError(
                f"Argument `standardise` must be one of {KINDS}, but it is {self.standardise!r}."
            )
        conditions = {
            "validation": (lambda n: 0 <= n < 1, "at least 0 and below 1"),
            "patience": (lambda n: n > 1, "above 1"),
            "tolerance": (lambda n: n > 0, "positive"),
            "max_time": (lambda n: 0 < n < float("inf"), "positive and finite, or None"),
            "ridge": (lambda n: n >= 0, "at least 0, or None"),
        }
        for name, (holds, condition) in conditions.items():
            value = getattr(self, name)
            may_be_none = condition.endswith("None")
            if not (may_be_none if value is None else is_number(value) and holds(value)):
                raise ValueError(f"Argument `{name}` must be {condition}, but it is {value!r}.")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _in_units(units: Units, rows: Rows) -> WeightedCompletion:
    """The known entries in standard units."""
    return WeightedCompletion((~np.isnan(rows)).astype(float), units.standardise(rows))
