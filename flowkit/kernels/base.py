"""What every kernel shares: checks, Gram matrices and batching around the maths of one pair."""

import abc
import functools
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, Scalar

Kind = Literal["ntk", "nngp"]
KINDS = ("ntk", "nngp")

_ENTRIES_AT_ONCE = 2**18  # of the largest tensor of a pair, over a batch of pairs: 2 MB in float64


class AbstractKernel(eqx.Module):
    """A kernel of infinitely wide networks, between any pairs out of two arrays of inputs.

    The kernels have two kinds: "ntk", the neural tangent kernel of gradient flow on all trained
    layers, and "nngp", the covariance of the outputs at initialization (neural network Gaussian
    process), which is the kernel of training the last layer only.
    """

    axes: eqx.AbstractClassVar[tuple[str, ...]]
    """The names of one input's axes."""

    @abc.abstractmethod
    def _values(
        self,
        x: Float[Array, "x ..."],
        z: Float[Array, "z ..."],
        rows: Int[ArrayLike, " pairs"],
        columns: Int[ArrayLike, " pairs"],
        kind: Kind,
    ) -> Float[Array, " pairs"]:
        """Kernel values of the pairs (x[row], z[column])."""

    def pair(
        self, x: Num[ArrayLike, "..."], z: Num[ArrayLike, "..."], *, kind: str = "ntk"
    ) -> Scalar:
        """Kernel value of one pair of inputs.

        Args:
            x: One input.
            z: Another, of the same shape.
            kind: "ntk" or "nngp".

        Returns:
            The value.

        Raises:
            ValueError: an input has the wrong rank, is empty or not finite, the inputs differ in
                shape or dtype, or `kind` is unknown.
        """
        x, z = _check_inputs(x, z, self.axes)
        index = np.zeros(1, int)
        return self._values(x[None], z[None], index, index, _check_kind(kind))[0]

    def gram(
        self,
        x: Num[ArrayLike, "x ..."],
        z: Num[ArrayLike, "z ..."] | None = None,
        *,
        kind: str = "ntk",
    ) -> Float[Array, "x z"]:
        """Kernel values of all pairs.

        Args:
            x: Inputs, along the first axis.
            z: Further inputs; x itself where omitted, and then only one triangle is computed.
            kind: "ntk" or "nngp".

        Returns:
            The Gram matrix, x by z; exactly symmetric where z is omitted.

        Raises:
            ValueError: inputs have the wrong rank, are empty or not finite, differ in shape or
                dtype, or `kind` is unknown.
        """
        kind = _check_kind(kind)
        axes = ("inputs", *self.axes)
        symmetric = z is None
        x, other = _check_inputs(x, x if z is None else z, axes)
        z = x if symmetric else other
        found = fast_gram(self, x, z, kind, symmetric=symmetric)
        return pairwise_gram(self, x, None if symmetric else z, kind) if found is None else found

    def diagonal(self, x: Num[ArrayLike, "x ..."], *, kind: str = "ntk") -> Float[Array, " x"]:
        """Kernel values of each input with itself.

        Args:
            x: Inputs, along the first axis.
            kind: "ntk" or "nngp".

        Returns:
            The diagonal of `gram(x)`.

        Raises:
            ValueError: inputs have the wrong rank, are empty or not finite, or `kind` is unknown.
        """
        x, _ = _check_inputs(x, x, ("inputs", *self.axes))
        return values_of_each(self, x, x, _check_kind(kind))


@functools.singledispatch
def fast_gram(
    kernel: AbstractKernel,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    kind: Kind,
    *,
    symmetric: bool,
) -> Float[Array, "x z"] | None:
    """A Gram matrix by a way of its own that a kernel has registered; None where there is none.

    Args:
        kernel: The kernel.
        x: Inputs.
        z: Further inputs.
        kind: "ntk" or "nngp".
        symmetric: Whether K(x, z) is known to be symmetric, so that one triangle is enough.
    """
    return None


