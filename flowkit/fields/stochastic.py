"""Flows of training on minibatches: SGD's stochastic differential equation, and reshuffling."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time
from flowkit.fields.model import check_scalar_loss
from flowkit.fields.modified import check_learning_rate, modified_rate
from flowkit.minibatches import Minibatches
from flowkit.trajectory import FLOW_TIME

ExampleLoss = Callable[[PyTree, Any], Scalar]


class AbstractStochasticField(eqx.Module):
    """A stochastic differential equation dy = drift dt + diffusion dB, in Ito's sense.

    Attributes:
        clock: What its time counts.
        learning_rate: The learning rate of the training it stands for, in units of its time.
        noises: The number of independent Brownian motions in B.
    """

    clock: eqx.AbstractVar[str]
    learning_rate: eqx.AbstractVar[Float[Array, ""]]
    noises: eqx.AbstractVar[int]

    @abc.abstractmethod
    def drift(self, t: Time, y: PyTree) -> PyTree:
        """The mean rate of the state."""

    @abc.abstractmethod
    def diffusion(self, t: Time, y: PyTree, increment: Float[Array, " noises"]) -> PyTree:
        """The change of the state by an increment of B, linear in it."""

    @abc.abstractmethod
    def loss(self, y: PyTree) -> Scalar:
        """The training loss at a state."""

    @abc.abstractmethod
    def check(self, y0: PyTree) -> None:
        """Refuse, with a ValueError, a state that the field cannot start from."""


@final
class StochasticFlow(AbstractStochasticField):
    """SGD on batches drawn with replacement: dy = -grad L dt + sqrt(h) Sigma^{1/2} dB.

    L is the mean loss of m examples and Sigma the covariance of the gradient of a batch of b. Its
    root is exact and needs no matrix: with one Brownian motion to an example,
    Sigma^{1/2} dB = (m b)^{-1/2} sum_k (g_k - mean g) dB_k, one gradient of a weighted loss.

    Expectations at flow time k h equal those of SGD up to O(h). With `modified=1` the drift is
    -grad(L + h/4 |grad L|^2) and they agree up to O(h^2).

    Attributes:
        objective: The loss of one example, `loss(y, example)`.
        batches: The examples and the size of a batch, drawn with replacement.
        learning_rate: The learning rate h.
        modified: 0, or 1 for the modified drift.

    Source:
        Li, Tai, E 2017, arXiv:1511.06251. Checked by tests/dynamics/test_stochastic.py.
    """

    objective: ExampleLoss
    batches: Minibatches
    learning_rate: Float[Array, ""]
    modified: int = eqx.field(static=True)
    clock: ClassVar[str] = FLOW_TIME

    def __init__(
        self,
        objective: ExampleLoss,
        batches: Minibatches,
        learning_rate: ArrayLike,
        *,
        modified: int = 0,
    ):
        self.objective, self.batches, self.modified = objective, batches, modified
        self.learning_rate = jnp.asarray(learning_rate, float)

    def __check_init__(self):
        check_learning_rate(self.learning_rate)
        if not self.batches.replace:
            raise ValueError(
                "Argument `batches` must be drawn with replacement, but it is reshuffled, whose "
                "noise cancels over an epoch; that is a `ReshuffledFlow`."
            )
        if self.modified not in (0, 1) or isinstance(self.modified, bool):
            raise ValueError(f"Argument `modified` must be 0 or 1, but it is {self.modified!r}.")

    @property
    def noises(self) -> int:
        return self.batches.examples

    def drift(self, t: Time, y: PyTree) -> PyTree:
        force = lambda t, y: _force(self.objective, self.batches.data, y)
        return modified_rate(force, t, y, self.learning_rate, self.modified)

    def diffusion(self, t: Time, y: PyTree, increment: Float[Array, " noises"]) -> PyTree:
        examples, size = self.batches.examples, self.batches.size
        scale = jnp.sqrt(self.learning_rate / (examples * size)).astype(increment.dtype)
        weights = scale * (increment - jnp.mean(increment))

        def weighted(y: PyTree) -> Scalar:
            losses = jax.vmap(self.objective, (None, 0))(y, self.batches.data)
            return jnp.dot(weights.astype(losses.dtype), losses)

        return jax.grad(weighted)(y)

    def loss(self, y: PyTree) -> Scalar:
        return _mean_loss(self.objective, self.batches.data, y)

    def check(self, y0: PyTree) -> None:
        _check_loss(self.objective, self.batches, y0)


@final
class ReshuffledFlow(AbstractVectorField):
    """Mean of SGD over the orders of an epoch, each example being visited once.

    At whole epochs, the mean over orders follows gradient flow of
    L + h/4 [w mean_k |grad l_k|^2 + (1 - w) |grad L|^2] up to O(h^2), with
    w = (m - b)/(b (m - 1)) for batches of b out of m examples l_k. For single examples w = 1, and
    for the whole batch w = 0, which is the modified flow of descent.

    Attributes:
        objective: The loss of one example, `loss(y, example)`.
        batches: The examples and the size of a batch, drawn without replacement.
        learning_rate: The learning rate h.

    Source:
        Smith, Dherin, Barrett, De 2021, arXiv:2101.12176. Checked by
        tests/fields/test_reshuffled.py.
    """

    objective: ExampleLoss
    batches: Minibatches
    learning_rate: Float[Array, ""]
    clock: ClassVar[str] = FLOW_TIME

    def __init__(self, objective: ExampleLoss, batches: Minibatches, learning_rate: ArrayLike):
        self.objective, self.batches = objective, batches
        self.learning_rate = jnp.asarray(learning_rate, float)

    def __check_init__(self):
        check_learning_rate(self.learning_rate)
        if self.batches.replace:
            raise ValueError(
                "Argument `batches` must be drawn without replacement, but it is drawn with it; "
                "that is a `StochasticFlow`."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        m, b = self.batches.examples, self.batches.size
        weight = (m - b) / (b * (m - 1)) if m > 1 else 0.0
        force = lambda t, y: _force(self.objective, self.batches.data, y)
        whole = modified_rate(force, t, y, self.learning_rate, 1)
        if not weight:
            return whole
        mix = lambda each, whole: weight * each + (1 - weight) * whole
        return jax.tree.map(mix, self._mean_of_modified(y), whole)

    def _mean_of_modified(self, y: PyTree) -> PyTree:
        """The mean over examples of their modified flows, in the memory of one batch."""
        shape = (self.batches.per_epoch, self.batches.size)
        reshape = lambda leaf: leaf.reshape(*shape, *leaf.shape[1:])

        def of_one(example: PyTree) -> PyTree:
            force = lambda t, y: jax.tree.map(jnp.negative, jax.grad(self.objective)(y, example))
            return modified_rate(force, 0.0, y, self.learning_rate, 1)

        def add(total: PyTree, batch: PyTree) -> tuple[PyTree, None]:
            rates = jax.vmap(of_one)(batch)
            return jax.tree.map(lambda a, b: a + jnp.mean(b, 0), total, rates), None

        batches = jax.tree.map(reshape, self.batches.data)
        total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, y), batches)
        return jax.tree.map(lambda leaf: leaf / shape[0], total)

    def loss(self, y: PyTree) -> Scalar:
        return _mean_loss(self.objective, self.batches.data, y)

    def check(self, y0: PyTree) -> None:
        _check_loss(self.objective, self.batches, y0)


def _check_loss(objective: ExampleLoss, batches: Minibatches, y0: PyTree) -> None:
    example = jax.tree.map(lambda leaf: leaf[0], batches.data)
    check_scalar_loss(lambda y: objective(y, example), y0)


def _mean_loss(objective: ExampleLoss, data: PyTree, y: PyTree) -> Scalar:
    return jnp.mean(jax.vmap(objective, (None, 0))(y, data))


def _force(objective: ExampleLoss, data: PyTree, y: PyTree) -> PyTree:
    gradient = jax.grad(lambda y: _mean_loss(objective, data, y))(y)
    return jax.tree.map(jnp.negative, gradient)
