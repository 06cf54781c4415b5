"""Rules with momentum: the heavy ball and Nesterov's acceleration."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.rules.base import (
    ROOT_TIME,
    AbstractRule,
    Force,
    State,
    add,
    check_parameter,
    number,
    scalar_zero,
    times,
    zeros,
)
from flowkit.trajectory import FLOW_TIME


@final
class Momentum(AbstractRule):
    """Heavy ball at a fixed momentum: gradient flow, faster by 1 / (1 - beta).

    dy/dt = f / (1 - beta). To the next order in the learning rate h,
    dy/dt = f/(1 - beta) - h (1 + beta)/(2 (1 - beta)^3) f'f, which training joins after about
    1/(1 - beta) steps, as if it had started at y0 - h beta/(1 - beta)^2 f(y0).

    Optax: `sgd(h, momentum=beta)`, at flow time k h.

    Attributes:
        beta: The momentum, at least 0 and below 1.

    Source:
        Limit: Polyak 1964. The next order follows from inserting a smooth curve into the
        recursion; Kovachki and Stuart 2021, arXiv:1906.04285, derive it for a general method.
        Checked by tests/dynamics/test_orders.py.
    """

    beta: Float[Array, ""] = eqx.field(default=0.9, converter=number)
    clock: ClassVar[str] = FLOW_TIME
    decoupled: ClassVar[bool] = False
    corrected: ClassVar[bool] = True

    def __check_init__(self):
        check_parameter("beta", self.beta, lambda beta: 0 <= beta < 1, "at least 0 and below 1")

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        if learning_rate is None:
            return (y0,)
        lag = -learning_rate * self.beta / (1 - self.beta) ** 2
        return (add(y0, lag, force(y0)),)

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        (y,) = state
        f = force(y)
        limit = times(1 / (1 - self.beta), f)
        if learning_rate is None:
            return (limit,)
        _, along = jax.jvp(force, (y,), (f,))
        return (add(limit, -learning_rate * (1 + self.beta) / (2 * (1 - self.beta) ** 3), along),)


@final
class HeavyBall(AbstractRule):
    """Heavy ball whose momentum 1 - friction sqrt(h) grows towards one as the rate h falls.

    d^2y/dt^2 + friction dy/dt = f, from rest. To the next order in s = sqrt(h),
    (1 - friction s/2) d^2y/dt^2 + friction dy/dt = f, from the velocity s/2 f(y0).

    Optax: `sgd(h, momentum=1 - friction * sqrt(h))`, at root time k sqrt(h).

    Attributes:
        friction: The friction gamma, not negative, per unit of root time.

    Source:
        Limit: Polyak 1964. The next order follows from inserting a smooth curve into the
        recursion. Checked by tests/dynamics/test_orders.py.
    """

    friction: Float[Array, ""] = eqx.field(default=1.0, converter=number)
    clock: ClassVar[str] = ROOT_TIME
    decoupled: ClassVar[bool] = False
    corrected: ClassVar[bool] = True

    def __check_init__(self):
        check_parameter("friction", self.friction, lambda friction: friction >= 0, "not negative")

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        if learning_rate is None:
            return (y0, zeros(y0))
        return (y0, times(jnp.sqrt(learning_rate) / 2, force(y0)))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, velocity = state
        acceleration = add(force(y), -self.friction, velocity)
        if learning_rate is not None:
            mass = 1 - self.friction * jnp.sqrt(learning_rate) / 2
            acceleration = times(1 / mass, acceleration)
        return (velocity, acceleration)


@final
class Nesterov(AbstractRule):
    """Nesterov's accelerated gradient: d^2y/dt^2 + (3/t) dy/dt = f, from rest at age t = 0.

    The acceleration starts at f/4. The state is (y, velocity, age), so that training may start at
    any time of the clock.

    The descent is y_k = x_k + (k-1)/(k+2) (x_k - x_{k-1}), x_{k+1} = y_k + h f(y_k), at root time
    k sqrt(h); what is trained and saved is y_k, where the gradient is taken.

    Source:
        Su, Boyd, Candes 2016, arXiv:1503.01243, equations 1 to 3. Checked by
        tests/dynamics/test_orders.py and against a Bessel function by tests/test_rules.py.
    """

    clock: ClassVar[str] = ROOT_TIME
    decoupled: ClassVar[bool] = False
    corrected: ClassVar[bool] = False

    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        return (y0, zeros(y0), scalar_zero(y0))

    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        y, velocity, age = state
        f = force(y)
        drag = -3 / jnp.where(age > 0, age, 1.0)
        moving = add(f, drag, velocity)
        acceleration = jax.tree.map(lambda a, b: jnp.where(age > 0, a, b / 4), moving, f)
        return (velocity, acceleration, jnp.ones_like(age))
