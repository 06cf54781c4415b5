"""Estimators of infinitely wide fully connected networks."""

from typing import Any

from sklearn.base import RegressorMixin

from flowkit.estimators.base import (
    INFINITY,
    AbstractKernelClassifier,
    AbstractKernelEstimator,
    Outputs,
)
from flowkit.kernels import AbstractKernel, FullyConnected


class AbstractNTKEstimator(AbstractKernelEstimator):
    """The parameters of both estimators, which scikit-learn reads off this `__init__`."""

    def __init__(
        self,
        depth: int = 3,
        activation: str = "relu",
        *,
        kernel: AbstractKernel | str | None = None,
        kind: str = "ntk",
        ridge: float = 0.0,
        relative_ridge: bool = False,
        t: float = INFINITY,
    ):
        self.depth = depth
        self.activation = activation
        self.kernel = kernel
        self.kind = kind
        self.ridge = ridge
        self.relative_ridge = relative_ridge
        self.t = t

    def _default_kernel(self) -> AbstractKernel:
        return FullyConnected(self.depth, self.activation)


class NTKRegressor(RegressorMixin, AbstractNTKEstimator):
    """Regression by an infinitely wide fully connected network, trained to time t.

    Gradient flow of 1/2 the sum of squares with the exact kernel, from outputs zero: neither inputs
    nor targets are centred or scaled. Computes in JAX's precision, float64 where x64 is on.

    Args:
        depth: The number of weight layers of the default kernel, `fk.kernels.FullyConnected`.
        activation: Its activation, by name.
        kernel: Another kernel of `fk.kernels` that takes rows of features; or "precomputed": then X
            is the Gram matrix, train by train in `fit` and test by train afterwards, which spares
            a grid search over `t` and `ridge` its recomputation.
        kind: "ntk", or "nngp" to train the last layer alone.
        ridge: Added to the diagonal of the Gram matrix.
        relative_ridge: Whether the ridge counts in units of the Gram matrix's mean diagonal.
        t: Flow time at which training stops, a hyperparameter like the ridge; infinity is
            kernel regression.

    Attributes:
        regression_: The `fk.regression.KernelRegression` of the training points, for every time.
        X_fit_: The training rows.
        n_features_in_: The number of features.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3. Checked by tests/test_estimators.py.
    """

    def fit(self, X: Any, y: Any) -> "NTKRegressor":
        """Solve the flow for rows X and targets y, one number or one row of outputs each."""
        rows, targets = self._check_rows(X, y, multi_output=True, y_numeric=True)
        self._fit_outputs(rows, targets.astype(rows.dtype))
        return self

    def predict(self, X: Any) -> Outputs:
        """The outputs at time t, shaped as the targets."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NTKClassifier(AbstractKernelClassifier, AbstractNTKEstimator):
    """Classification by an infinitely wide fully connected network, trained to time t.

    One output per class is fitted to e_c - 0.1 (the offset moves all outputs alike, and never the
    winner), by gradient flow of 1/2 the sum of squares from outputs zero.

    Args:
        depth: The number of weight layers of the default kernel, `fk.kernels.FullyConnected`.
        activation: Its activation, by name.
        kernel: As in `NTKRegressor`, as are all that follow.
        kind: "ntk" or "nngp".
        ridge: Added to the diagonal of the Gram matrix.
        relative_ridge: Whether the ridge counts in units of the Gram matrix's mean diagonal.
        t: Flow time at which training stops.

    Attributes:
        classes_: The labels, in the order of the outputs.
        regression_: The `fk.regression.KernelRegression` of the training points, for every time.
        X_fit_: The training rows.
        n_features_in_: The number of features.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 6. Checked by tests/test_estimators.py.
    """
