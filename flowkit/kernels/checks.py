"""What inputs of kernels must be."""

import math
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

Kind = Literal["ntk", "nngp"]
Kinds = Kind | Literal["both"]
KINDS = ("ntk", "nngp")


def check_kind(kind: str) -> Kind:
    """One of the kinds."""
    if kind not in KINDS:
        raise ValueError(f"Argument `kind` must be `ntk` or `nngp`, but it is `{kind!r}`.")
    return kind


def check_inputs(
    x: Num[ArrayLike, "..."], z: Num[ArrayLike, "..."], axes: tuple[str, ...]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Both as floating arrays, once their axes, dtypes and values are in order."""
    x, z = _check_input("x", x, axes), _check_input("z", z, axes)
    own = axes.index("inputs") + 1 if "inputs" in axes else 0
    if x.shape[own:] != z.shape[own:]:
        names = " x ".join(axes[own:])
        raise ValueError(
            f"Argument `z` must agree with `x` in {names}, but they have shapes {z.shape} and "
            f"{x.shape}."
        )
    if x.dtype != z.dtype:
        raise ValueError(
            f"Argument `z` must have the dtype of `x`, {x.dtype}, but it has {z.dtype}."
        )
    return x, z


def _check_input(
    name: str, values: Num[ArrayLike, "..."], axes: tuple[str, ...]
) -> Float[Array, "..."]:
    array = jnp.asarray(values)
    if array.ndim != len(axes) or math.prod(array.shape) == 0:
        raise ValueError(
            f"Argument `{name}` must be a non-empty array of {' x '.join(axes)}, but it has shape "
            f"{array.shape}."
        )
    if jnp.iscomplexobj(array):
        raise ValueError(f"Argument `{name}` must be real, but it has dtype {array.dtype}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float)
    return check_finite(name, array)


def check_finite(name: str, array: Float[Array, "..."]) -> Float[Array, "..."]:
    """Refuse nan and infinity: at once, or at run time while JAX traces."""
    sentence = f"Argument `{name}` must be finite, but it holds nan or infinity."
    bad = ~jnp.isfinite(array).all()
    if isinstance(bad, Tracer):
        return eqx.error_if(array, bad, sentence)
    if bad:
        raise ValueError(sentence)
    return array
