"""Training of any loss over any state, by gradient flow or by a training rule."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractLiftedField, Time, describe
from flowkit.fields.modified import check_learning_rate, check_order, modified_rate
from flowkit.rules import AbstractRule
from flowkit.trajectory import FLOW_TIME


@final
class ModelFlow(AbstractLiftedField):
    """Training of any loss: dy/dt = -grad loss(y), or the flow of a training rule.

    What is trained is a pytree of arrays, such as an Equinox model. Time is flow time under the
    loss as it is given, or the clock of the rule.

    Weight decay w adds -w y to the rate: for gradient flow, `Momentum`, `HeavyBall` and `Nesterov`
    as part of the gradient, which is gradient flow of loss + w/2 |y|^2; for the adaptive rules
    apart from it, as in AdamW. `loss` leaves it out.

    Attributes:
        objective: The training loss, a scalar function of what is trained.
        modified: The order of the modified flow, 0, 1 or 2: what descent at `learning_rate`
            follows up to an error of one order more in the step of the clock; see `ModifiedFlow`.
            Of the rules, `Momentum` and `HeavyBall` know order 1.
        learning_rate: The learning rate of the modified flow.
        rule: The training rule; None is gradient descent.
        weight_decay: The weight decay w, per unit of flow time.

    Source:
        `ModifiedFlow`, and the rules themselves. Checked by tests/fields/test_model.py.
    """

    objective: Callable[[PyTree], Scalar]
    modified: int = eqx.field(static=True)
    learning_rate: Float[Array, ""] | None
    rule: AbstractRule | None
    weight_decay: Float[Array, ""]

    def __init__(
        self,
        objective: Callable[[PyTree], Scalar],
        *,
        modified: int = 0,
        learning_rate: ArrayLike | None = None,
        rule: AbstractRule | None = None,
        weight_decay: ArrayLike = 0.0,
    ):
        self.objective, self.modified, self.rule = objective, modified, rule
        self.learning_rate = None if learning_rate is None else jnp.asarray(learning_rate, float)
        self.weight_decay = jnp.asarray(weight_decay, float)

    def __check_init__(self):
        check_order("modified", self.modified)
        if self.learning_rate is not None:
            check_learning_rate(self.learning_rate)
        if (self.modified > 0) != (self.learning_rate is not None):
            raise ValueError(
                f"Arguments `modified` and `learning_rate` must be given together, but they are "
                f"{self.modified} and {self.learning_rate}: only a modified flow has a step."
            )
        if self.rule is not None and self.modified > int(self.rule.corrected):
            raise ValueError(
                f"Argument `modified` must be {'0 or 1' if self.rule.corrected else '0'} under the "
                f"rule `{type(self.rule).__name__}`, but it is {self.modified}."
            )
        decay = self.weight_decay
        if not isinstance(decay, Tracer) and not 0 <= float(decay) < np.inf:
            raise ValueError(
                f"Argument `weight_decay` must be 0 or positive, but it is {float(decay):g}."
            )

    @property
    def clock(self) -> str:
        return FLOW_TIME if self.rule is None else self.rule.clock

    def lift(self, t0: Time, y0: PyTree) -> PyTree:
        return y0 if self.rule is None else self.rule.start(self._force, y0, self.learning_rate)

    def position(self, state: PyTree) -> PyTree:
        return state if self.rule is None else state[0]

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        if self.rule is None:
            rate = lambda t, y: self._force(y)
            return modified_rate(rate, t, y, self.learning_rate, self.modified)
        first, *others = self.rule.rate(self._force, y, self.learning_rate)
        return (self._decayed(first, y[0]) if self.rule.decoupled else first, *others)

    def loss(self, y: PyTree) -> Scalar:
        return self.objective(y)

    def check(self, y0: PyTree) -> None:
        check_scalar_loss(self.objective, y0)

    def _force(self, y: PyTree) -> PyTree:
        """Minus the gradient, of the decay as well where it is coupled."""
        force = jax.tree.map(jnp.negative, jax.grad(self.objective)(y))
        apart = self.rule is not None and self.rule.decoupled
        return force if apart else self._decayed(force, y)

    def _decayed(self, rate: PyTree, y: PyTree) -> PyTree:
        decay = self.weight_decay
        return jax.tree.map(lambda r, leaf: r - decay.astype(leaf.dtype) * leaf, rate, y)


def check_scalar_loss(loss: Callable[[PyTree], Scalar], y0: PyTree) -> None:
    """Refuse a loss that is not one number at the initial state."""
    value = eqx.filter_eval_shape(loss, y0)
    if getattr(value, "shape", None) != ():
        raise ValueError(
            f"Argument `loss` must return one number, but at `y0` it returns "
            f"{describe(value) if hasattr(value, 'shape') else type(value).__name__}."
        )
