"""Training of a linearised model in output space."""

from collections.abc import Callable
from typing import Any, ClassVar, cast, final

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.lowering import lower
from flowkit.symbolic import kernel_flow
from flowkit.trajectory import FLOW_TIME

SYMMETRY = 1e-5  # relative skew that single precision may leave in a Gram matrix

Product = Callable[[Float[Array, "train outputs"]], Float[Array, "points outputs"]]
Operator = Product | lx.AbstractLinearOperator
Kernel = Float[Array, "points train"] | Operator


def _as_matrix(values: Any) -> Array:
    matrix = jnp.asarray(values)
    return matrix.astype(float) if jnp.issubdtype(matrix.dtype, jnp.integer) else matrix


def _as_kernel(kernel: Any) -> Any:
    is_operator = callable(kernel) or isinstance(kernel, lx.AbstractLinearOperator)
    return kernel if kernel is None or is_operator else _as_matrix(kernel)


@final
class KernelFlow(AbstractVectorField):
    """Training of a linearised model in output space: du/dt = -K (u - y), df/dt = -k (u - y).

    Gradient flow of 1/2 the sum of squares. The state is the matrix u of training outputs or, with
    `test_gram` given, the pair (u, f) of training and test outputs. Integrates the lowered
    `symbolic.kernel_flow`; `regression.fit` solves the same flow exactly.

    A kernel may also be given as an operator: a Lineax linear operator, or a function that
    multiplies a (train, outputs) matrix by the kernel. Then no kernel matrix is ever formed. Let
    such a function be an Equinox module or a `jax.tree_util.Partial`: its arrays are arguments of
    the compiled solve, where those of a closure are constants of it.

    Attributes:
        gram: The kernel K between training points, symmetric: a matrix or an operator. Of an
            operator the symmetry is checked by one random probe.
        targets: The labels y, one row per training point.
        test_gram: The kernel k between test and training points: a matrix or an operator.

    Source:
        arXiv:1904.11955, Lemma 3.1. Checked by tests/test_fields.py, and operators against
        matrices by tests/fields/test_kernel_operator.py.
    """

    gram: Float[Array, "train train"] | Operator = eqx.field(converter=_as_kernel)
    targets: Float[Array, "train outputs"] = eqx.field(converter=_as_matrix)
    test_gram: Float[Array, "test train"] | Operator | None = eqx.field(
        default=None, converter=_as_kernel
    )
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        if self.targets.ndim != 2:
            raise ValueError(
                f"Argument `targets` must be a matrix of one row per training point, but its "
                f"shape is {self.targets.shape}; write one output as `targets[:, None]`."
            )
        self._check_shapes()
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            self._check_values()

    @property
    def is_dense(self) -> bool:
        """Whether every kernel is given as a matrix."""
        return all(k is None or isinstance(k, Array) for k in (self.gram, self.test_gram))

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        train = self._train(y)
        if not self.is_dense:
            residual = train - self.targets
            rate = -multiply(self.gram, residual)
            return rate if self.test_gram is None else (rate, -multiply(self.test_gram, residual))
        test, k = jnp.zeros_like(self.targets[:0]), cast(Array, self.gram)[:0]
        if self.test_gram is not None:
            (_, test), k = y, self.test_gram
        data = {"K": self.gram, "k": k, "y": self.targets}
        rates = lower(kernel_flow())(t, {"u": train, "f": test}, data)
        return rates["u"] if self.test_gram is None else (rates["u"], rates["f"])

    def loss(self, y: PyTree) -> Scalar:
        """1/2 the sum of squared training residuals."""
        return 0.5 * jnp.sum((self._train(y) - self.targets) ** 2)

    def check(self, y0: PyTree) -> None:
        wanted = [self.targets.shape]
        if self.test_gram is not None:
            wanted.append(_product_shape(self.test_gram, self.targets))
        parts = y0 if isinstance(y0, tuple) else (y0,)
        if [np.shape(part) for part in parts] != wanted or isinstance(y0, tuple) == (
            self.test_gram is None
        ):
            form = "a matrix of shape" if self.test_gram is None else "a tuple of matrices of shape"
            raise ValueError(f"Argument `y0` must be {form} {wanted}, but it is {describe(y0)}.")

    def _train(self, y: PyTree) -> Float[Array, "train outputs"]:
        return y if self.test_gram is None else y[0]

    def _check_shapes(self) -> None:
        points = self.targets.shape[0]
        if isinstance(self.gram, Array) and self.gram.shape != (points, points):
            raise ValueError(
                f"Argument `gram` must be square with one row per row of `targets`, but their "
                f"shapes are {self.gram.shape} and {self.targets.shape}."
            )
        if isinstance(self.test_gram, Array) and self.test_gram.shape[1:] != (points,):
            raise ValueError(
                f"Argument `test_gram` must have one column per training point ({points}), but "
                f"its shape is {self.test_gram.shape}."
            )
        if not isinstance(self.gram, Array):
            shape = _product_shape(self.gram, self.targets, "gram")
            if shape != self.targets.shape:
                raise ValueError(
                    f"Argument `gram` must keep the shape of `targets`, {self.targets.shape}, but "
                    f"its product with them is of shape {shape}."
                )
        if self.test_gram is not None and not isinstance(self.test_gram, Array):
            _product_shape(self.test_gram, self.targets, "test_gram")

    def _check_values(self) -> None:
        for name in ("gram", "targets", "test_gram"):
            value = getattr(self, name)
            if isinstance(value, Array) and not np.isfinite(value).all():
                raise ValueError(f"Argument `{name}` must be finite, but it is not.")
        if not isinstance(self.gram, Array):
            return _check_operator(self.gram, self.targets)
        gram = np.asarray(self.gram)
        skew = float(np.abs(gram - gram.T).max())
        if skew > SYMMETRY * float(np.abs(gram).max()):
            raise ValueError(
                f"Argument `gram` must be symmetric, but it differs from its transpose by {skew:g}."
            )
        return None


