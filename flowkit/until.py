"""Conditions that end an integration, each a real function whose root is located."""

import abc
from collections.abc import Callable, Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from flowkit.fields import AbstractVectorField, position
from flowkit.observables import AbstractTimedObservable, Observable

UNLEARNT = 0.5  # of the initial loss: above it, a slow flow is leaving a saddle, not converging


class AbstractCondition(eqx.Module):
    """A condition along a trajectory, prepared by `begin` and then asked for its `gap`."""

    @abc.abstractmethod
    def begin(
        self,
        field: AbstractVectorField,
        t0: Float[Array, ""],
        y0: PyTree,
        observables: Mapping[str, Observable],
    ) -> "AbstractCondition":
        """The condition for one integration, which may refer to where that starts."""

    @abc.abstractmethod
    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        """Positive before the condition holds, zero where it begins to; smooth in between.

        Args:
            field: The flow.
            t: The time.
            state: The state that is integrated: `position(field, state)` is what is trained.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """The condition as a sentence, for the trajectory's result."""


@final
class TrainLoss(AbstractCondition):
    """The field's training loss has fallen to a value."""

    value: Float[Array, ""]

    def begin(self, field, t0, y0, observables) -> "TrainLoss":
        return self

    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        return _fall_left(_loss(field, state), self.value)

    def describe(self) -> str:
        return f"train loss fell to {float(self.value):g}"


@final
class RelativeChange(AbstractCondition):
    """The state has settled: over a time as long as the past it would hardly move.

    Holds where (t - t0) |dy/dt| <= tolerance |y|, and the loss is below half its first value: from
    a small initialisation a flow first rests near a saddle, with no loss removed. Holds also where
    nothing moves at all, at a minimum or exactly at a saddle.
    """

    tolerance: Float[Array, ""]
    start: Float[Array, ""] | None = None
    first_loss: Float[Array, ""] | None = None

    def begin(self, field, t0, y0, observables) -> "RelativeChange":
        first_loss = jnp.asarray(field.loss(y0))
        if first_loss < 0:
            raise ValueError(
                f"Argument `until` must not be a relative change where the loss starts below zero, "
                f"as half of the first loss has to be gone, but it starts at {float(first_loss):g}."
            )
        return RelativeChange(self.tolerance, t0, first_loss)

    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        if self.start is None or self.first_loss is None:
            raise RuntimeError("The condition was asked for its gap before it was begun.")
        visible, whole_rate = lambda state: position(field, state), field(t, state)
        here, rate = jax.jvp(visible, (state,), (whole_rate,))
        start, now = self.start.astype(float), jnp.asarray(t).astype(float)
        settled = _logarithm((now - start) * _size(rate)) - _logarithm(self.tolerance * _size(here))
        learnt = _fall_left(_loss(field, state), UNLEARNT * self.first_loss)
        gap = jnp.where(now > start, jnp.maximum(settled, learnt), 1.0)
        return jnp.where(_is_zero(whole_rate), -1.0, gap)

    def describe(self) -> str:
        return f"the relative change fell to {float(self.tolerance):g}"


@final
class AtTime(AbstractCondition):
    """The clock has reached a time."""

    value: Float[Array, ""]

    def begin(self, field, t0, y0, observables) -> "AtTime":
        return self

    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        return self.value - jnp.asarray(t).astype(float)

    def describe(self) -> str:
        return f"the time reached {float(self.value):g}"


@final
class ObservableReaches(AbstractCondition):
    """A recorded observable has come to a value, from whichever side it started."""

    name: str
    value: Float[Array, ""]
    function: Callable[[PyTree], Scalar] | None = None
    side: Float[Array, ""] | None = None

    def begin(self, field, t0, y0, observables) -> "ObservableReaches":
        if self.name not in observables:
            raise ValueError(
                f"Argument `until` must name one of the `observables` {sorted(observables)}, but "
                f"it names {self.name!r}."
            )
        function = observables[self.name]
        if isinstance(function, AbstractTimedObservable):
            raise ValueError(
                f"Argument `until` must name an observable of the state alone, but {self.name!r} "
                f"depends on time."
            )
        first = np.asarray(eqx.filter_jit(function)(y0))
        if first.shape != ():
            raise ValueError(
                f"Argument `until` must name an observable that is one number, but {self.name!r} "
                f"has shape {first.shape}."
            )
        side = jnp.sign(jnp.asarray(first, self.value.dtype) - self.value)
        return ObservableReaches(self.name, self.value, function, side)

    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        if self.function is None or self.side is None:
            raise RuntimeError("The condition was asked for its gap before it was begun.")
        now = jnp.asarray(self.function(position(field, state))).astype(float)
        return self.side * (now - self.value)

    def describe(self) -> str:
        return f"{self.name} reached {float(self.value):g}"