@functools.singledispatch
def fast_pairs(
    kernel: AbstractKernel, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kind
) -> Float[Array, " pairs"] | None:
    """The values K(x[i], z[i]) by such a way; None where there is none."""
    return None


def pairwise_gram(
    kernel: AbstractKernel, x: Float[Array, "x ..."], z: Float[Array, "z ..."] | None, kind: Kind
) -> Float[Array, "x z"]:
    """A Gram matrix from the maths of one pair: of every kernel, differentiable, on any device."""
    if z is None:
        return _symmetric_gram(kernel, x, kind)
    rows, columns = np.indices((len(x), len(z))).reshape(2, -1)
    return kernel._values(x, z, rows, columns, kind).reshape(len(x), len(z))


def values_of_each(
    kernel: AbstractKernel, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kind
) -> Float[Array, " pairs"]:
    """The values K(x[i], z[i])."""
    found = fast_pairs(kernel, x, z, kind)
    index = np.arange(len(x))
    return kernel._values(x, z, index, index, kind) if found is None else found


class AbstractPairKernel(AbstractKernel):
    """A kernel whose subclasses write the maths of one pair of inputs."""

    @abc.abstractmethod
    def _pair(self, x: Float[Array, "..."], z: Float[Array, "..."]) -> tuple[Scalar, Scalar]:
        """The NTK and the NNGP of one pair of inputs of equal shape."""

    @abc.abstractmethod
    def _pair_entries(self, shape: tuple[int, ...]) -> int:
        """The number of entries of the largest tensor held for one pair of inputs."""

    def _values(
        self,
        x: Float[Array, "x ..."],
        z: Float[Array, "z ..."],
        rows: Int[ArrayLike, " pairs"],
        columns: Int[ArrayLike, " pairs"],
        kind: Kind,
    ) -> Float[Array, " pairs"]:
        return _values_of_pairs(self, x, z, rows, columns, kind)


@eqx.filter_jit
def _values_of_pairs(
    kernel: AbstractPairKernel,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    rows: Int[ArrayLike, " pairs"],
    columns: Int[ArrayLike, " pairs"],
    kind: Kind,
) -> Float[Array, " pairs"]:
    """The values, a batch at a time.

    Where the NNGP overflows, and terms of both signs of the NTK with it, the NTK counts as equal.
    """

    def value(pair: tuple[Int[Array, ""], Int[Array, ""]]) -> Scalar:
        ntk, nngp = kernel._pair(x[pair[0]], z[pair[1]])
        overflow = jnp.isnan(ntk) & jnp.isinf(nngp)
        return nngp if kind == "nngp" else jnp.where(overflow, nngp, ntk)

    batch = max(1, _ENTRIES_AT_ONCE // kernel._pair_entries(x.shape[1:]))
    return jax.lax.map(value, (jnp.asarray(rows), jnp.asarray(columns)), batch_size=batch)


@eqx.filter_jit
def _symmetric_gram(
    kernel: AbstractKernel, x: Float[Array, "x ..."], kind: Kind
) -> Float[Array, "x x"]:
    """The upper triangle and its mirror image."""
    rows, columns = np.triu_indices(len(x))
    values = kernel._values(x, x, rows, columns, kind)
    upper = jnp.zeros((len(x), len(x)), x.dtype).at[rows, columns].set(values)
    return upper.at[columns, rows].set(values)


def equal_inputs(x: Float[Array, "..."], z: Float[Array, "..."]) -> Scalar:
    """Whether two inputs are identical.

    Their correlation is 1 then, and a kernel should read both variances off the covariance: one
    rounding error below 1 would move kappa_dot, whose slope is infinite there, by 1e-8 in float64.
    """
    return jnp.all(x == z)


def _check_kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"Argument `kind` must be `ntk` or `nngp`, but it is `{kind!r}`.")
    return kind


def _check_inputs(
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
