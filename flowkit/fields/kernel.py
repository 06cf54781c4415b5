"""Training of a linearised model in output space."""

from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.lowering import lower
from flowkit.symbolic import kernel_flow
from flowkit.trajectory import FLOW_TIME

SYMMETRY = 1e-5  # relative skew that single precision may leave in a Gram matrix


@final
class KernelFlow(AbstractVectorField):
    """Training of a linearised model in output space: du/dt = -K (u - y), df/dt = -k (u - y).

    Gradient flow of 1/2 the sum of squares. The state is the matrix u of training outputs or, with
    `test_gram` given, the pair (u, f) of training and test outputs. Integrates the lowered
    `symbolic.kernel_flow`; `regression.fit` solves the same flow exactly.

    Attributes:
        gram: The kernel K between training points, symmetric.
        targets: The labels y, one row per training point.
        test_gram: The kernel k between test and training points.

    Source:
        arXiv:1904.11955, Lemma 3.1. Checked by tests/test_fields.py.
    """

    gram: Float[Array, "train train"] = eqx.field(converter=jnp.asarray)
    targets: Float[Array, "train outputs"] = eqx.field(converter=jnp.asarray)
    test_gram: Float[Array, "test train"] | None = eqx.field(
        default=None, converter=lambda k: None if k is None else jnp.asarray(k)
    )
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        if self.targets.ndim != 2:
            raise ValueError(
                f"Argument `targets` must be a matrix of one row per training point, but its "
                f"shape is {self.targets.shape}; write one output as `targets[:, None]`."
            )
        points = self.targets.shape[0]
        if self.gram.shape != (points, points):
            raise ValueError(
                f"Argument `gram` must be square with one row per row of `targets`, but their "
                f"shapes are {self.gram.shape} and {self.targets.shape}."
            )
        if self.test_gram is not None and self.test_gram.shape[1:] != (points,):
            raise ValueError(
                f"Argument `test_gram` must have one column per training point ({points}), but "
                f"its shape is {self.test_gram.shape}."
            )
        if not isinstance(self.gram, Tracer):
            self._check_values()

    def _check_values(self) -> None:
        for name in ("gram", "targets", "test_gram"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"Argument `{name}` must be finite, but it is not.")
        skew = float(np.abs(self.gram - self.gram.T).max())
        if skew > SYMMETRY * float(np.abs(self.gram).max()):
            raise ValueError(
                f"Argument `gram` must be symmetric, but it differs from its transpose by {skew:g}."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        train, test, k = y, jnp.zeros_like(self.targets[:0]), self.gram[:0]
        if self.test_gram is not None:
            (train, test), k = y, self.test_gram
        data = {"K": self.gram, "k": k, "y": self.targets}
        rates = lower(kernel_flow())(t, {"u": train, "f": test}, data)
        return rates["u"] if self.test_gram is None else (rates["u"], rates["f"])

    def loss(self, y: PyTree) -> Scalar:
        """1/2 the sum of squared training residuals."""
        train = y if self.test_gram is None else y[0]
        return 0.5 * jnp.sum((train - self.targets) ** 2)

    def check(self, y0: PyTree) -> None:
        outputs = self.targets.shape[1]
        wanted = [self.targets.shape]
        if self.test_gram is not None:
            wanted.append((self.test_gram.shape[0], outputs))
        parts = y0 if isinstance(y0, tuple) else (y0,)
        if [np.shape(part) for part in parts] != wanted or isinstance(y0, tuple) == (
            self.test_gram is None
        ):
            form = "a matrix of shape" if self.test_gram is None else "a tuple of matrices of shape"
            raise ValueError(f"Argument `y0` must be {form} {wanted}, but it is {describe(y0)}.")