@final
class FirstOf(AbstractCondition):
    """The first of several conditions."""

    conditions: tuple[AbstractCondition, ...]

    def begin(self, field, t0, y0, observables) -> "FirstOf":
        return FirstOf(tuple(c.begin(field, t0, y0, observables) for c in self.conditions))

    def gap(self, field: AbstractVectorField, t: Float[Array, ""], state: PyTree) -> Scalar:
        return jnp.min(jnp.stack([c.gap(field, t, state) for c in self.conditions]))

    def describe(self) -> str:
        return " or ".join(condition.describe() for condition in self.conditions)


def train_loss(value: int | float) -> TrainLoss:
    """Stop where the training loss falls to `value`.

    Args:
        value: The loss to stop at, positive, in the problem's own convention.

    Returns:
        A condition for `integrate(until=...)`.

    Raises:
        ValueError: `value` is not positive.
    """
    return TrainLoss(_positive("value", value))


def relative_change(tolerance: int | float) -> RelativeChange:
    """Stop where the flow has settled: (t - t0) |dy/dt| <= tolerance |y| in Euclidean norms.

    A flow that converges as e^{-t} or as a power of t meets it; one that still leaves the saddle of
    a small initialisation does not, as half of the first loss has to be gone. A saddle met later,
    between two modes that are learnt one after the other, may meet a loose tolerance. A flow that
    is at rest meets it before the first step, wherever it rests.

    Args:
        tolerance: The relative change over a time as long as the past, positive.

    Returns:
        A condition for `integrate(until=...)`.

    Raises:
        ValueError: `tolerance` is not positive; from `integrate`, the loss starts below zero.
    """
    return RelativeChange(_positive("tolerance", tolerance))


def time(value: int | float) -> AtTime:
    """Stop at a time of the field's clock, as one of several conditions in `first_of`."""
    return AtTime(_finite("value", value))


def observable(name: str, value: int | float) -> ObservableReaches:
    """Stop where a recorded observable reaches a value, from above or from below.

    Args:
        name: A name in the `observables` given to `integrate`; its values must be single numbers.
        value: The value, finite.

    Returns:
        A condition for `integrate(until=...)`.

    Raises:
        ValueError: `value` is not finite; from `integrate`, the observable is missing or an array.
    """
    return ObservableReaches(name, _finite("value", value))


def first_of(*conditions: AbstractCondition) -> FirstOf:
    """Stop at whichever condition holds first.

    Raises:
        ValueError: there are none, or one is not a condition.
    """
    if not conditions or not all(isinstance(c, AbstractCondition) for c in conditions):
        raise ValueError(
            f"Argument `conditions` must be conditions such as until.train_loss(1e-6), but they "
            f"are {conditions!r}."
        )
    return FirstOf(conditions)


def check_condition(until: object) -> None:
    """Refuse, where an integration takes `until`, what is neither a condition nor None."""
    if until is not None and not isinstance(until, AbstractCondition):
        raise ValueError(
            f"Argument `until` must be a condition of `fk.until` such as train_loss(1e-6), but it "
            f"is {until!r}."
        )


def _loss(field: AbstractVectorField, state: PyTree) -> Scalar:
    return field.loss(position(field, state))


def _fall_left(loss: Scalar, value: Scalar) -> Scalar:
    """How far a loss is above a value: the logarithm of their ratio, and linear below the value.

    Smooth where they meet, and finite for a loss of any sign.
    """
    loss, value = jnp.asarray(loss).astype(float), value.astype(float)
    below = (loss - value) / jnp.where(value > 0, value, 1.0)
    return jnp.where(loss > value, _logarithm(loss) - _logarithm(value), below)


def _logarithm(size: Scalar) -> Scalar:
    """Of a number that may be zero or less, where it is that of the smallest."""
    return jnp.log(jnp.maximum(size, jnp.finfo(size.dtype).tiny))


def _is_zero(tree: PyTree) -> Bool[Array, ""]:
    return jnp.stack([jnp.all(leaf == 0) for leaf in jax.tree.leaves(tree)]).all()


def _size(tree: PyTree) -> Scalar:
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree))
    return jnp.sqrt(jnp.asarray(squares)).astype(float)


def _finite(name: str, value: object) -> Float[Array, ""]:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"Argument `{name}` must be a number, but it is {value!r}.")
    if not np.isfinite(value):
        raise ValueError(f"Argument `{name}` must be finite, but it is {value!r}.")
    return jnp.asarray(value, dtype=float)


def _positive(name: str, value: object) -> Float[Array, ""]:
    number = _finite(name, value)
    if not number > 0:
        raise ValueError(f"Argument `{name}` must be positive, but it is {value!r}.")
    return number
