"""Vector fields: what is integrated, each built on a lowered derivation."""

import abc
import itertools
from collections.abc import Callable
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.lowering import lower
from flowkit.observables import end_to_end
from flowkit.problems import AbstractProblem
from flowkit.symbolic import factor_flow, kernel_flow
from flowkit.trajectory import FLOW_TIME

Time = Float[Array, ""] | float
SYMMETRY = 1e-5  # relative skew that single precision may leave in a Gram matrix


class AbstractVectorField(eqx.Module):
    """A flow dy/dt = field(t, y) that lowers a training loss.

    Attributes:
        clock: What its time counts, so that only equal clocks are compared.
    """

    clock: eqx.AbstractClassVar[str]

    @abc.abstractmethod
    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        """The rate of the state, per unit of the clock."""

    @abc.abstractmethod
    def loss(self, y: PyTree) -> Scalar:
        """The training loss at a state, in the convention of the field's problem."""

    @abc.abstractmethod
    def check(self, y0: PyTree) -> None:
        """Refuse, with a ValueError, a state that the field cannot start from."""


@final
class FactorFlow(AbstractVectorField):
    """Gradient flow of every factor: dW_j/dt = -d(loss of W_N ... W_1)/dW_j.

    The state is the tuple (W_1, .., W_N); its length is the depth. Integrates the lowered
    `symbolic.factor_flow`, with G the gradient of the problem's loss at the product. Time is flow
    time under the problem's own loss convention (a mean of squares for completion).

    Source:
        arXiv:1802.06509, Theorem 1. Checked by tests/test_fields.py.
    """

    problem: AbstractProblem
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        check_problem(self.problem)

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        names = [f"W_{j}" for j in range(1, len(y) + 1)]
        gradient = self.problem.gradient(end_to_end(y))
        state = dict(zip(names, y, strict=True))
        rates = lower(factor_flow(len(y)))(t, state, {"G": gradient})
        return tuple(rates[name] for name in names)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(end_to_end(y))

    def check(self, y0: PyTree) -> None:
        check_factors(self.problem, y0)


@final
class EndToEndFlow(AbstractVectorField):
    """Flow of the product W of N balanced factors.

    dW/dt = -sum_{j=1..N} (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}, evaluated in the singular basis of
    W, where it is free of fractional matrix powers and safe at repeated and zero singular values.
    The state is the matrix W. Costs a singular value decomposition per call: it serves to verify.

    Source:
        arXiv:1802.06509, Theorem 1. Checked against the lowered `symbolic.end_to_end_flow` by
        tests/test_fields.py.
    """

    problem: AbstractProblem
    depth: int = eqx.field(static=True)
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        check_problem(self.problem)
        if not isinstance(self.depth, int) or isinstance(self.depth, bool) or self.depth < 1:
            raise ValueError(
                f"Argument `depth` must be a positive integer, but it is {self.depth!r}."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        gradient = self.problem.gradient(y)
        return -gradient if self.depth == 1 else -self._weighted(y, gradient)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(y)

    def check(self, y0: PyTree) -> None:
        if not eqx.is_array(y0) or y0.shape != self.problem.shape:
            raise ValueError(
                f"Argument `y0` must be a matrix of shape {self.problem.shape}, but it is "
                f"{_describe(y0)}."
            )

    def _weighted(
        self, product: Float[Array, "out in"], gradient: Float[Array, "out in"]
    ) -> Float[Array, "out in"]:
        """The operator on G: entry (i, j) in the singular basis has weight sum_k a_i^k a_j^(N-1-k).

        a = s^(2/N). A direction outside the basis has a = 0, so only one power of the sum is left
        there: a_j^(N-1) beside the right basis, a_i^(N-1) beside the left one.
        """
        U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
        a = s ** (2 / self.depth)
        powers = jnp.stack([a**k for k in range(self.depth)])
        weights = powers.T @ powers[::-1]
        inside = U.T @ gradient @ Vt.T
        beside_right = gradient @ Vt.T - U @ inside
        beside_left = U.T @ gradient - inside @ Vt
        top = powers[-1]
        return (U @ (weights * inside) + beside_right * top[None, :]) @ Vt + U @ (
            top[:, None] * beside_left
        )


@final
class ModelFlow(AbstractVectorField):
    """Gradient flow of any loss: dy/dt = -grad loss(y), by automatic differentiation.

    The state is any pytree of arrays. Time is flow time under the loss as it is given.

    Attributes:
        objective: The training loss, a scalar function of the state.
    """

    objective: Callable[[PyTree], Scalar]
    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        return jax.tree.map(jnp.negative, jax.grad(self.objective)(y))

    def loss(self, y: PyTree) -> Scalar:
        return self.objective(y)

    def check(self, y0: PyTree) -> None:
        check_scalar_loss(self.objective, y0)


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
            raise ValueError(f"Argument `y0` must be {form} {wanted}, but it is {_describe(y0)}.")


def check_scalar_loss(loss: Callable[[PyTree], Scalar], y0: PyTree) -> None:
    """Refuse a loss that is not one number at the initial state."""
    value = eqx.filter_eval_shape(loss, y0)
    if getattr(value, "shape", None) != ():
        raise ValueError(
            f"Argument `loss` must return one number, but at `y0` it returns "
            f"{_describe(value) if hasattr(value, 'shape') else type(value).__name__}."
        )


def check_problem(problem: object) -> None:
    """Refuse what is no problem, such as a bare matrix."""
    if not isinstance(problem, AbstractProblem):
        raise ValueError(
            f"Argument `problem` must be a problem such as MatrixCompletion, but it is a "
            f"`{type(problem).__name__}`."
        )


def check_factors(problem: AbstractProblem, factors: PyTree) -> None:
    """Refuse factors that do not multiply to a matrix of the problem's shape."""
    if not isinstance(factors, tuple) or not factors or any(np.ndim(W) != 2 for W in factors):
        raise ValueError(
            f"Argument `y0` must be a tuple of at least one matrix (W_1, .., W_N), but it is "
            f"{_describe(factors)}."
        )
    shapes = [np.shape(W) for W in factors]
    chained = all(b[1] == a[0] for a, b in itertools.pairwise(shapes))
    if not chained or (shapes[-1][0], shapes[0][1]) != problem.shape:
        raise ValueError(
            f"Argument `y0` must hold factors whose product W_N ... W_1 has shape "
            f"{problem.shape}, but their shapes are {shapes}."
        )


def _describe(y: PyTree) -> str:
    if isinstance(y, tuple | list):
        return f"a {type(y).__name__} of shapes {[np.shape(part) for part in y]}"
    return f"of shape {np.shape(y)}"
