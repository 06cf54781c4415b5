"""Functions of a state that are recorded along a trajectory.

A state is a tuple of factors (W_1, .., W_N) or one matrix; observables of the product accept both.
User-defined observables are plain functions of the state.
"""

from collections.abc import Callable, Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.lowering import lower_conserved
from flowkit.problems import AbstractProblem
from flowkit.symbolic import factor_flow

Observable = Callable[[PyTree], Array]
MatrixState = Float[Array, "out in"] | tuple[Float[Array, "_out _in"], ...]


def end_to_end(state: MatrixState) -> Float[Array, "out in"]:
    """The product W_N ... W_1; a matrix is its own product."""
    if not isinstance(state, tuple):
        return state
    product = state[0]
    for factor in state[1:]:
        product = factor @ product
    return product


def singular_values(state: MatrixState) -> Float[Array, " rank"]:
    """Singular values of the product, in falling order."""
    return jnp.linalg.svd(end_to_end(state), compute_uv=False)


def nuclear_norm(state: MatrixState) -> Scalar:
    """Sum of the product's singular values."""
    return jnp.sum(singular_values(state))


def effective_rank(state: MatrixState) -> Scalar:
    """Exponential of the entropy of the normalised singular values; 0 for the zero matrix.

    Source:
        Roy and Vetterli 2007, as used in arXiv:1905.13655.
    """
    values = singular_values(state)
    total = jnp.sum(values)
    shares = values / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


@final
class LossOf(eqx.Module):
    """A problem's loss at the product of the state, of training or of held-out entries alike."""

    problem: AbstractProblem

    def __call__(self, state: MatrixState) -> Scalar:
        return self.problem.loss(end_to_end(state))


def balance(factors: tuple[Float[Array, "_out _in"], ...]) -> tuple[Array, ...]:
    """The conserved quantities W_{j+1}^T W_{j+1} - W_j W_j^T, lowered from `factor_flow`.

    Raises:
        ValueError: the state is no tuple of factors.
    """
    if not isinstance(factors, tuple):
        raise ValueError(
            f"Argument `factors` must be a tuple (W_1, .., W_N), but it is a "
            f"`{type(factors).__name__}`; only factors have a balance."
        )
    state = {f"W_{j}": factor for j, factor in enumerate(factors, start=1)}
    return lower_conserved(factor_flow(len(factors)))(state)


def checked_observables(observables: Mapping[str, Observable] | None) -> dict[str, Observable]:
    """Observables by name, refused unless each is a function."""
    if observables is None:
        return {}
    if not isinstance(observables, Mapping) or not all(map(callable, observables.values())):
        raise ValueError(
            f"Argument `observables` must map names to functions of the state, but it is "
            f"{observables!r}."
        )
    return dict(observables)


@eqx.filter_jit
def record(observables: Mapping[str, Observable], states: PyTree) -> dict[str, Any]:
    """Evaluate observables on states stacked along a leading time axis."""
    one = lambda state: {name: function(state) for name, function in observables.items()}
    return jax.lax.map(one, states)
