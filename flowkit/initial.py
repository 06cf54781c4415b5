"""Initial factors W_1 .. W_N; `scale` is always that of the product W_N ... W_1."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from flowkit.problems import AbstractProblem
from flowkit.problems.counts import check_count, is_number

Factors = tuple[Float[Array, "_out _in"], ...]


def gaussian(
    problem: AbstractProblem,
    depth: int,
    scale: float,
    *,
    width: int | None = None,
    key: PRNGKeyArray,
) -> Factors:
    """Independent Gaussian entries, of deviation scale**(1/N) * fan_out**(-1/2) in each layer.

    Args:
        problem: Gives the shape of the product.
        depth: The number of factors N.
        scale: Scale of the product, positive.
        width: Size of the hidden layers; by default the smaller side of the product, which does
            not restrict its rank.
        key: Draws the entries.

    Returns:
        The factors (W_1, .., W_N).

    Raises:
        ValueError: `depth` or `width` is not a positive integer, or `scale` is not positive.

    Source:
        The initialisation of the experiments in arXiv:1905.13655.
    """
    shapes, factor_scale = _layers(problem, depth, scale, width)
    keys = jax.random.split(key, depth)
    return tuple(
        factor_scale * shape[0] ** -0.5 * jax.random.normal(k, shape)
        for k, shape in zip(keys, shapes, strict=True)
    )


def identity(
    problem: AbstractProblem, depth: int, scale: float, *, width: int | None = None
) -> Factors:
    """Factors scale**(1/N) I, of rectangular identities where they are not square.

    Balanced where all factors are square. Arguments, result and errors are those of `gaussian`.
    """
    shapes, factor_scale = _layers(problem, depth, scale, width)
    return tuple(factor_scale * jnp.eye(*shape) for shape in shapes)


def balanced(
    problem: AbstractProblem,
    depth: int,
    scale: float,
    *,
    width: int | None = None,
    key: PRNGKeyArray,
) -> Factors:
    """Exactly balanced factors of a Gaussian product of deviation scale * rows**(-1/2).

    With the product's singular value decomposition U S V^T, the layers are
    Q_j S^{1/N} Q_{j-1}^T with orthonormal Q_N = U, Q_0 = V and random Q_j between, so
    W_{j+1}^T W_{j+1} = W_j W_j^T. A `width` below the smaller side truncates S to it.

    Arguments, result and errors are those of `gaussian`.

    Source:
        Arora, Cohen, Golowich, Hu 2018, arXiv:1810.02281, Procedure 1.
    """
    shapes, _ = _layers(problem, depth, scale, width)
    product_key, *frame_keys = jax.random.split(key, depth)
    out, into = problem.shape
    product = scale * out**-0.5 * jax.random.normal(product_key, (out, into))
    rank = min(min(shape) for shape in shapes)
    U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
    hidden = [_frame(k, shape[0], rank) for k, shape in zip(frame_keys, shapes, strict=False)]
    frames = [Vt[:rank].T, *hidden, U[:, :rank]]
    roots = s[None, :rank] ** (1 / depth)
    return tuple((after * roots) @ before.T for before, after in itertools.pairwise(frames))


def orthogonal(
    problem: AbstractProblem,
    depth: int,
    scale: float,
    *,
    width: int | None = None,
    key: PRNGKeyArray,
) -> Factors:
    """Factors scale**(1/N) Q with Q uniformly distributed with orthonormal rows or columns.

    Arguments, result and errors are those of `gaussian`.
    """
    shapes, factor_scale = _layers(problem, depth, scale, width)
    keys = jax.random.split(key, depth)
    return tuple(
        factor_scale * _orthonormal(k, shape) for k, shape in zip(keys, shapes, strict=True)
    )


def _orthonormal(key: PRNGKeyArray, shape: tuple[int, int]) -> Float[Array, "_out _in"]:
    tall = _frame(key, max(shape), min(shape))
    return tall if shape[0] >= shape[1] else tall.T


def _frame(key: PRNGKeyArray, size: int, rank: int) -> Float[Array, "_size _rank"]:
    """Orthonormal columns, uniformly distributed (the signs of R make Q Haar)."""
    Q, R = jnp.linalg.qr(jax.random.normal(key, (size, rank)))
    return Q * jnp.sign(jnp.diagonal(R))[None, :]


def _layers(
    problem: AbstractProblem, depth: int, scale: float, width: int | None
) -> tuple[list[tuple[int, int]], float]:
    """Shapes of W_1 .. W_N and the scale of each."""
    check_count(depth=depth, **({} if width is None else {"width": width}))
    if not (is_number(scale) and 0 < scale < float("inf")):
        raise ValueError(f"Argument `scale` must be positive and finite, but it is {scale!r}.")
    out, into = problem.shape
    sizes = [into, *[int(width or min(out, into))] * (int(depth) - 1), out]
    shapes = [(sizes[j + 1], sizes[j]) for j in range(depth)]
    return shapes, scale ** (1 / depth)
