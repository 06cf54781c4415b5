"""Adaptive rules: each coordinate scaled by an average of its squared gradient."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.rules.base import (
    AbstractRule,
    Force,
    State,
    check_parameter,
    check_positive,
    number,
    scalar_zero,
    squared_size,
    times,
    zeros,
)
from flowkit.trajectory import FLOW_TIME

DECAY_RATES = (10.0, 1.0)  # per unit of flow time, of the averages of gradients and of squares
SMALLEST = 1e-8  # Adam's customary eps, under the root
Average = tuple[PyTree, Scalar]  # of a quantity, and of one: their ratio has no bias to zero


@final
class Adam(AbstractRule):
    """Adam: dy/dt = m / sqrt(v + eps), with bias-corrected averages m of f and v of f^2.

    m = M / w with dM/dt = a1 (f - M), dw/dt = a1 (1 - w) and M = w = 0 at first: w = 1 - e^{-a1 t}
    corrects the bias, being the average of one. So dm/dt = a1/(1 - e^{-a1 t}) (f - m), and m = f
    where that is singular, at the start; v alike with a2. The state is (y, (M, w), (V, w)), and
    training may start at any time.

    Optax: `adam(h, b1=exp(-a1 h), b2=exp(-a2 h), eps=0, eps_root=eps)`, at flow time k h. Weight
    decay is decoupled, as in `adamw`.

    Attributes:
        a1: Rate at which the average of gradients forgets, per unit of flow time.
        a2: Rate at which the average of squares forgets.
        eps: What is added under the root, positive.

    Source:
        da Silva, Gazeau 2020, arXiv:1810.13108. Checked by tests/dynamics/test_orders.py.
    """

    a1: Float[Array, ""] = eqx.field(default=DECAY_RATES[0], converter=number)
    a2: Float[Array, ""] = eqx.field(default=DECAY_RATES[1], converter=number)
    eps: Float[Array, ""] = eqx.field(default=SMALLEST, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = True
    corrected: ClassVar[bool] = False

    def __check_init__(self):
        check_positive(a1=self.a1, a2=self.a2, eps=self.eps)

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0, _no_average(y0), _no_average(y0))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, first, second = state
        f = force(y)
        square = jax.tree.map(jnp.square, f)
        step = _normalised(_average(first, f), _average(second, square), self.eps)
        return (step, _average_rate(self.a1, first, f), _average_rate(self.a2, second, square))


@final
class RMSProp(AbstractRule):
    """RMSProp: dy/dt = f / sqrt(v + eps), with the bias-corrected average v of f^2, as in `Adam`.

    Optax: `rmsprop(h, decay=exp(-a h), eps=eps, bias_correction=True)`, at flow time k h. Weight
    decay is decoupled.

    Attributes:
        a: Rate at which the average of squares forgets, per unit of flow time.
        eps: What is added under the root, positive.

    Source:
        da Silva, Gazeau 2020, arXiv:1810.13108. Checked by tests/dynamics/test_orders.py.
    """

    a: Float[Array, ""] = eqx.field(default=DECAY_RATES[1], converter=number)
    eps: Float[Array, ""] = eqx.field(default=SMALLEST, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = True
    corrected: ClassVar[bool] = False

    def __check_init__(self):
        check_positive(a=self.a, eps=self.eps)

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0, _no_average(y0))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, second = state
        f = force(y)
        square = jax.tree.map(jnp.square, f)
        step = _normalised(f, _average(second, square), self.eps)
        return (step, _average_rate(self.a, second, square))


@final
class Normalised(AbstractRule):
    """The gradient over its size: dy/dt = f / sqrt(v + eps), with the average v of |f|^2.

    One number v for all entries, bias-corrected as in `Adam`: the direction is that of gradient
    flow, and so is the curve as eps falls or the average forgets at once; the speed is about one.

    `dynamics.optimiser` gives the descent, with decay exp(-a h) a step, at flow time k h. Weight
    decay is decoupled.

    Attributes:
        a: Rate at which the average of squared sizes forgets, per unit of flow time.
        eps: What is added under the root, positive.

    Source:
        The descent of the experiments in arXiv:1905.13655, whose code calls it a global RMSProp.
        Checked by tests/dynamics/test_orders.py.
    """

    a: Float[Array, ""] = eqx.field(default=DECAY_RATES[1], converter=number)
    eps: Float[Array, ""] = eqx.field(default=SMALLEST, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = True
    corrected: ClassVar[bool] = False

    def __check_init__(self):
        check_positive(a=self.a, eps=self.eps)

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0, _no_average(scalar_zero(y0)))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, second = state
        f = force(y)
        square = squared_size(f)
        size = _root(_average(second, square), self.eps)
        return (times(1 / size, f), _average_rate(self.a, second, square))


@final
class AdaGrad(AbstractRule):
    """AdaGrad: dy/dt = f / sqrt(v + eps), dv/dt = f^2, from v = 0.

    Optax: `adagrad(sqrt(h), initial_accumulator_value=0, eps=eps / h)` is at flow time k h: a sum
    of squares over k steps is an integral over time k h divided by h. The learning rate of this
    rule is h, the square of Optax's own. Weight decay is decoupled.

    Attributes:
        eps: What is added under the root, positive.

    Source:
        da Silva, Gazeau 2020, arXiv:1810.13108. Checked by tests/dynamics/test_orders.py.
    """

    eps: Float[Array, ""] = eqx.field(default=SMALLEST, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = True
    corrected: ClassVar[bool] = False

    def __check_init__(self):
        check_positive(eps=self.eps)

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0, zeros(y0))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, total = state
        f = force(y)
        return (_normalised(f, total, self.eps), jax.tree.map(jnp.square, f))


@final
class Sign(AbstractRule):
    """Smoothed sign flow dy/dt = f / sqrt(f^2 + eps): Adam at fixed b1, b2 as its rate h falls.

    Averages over a fixed number of steps have no length in flow time, so that m = f and v = f^2.

    Optax: `adam(h, b1=b1, b2=b2, eps=0, eps_root=eps)`, at flow time k h, after the first
    1/(1 - b2) steps. Weight decay is decoupled.

    Attributes:
        b1: The decay of the average of gradients per step, below 1.
        b2: The decay of the average of squares per step, below 1.
        eps: What is added under the root, positive.

    Source:
        Ma, Wu, E 2022, arXiv:2009.06125. Checked by tests/dynamics/test_orders.py.
    """

    b1: Float[Array, ""] = eqx.field(default=0.9, converter=number)
    b2: Float[Array, ""] = eqx.field(default=0.999, converter=number)
    eps: Float[Array, ""] = eqx.field(default=SMALLEST, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = True
    corrected: ClassVar[bool] = False

    def __check_init__(self):
        for name, b in (("b1", self.b1), ("b2", self.b2)):
            check_parameter(name, b, lambda b: 0 <= b < 1, "at least 0 and below 1")
        check_positive(eps=self.eps)

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0,)

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        f = force(state[0])
        return (_normalised(f, jax.tree.map(jnp.square, f), self.eps),)


def _no_average(y0: PyTree) -> Average:
    return (zeros(y0), scalar_zero(y0))


def _average(average: Average, value: PyTree) -> PyTree:
    """The average without its bias; at the start, where it has no past, the value itself."""
    total, weight = average
    safe = jnp.where(weight > 0, weight, 1.0)
    divided = lambda total, value: jnp.where(weight > 0, total / safe.astype(total.dtype), value)
    return jax.tree.map(divided, total, value)


def _average_rate(speed: Scalar, average: Average, value: PyTree) -> Average:
    total, weight = average
    change = jax.tree.map(lambda v, t: speed.astype(t.dtype) * (v - t), value, total)
    return (change, speed.astype(weight.dtype) * (1 - weight))


def _normalised(force: PyTree, square: PyTree, eps: Scalar) -> PyTree:
    return jax.tree.map(lambda f, v: f / _root(v, eps), force, square)


def _root(square: Float[Array, "..."], eps: Scalar) -> Float[Array, "..."]:
    """sqrt(v + eps), of v = 0 where it is negative, as it never is but within a trial step.

    A step whose stages are not numbers is rejected, but reverse mode passes through it, and a
    derivative that is not a number stays one when it is multiplied by zero.
    """
    return jnp.sqrt(jnp.where(square < 0, 0.0, square) + eps.astype(square.dtype))
