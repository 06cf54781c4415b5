"""What the estimators share: validation, the Gram matrix, the flow and the labels."""

import abc
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from flowkit.kernels import AbstractKernel
from flowkit.problems.masked import with_nan
from flowkit.regression import fit

LABEL_OFFSET = 0.1  # labels are e_c - 0.1, as published
PRECOMPUTED = "precomputed"
DTYPES = [np.float64, np.float32]
INFINITY = float("inf")

Rows = Float[np.ndarray, "points features"]
Outputs = Float[np.ndarray, " points *outputs"]


class AbstractKernelEstimator(BaseEstimator, abc.ABC):
    """Kernel gradient flow of 1/2 the sum of squares, from outputs zero, stopped at time t."""

    kernel: AbstractKernel | str | None
    kind: str
    ridge: float
    relative_ridge: bool
    t: float

    @abc.abstractmethod
    def _default_kernel(self) -> AbstractKernel:
        """The kernel that the other parameters describe."""

    def _inputs(self, rows: Rows) -> Float[np.ndarray, "points ..."]:
        """Rows of features as the kernel takes them."""
        return rows

    def _check_rows(self, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
        return validate_data(self, with_nan(X), y, dtype=DTYPES, **checks)

    def _fit_outputs(self, rows: Rows, y: Outputs) -> None:
        """Solve the flow of numeric targets.

        Of nearly parallel images, and of inputs in a kernel that is not ours, angles may be exact
        only to the square root of the rounding unit, and kernel values with them, where the slope
        of kappa_dot is infinite: so far below zero an eigenvalue may lie.
        """
        self.X_fit_ = rows
        gram = rows if self._is_precomputed else self._gram(rows)
        self.regression_ = fit(
            gram,
            y,
            ridge=float(self.ridge),
            relative_ridge=bool(self.relative_ridge),
            rounding=float(np.finfo(gram.dtype).eps) ** 0.5,
        )
        self.regression_.train_at(float(self.t))  # refuses a negative time before it predicts

    def _outputs(self, X: Any) -> Outputs:
        check_is_fitted(self)
        rows = self._check_rows(X, reset=False).astype(self.X_fit_.dtype)
        gram = rows if self._is_precomputed else self._gram(rows, self.X_fit_)
        return np.asarray(self.regression_.predict_at(gram, float(self.t)))

    def _gram(self, *rows: Float[np.ndarray, "_ features"]) -> Float[jax.Array, "x z"]:
        kernel = self._default_kernel() if self.kernel is None else self.kernel
        if not isinstance(kernel, AbstractKernel):
            raise ValueError(
                f"Argument `kernel` must be a kernel, `{PRECOMPUTED}` or None, but it is "
                f"`{kernel!r}`."
            )
        return kernel.gram(*map(self._inputs, rows), kind=self.kind)

    @property
    def _is_precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == PRECOMPUTED

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self._is_precomputed
        return tags


class AbstractKernelClassifier(ClassifierMixin, AbstractKernelEstimator):
    """One output per class, fitted to e_c - 0.1 by the squared loss; the largest one wins."""

    def fit(self, X: Any, y: Any) -> "AbstractKernelClassifier":
        """Solve the flow for inputs X and class labels y."""
        rows, labels = self._check_rows(X, y)
        labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        self._fit_outputs(rows, np.eye(len(self.classes_))[index] - LABEL_OFFSET)
        return self

    def decision_function(self, X: Any) -> Outputs:
        """The outputs at time t, one column per class; of two classes, second minus first."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest output; of equal ones, the first."""
        winner = self._outputs(X).argmax(axis=1)
        return self.classes_[winner]
