"""What every kernel shares: checks, Gram matrices and batching around the maths of one pair."""

import abc
import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, Scalar

from flowkit.kernels.checks import Kinds, check_inputs, check_kind

_ENTRIES_AT_ONCE = 2**18  # of the largest tensor of a pair, over a batch of pairs: 2 MB in float64


class Grams(NamedTuple):
    """Gram matrices of both kinds, as arrays or what else holds them."""

    ntk: Any
    nngp: Any


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
        kind: Kinds,
    ) -> Float[Array, "*kinds pairs"]:
        """Kernel values of the pairs (x[row], z[column]); of "both" kinds, NTK first."""

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
        x, z = check_inputs(x, z, self.axes)
        index = np.zeros(1, int)
        return self._values(x[None], z[None], index, index, check_kind(kind))[0]

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
        return _gram(self, x, z, check_kind(kind))

    def grams(self, x: Num[ArrayLike, "x ..."], z: Num[ArrayLike, "z ..."] | None = None) -> Grams:
        """Kernel values of all pairs, of both kinds in one pass.

        Args:
            x: Inputs, along the first axis.
            z: Further inputs; x itself where omitted, and then only one triangle is computed.

        Returns:
            The Gram matrices `ntk` and `nngp`, each as of `gram`.

        Raises:
            ValueError: as `gram`.
        """
        return Grams(*_gram(self, x, z, "both"))

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
        x, _ = check_inputs(x, x, ("inputs", *self.axes))
        return values_of_each(self, x, x, check_kind(kind))


@functools.singledispatch
def fast_gram(
    kernel: AbstractKernel,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    kind: Kinds,
    *,
    symmetric: bool,
) -> Float[Array, "*kinds x z"] | None:
    """A Gram matrix by a way of its own that a kernel has registered; None where there is none.

    Args:
        kernel: The kernel.
        x: Inputs.
        z: Further inputs.
        kind: "ntk", "nngp" or "both", NTK first.
        symmetric: Whether K(x, z) is known to be symmetric, so that one triangle is enough.
    """
    return None


@functools.singledispatch
def fast_pairs(
    kernel: AbstractKernel, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kinds
) -> Float[Array, "*kinds pairs"] | None:
    """The values K(x[i], z[i]) by such a way; None where there is none."""
    return None


def values_of_each(
    kernel: AbstractKernel, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kinds
) -> Float[Array, "*kinds pairs"]:
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
        kind: Kinds,
    ) -> Float[Array, "*kinds pairs"]:
        return _values_of_pairs(self, x, z, rows, columns, kind)


@eqx.filter_jit
def _values_of_pairs(
    kernel: AbstractPairKernel,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    rows: Int[ArrayLike, " pairs"],
    columns: Int[ArrayLike, " pairs"],
    kind: Kinds,
) -> Float[Array, "*kinds pairs"]:
    """The values, a batch at a time.

    Where the NNGP overflows, and terms of both signs of the NTK with it, the NTK counts as equal.
    """

    def value(pair: tuple[Int[Array, ""], Int[Array, ""]]) -> Float[Array, "*kinds"]:
        ntk, nngp = kernel._pair(x[pair[0]], z[pair[1]])
        ntk = jnp.where(jnp.isnan(ntk) & jnp.isinf(nngp), nngp, ntk)
        return {"ntk": ntk, "nngp": nngp}[kind] if kind != "both" else jnp.stack([ntk, nngp])

    batch = max(1, _ENTRIES_AT_ONCE // kernel._pair_entries(x.shape[1:]))
    values = jax.lax.map(value, (jnp.asarray(rows), jnp.asarray(columns)), batch_size=batch)
    return jnp.moveaxis(values, 0, -1)


def _gram(
    kernel: AbstractKernel,
    x: Num[ArrayLike, "x ..."],
    z: Num[ArrayLike, "z ..."] | None,
    kind: Kinds,
) -> Float[Array, "*kinds x z"]:
    symmetric = z is None
    x, other = check_inputs(x, x if symmetric else z, ("inputs", *kernel.axes))
    z = x if symmetric else other
    found = fast_gram(kernel, x, z, kind, symmetric=symmetric)
    return pairwise_gram(kernel, x, None if symmetric else z, kind) if found is None else found


def pairwise_gram(
    kernel: AbstractKernel, x: Float[Array, "x ..."], z: Float[Array, "z ..."] | None, kind: Kinds
) -> Float[Array, "*kinds x z"]:
    """A Gram matrix from the maths of one pair: of every kernel, differentiable, on any device."""
    if z is None:
        return _symmetric_gram(kernel, x, kind)
    rows, columns = np.indices((len(x), len(z))).reshape(2, -1)
    values = kernel._values(x, z, rows, columns, kind)
    return values.reshape(*values.shape[:-1], len(x), len(z))


@eqx.filter_jit
def _symmetric_gram(
    kernel: AbstractKernel, x: Float[Array, "x ..."], kind: Kinds
) -> Float[Array, "*kinds x x"]:
    """The upper triangle and its mirror image."""
    rows, columns = np.triu_indices(len(x))
    values = kernel._values(x, x, rows, columns, kind)
    empty = jnp.zeros((*values.shape[:-1], len(x), len(x)), x.dtype)
    upper = empty.at[..., rows, columns].set(values)
    return upper.at[..., columns, rows].set(values)


def equal_inputs(x: Float[Array, "..."], z: Float[Array, "..."]) -> Scalar:
    """Whether two inputs are identical.

    Their correlation is 1 then, and a kernel should read both variances off the covariance: one
    rounding error below 1 would move kappa_dot, whose slope is infinite there, by 1e-8 in float64.
    """
    return jnp.all(x == z)
