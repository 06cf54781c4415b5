"""What every rule of training answers: its clock, its start, and its rate."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Scalar

ROOT_TIME = "root time"  # step k lies at k * sqrt(learning_rate)

Force = Callable[[PyTree], PyTree]
State = tuple[PyTree, ...]


class AbstractRule(eqx.Module):
    """A rule of training, as the flow of a state (y, ...) under a force f(y), minus the gradient.

    The first part of the state is what is trained. `dynamics.optimiser` builds the Optax
    transformation that follows the rule in steps.

    Attributes:
        clock: Where step k lies: flow time k * learning_rate, or root time
            k * sqrt(learning_rate).
        decoupled: Whether weight decay w pulls the weights themselves, dy/dt = ... - w y, as in
            AdamW; otherwise it joins the gradient, as the loss w/2 |y|^2 would.
        corrected: Whether the rule knows its flow to one order beyond the limit.
    """

    clock: eqx.AbstractClassVar[str]
    decoupled: eqx.AbstractClassVar[bool]
    corrected: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def start(self, force: Force, y0: PyTree, learning_rate: Scalar | None) -> State:
        """The state at the first step, where training has no past."""

    @abc.abstractmethod
    def rate(self, force: Force, state: State, learning_rate: Scalar | None) -> State:
        """The rate of the state per unit of the clock.

        Without a learning rate it is the limit of small ones, with it the next order as well.
        """


def number(value: ArrayLike) -> Float[Array, ""]:
    """A parameter of a rule as an array, so that another value compiles nothing anew."""
    return jnp.asarray(value, dtype=float)


def check_parameter(
    name: str, value: Float[Array, ""], holds: Callable[[float], bool], wanted: str
) -> None:
    """Refuse a parameter outside its range; one that is being traced has no value yet."""
    if not isinstance(value, Tracer) and not (np.isfinite(value) and holds(float(value))):
        raise ValueError(f"Argument `{name}` must be {wanted}, but it is {float(value):g}.")


def check_positive(**values: Float[Array, ""]) -> None:
    """Refuse parameters that are not positive."""
    for name, value in values.items():
        check_parameter(name, value, lambda number: number > 0, "positive")


def times(factor: Scalar, tree: PyTree) -> PyTree:
    """The tree scaled by a number, in the types of its leaves."""
    return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, tree)


def add(tree: PyTree, factor: Scalar, other: PyTree) -> PyTree:
    """The sum tree + factor * other, in the types of the tree's leaves."""
    return jax.tree.map(lambda a, b: a + factor.astype(a.dtype) * b, tree, other)


def scalar_zero(tree: PyTree) -> Scalar:
    """Zero, in the type of the first leaf of a tree."""
    leaves = jax.tree.leaves(tree)
    return jnp.zeros((), leaves[0].dtype if leaves else float)


def zeros(tree: PyTree) -> PyTree:
    """The tree with every entry zero."""
    return jax.tree.map(jnp.zeros_like, tree)


def squared_size(tree: PyTree) -> Scalar:
    """The sum of squares over all entries of all leaves."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)), scalar_zero(tree))
