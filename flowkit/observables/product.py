"""Observables of the end-to-end matrix and of its factors."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from flowkit.lowering import lower_conserved
from flowkit.problems import AbstractProblem
from flowkit.spectrum import Spectrum
from flowkit.symbolic import factor_flow

Matrix = Float[Array | np.ndarray, "_out _in"]
MatrixState = Matrix | tuple[Matrix, ...] | Spectrum


def end_to_end(state: MatrixState) -> Float[Array, "out in"]:
    """The product W_N ... W_1; a matrix is its own product."""
    if isinstance(state, Spectrum):
        return state.matrix()
    if not isinstance(state, tuple):
        return jnp.asarray(state)
    product = jnp.asarray(state[0])
    for factor in state[1:]:
        product = jnp.asarray(factor) @ product
    return product


def singular_values(state: MatrixState) -> Float[Array, " rank"]:
    """Singular values of the product, in falling order."""
    if isinstance(state, Spectrum):
        nonzero = jnp.sort(jnp.exp(state.log_values), descending=True)
        zeros = min(len(state.left), len(state.right)) - nonzero.size
        return jnp.pad(nonzero, (0, zeros))
    return jnp.linalg.svd(end_to_end(state), compute_uv=False)


def log_abs_det(state: MatrixState) -> Scalar:
    """The logarithm log |det W| of a square product.

    From the factors where they are square, and from the logarithms of a `Spectrum`, so that it is
    finite where the determinant itself, or that of the rounded product, is zero.

    Raises:
        ValueError: the product is not square.
    """
    out, columns = jax.eval_shape(end_to_end, state).shape
    if out != columns:
        raise ValueError(
            f"Argument `state` must have a square product, but its shape is {(out, columns)}."
        )
    if isinstance(state, Spectrum):
        lacks_rank = state.log_values.size < out
        return jnp.full((), -jnp.inf) if lacks_rank else jnp.sum(state.log_values)
    square = isinstance(state, tuple) and all(W.shape[0] == W.shape[1] for W in state)
    parts = state if square else (end_to_end(state),)
    return jnp.sum(jnp.stack([jnp.linalg.slogdet(W)[1] for W in parts]))


def nuclear_norm(state: MatrixState) -> Scalar:
    """Sum of the product's singular values."""
    return jnp.sum(singular_values(state))


@final
class SchattenNorm(eqx.Module):
    """(sum_r s_r^p)^{1/p} of the product; a quasi-norm where p < 1, the largest s where p = oo."""

    p: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.p > 0:
            raise ValueError(f"Argument `p` must be a positive number, but it is {self.p!r}.")

    def __call__(self, state: MatrixState) -> Scalar:
        values = singular_values(state)
        largest = jnp.max(values)
        if self.p == float("inf"):
            return largest
        shares = values / jnp.where(largest > 0, largest, 1.0)
        return largest * jnp.sum(shares**self.p) ** (1 / self.p)


def schatten_norm(p: float | int) -> SchattenNorm:
    """The Schatten-p norm, or quasi-norm for p < 1, as a function of the state.

    Args:
        p: A positive number; 1 is the nuclear norm, 2 the Frobenius norm, `inf` the spectral norm.

    Returns:
        An observable; equal p give equal observables, so that nothing is compiled twice.

    Raises:
        ValueError: `p` is not positive.
    """
    return SchattenNorm(float(p))


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
    """A problem's loss at the product of the state, of training or of held-out entries alike.

    `LossOf(problem.held_out(target))` is the test error.
    """

    problem: AbstractProblem

    def __call__(self, state: MatrixState) -> Scalar:
        return self.problem.loss(end_to_end(state))


@final
class Alignment(eqx.Module):
    """How far the loss gradient shares the product's singular vectors: M = U^T G V.

    Two numbers: the Frobenius norms of M on and off its diagonal. Where the singular vectors of a
    deep factorization stand still, with distinct nonzero singular values, the second one is zero.
    The vectors of a repeated singular value are not unique, nor is then the way M is split.

    Attributes:
        problem: Gives the gradient G at the product.

    Source:
        arXiv:1905.13655, Corollary 1. Checked by tests/test_observables.py.
    """

    problem: AbstractProblem

    def __call__(self, state: MatrixState) -> Float[Array, "2"]:
        product = end_to_end(state)
        if isinstance(state, Spectrum):
            U, V = state.left, state.right
        else:
            U, _, Vt = jnp.linalg.svd(product, full_matrices=False)
            V = Vt.T
        M = U.T @ self.problem.gradient(product) @ V
        on = jnp.diag(M)
        return jnp.stack([jnp.linalg.norm(on), jnp.linalg.norm(M - jnp.diag(on))])


def balance(factors: tuple[Matrix, ...]) -> tuple[Array, ...]:
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