def multiply(
    kernel: Kernel, values: Float[Array, "train outputs"]
) -> Float[Array, "points outputs"]:
    """A kernel times a matrix with one row per training point."""
    if isinstance(kernel, lx.AbstractLinearOperator):
        return jax.vmap(kernel.mv, in_axes=1, out_axes=1)(values)
    return cast(Product, kernel)(values) if callable(kernel) else kernel @ values


def _product_shape(
    kernel: Kernel, values: Float[Array, "train outputs"], name: str = "test_gram"
) -> tuple[int, ...]:
    try:
        product = eqx.filter_eval_shape(multiply, kernel, values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Argument `{name}` must multiply a matrix of shape {values.shape}, but it cannot: "
            f"{error}"
        ) from error
    if getattr(product, "ndim", None) != 2 or product.shape[1] != values.shape[1]:
        raise ValueError(
            f"Argument `{name}` must give a matrix of {values.shape[1]} columns from one of shape "
            f"{values.shape}, but it gives {describe(product)}."
        )
    return product.shape


def _check_operator(gram: Kernel, targets: Float[Array, "train outputs"]) -> None:
    """Probe the symmetry, <v, K w> = <K v, w>, with fixed random matrices v and w."""
    rng = np.random.default_rng(0)
    v, w = (jnp.asarray(rng.normal(size=targets.shape), targets.dtype) for _ in range(2))
    products = eqx.filter_jit(lambda gram, *probes: [multiply(gram, x) for x in probes])
    traced = products(gram, v, w)
    if any(isinstance(product, Tracer) for product in traced):
        return  # by what the operator closes over
    Kv, Kw = map(np.asarray, traced)
    if not (np.isfinite(Kv).all() and np.isfinite(Kw).all()):
        raise ValueError("Argument `gram` must be finite, but a product with it is not.")
    skew = abs(float(np.sum(v * Kw) - np.sum(w * Kv)))
    if skew > SYMMETRY * float(np.linalg.norm(v) * np.linalg.norm(Kw)):
        raise ValueError(
            f"Argument `gram` must be symmetric, but <v, K w> and <K v, w> differ by {skew:g} for "
            f"random v and w."
        )
