"""Regression with exact kernels as scikit-learn estimators."""

from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from flowkit.kernels import AbstractKernel, Convolutional, FullyConnected
from flowkit.regression import fit

LABEL_OFFSET = 0.1  # labels are e_c - 0.1, as published
PRECOMPUTED = "precomputed"
DTYPES = [np.float64, np.float32]
INFINITY = float("inf")

Values = Float[np.ndarray, "..."]


class _KernelEstimator(BaseEstimator):
    """Kernel gradient flow of 1/2 the sum of squares from zero, stopped at a time.

    Subclasses say which kernel belongs to their parameters and how rows become inputs. A kernel
    given as "precomputed" makes X the Gram matrix: train by train in `fit`, test by train later.
    """

    kernel: AbstractKernel | str | None
    kind: str
    ridge: float
    relative_ridge: bool
    t: float

    def _default_kernel(self) -> AbstractKernel:
        raise NotImplementedError

    def _inputs(self, rows: Values) -> Values:
        """Rows of features as the kernel takes them."""
        return rows

    def _fit_outputs(self, X: Values, y: Values) -> Self:
        """Fit to checked rows and numeric targets."""
        self.X_fit_ = X
        gram = (
            X if self._precomputed else self._chosen_kernel().gram(self._inputs(X), kind=self.kind)
        )
        self.regression_ = fit(
            gram, y, ridge=float(self.ridge), relative_ridge=bool(self.relative_ridge)
        )
        self.regression_.train_at(float(self.t))  # refuses a negative time now
        return self

    def _outputs(self, X: Any) -> Values:
        """The outputs at time t."""
        check_is_fitted(self)
        rows = self._check_rows(X, reset=False, dtype=self.X_fit_.dtype)
        gram = (
            rows
            if self._precomputed
            else self._chosen_kernel().gram(
                self._inputs(rows), self._inputs(self.X_fit_), kind=self.kind
            )
        )
        return np.asarray(self.regression_.predict_at(jnp.asarray(gram), float(self.t)))

    def _check_rows(self, X: Any, **checks: Any) -> Values:
        return validate_data(self, X, **checks)

    def _chosen_kernel(self) -> AbstractKernel:
        if self.kernel is None:
            return self._default_kernel()
        if not isinstance(self.kernel, AbstractKernel):
            raise ValueError(
                f"Argument `kernel` must be a kernel, `{PRECOMPUTED}` or None, but it is "
                f"`{self.kernel!r}`."
            )
        return self.kernel

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == PRECOMPUTED

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._precomputed
        return tags
