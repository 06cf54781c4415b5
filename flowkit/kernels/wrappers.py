"""Kernels made of a kernel: averages over flips, and a unit diagonal."""

import itertools
from collections.abc import Callable
from typing import ClassVar, Literal, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from flowkit.kernels.base import AbstractKernel, fast_gram, fast_pairs, values_of_each
from flowkit.kernels.checks import Kinds
from flowkit.kernels.convolutional import Convolutional

Axis = Literal["height", "width"]


@final
class UnitDiagonal(AbstractKernel):
    """The kernel K(x, z) / sqrt(K(x, x) K(z, z)), which is 1 on the diagonal.

    Where K(x, x) is 0, as for a zero image, all values of x are 0. A Gram matrix costs its diagonal
    more.

    Attributes:
        kernel: K.

    Source:
        Li et al. 2019, arXiv:1911.00809. Checked by tests/kernels/test_wrappers.py.
    """

    kernel: AbstractKernel

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of one input's axes."""
        return self.kernel.axes

    def _values(
        self,
        x: Float[Array, "x ..."],
        z: Float[Array, "z ..."],
        rows: Int[ArrayLike, " pairs"],
        columns: Int[ArrayLike, " pairs"],
        kind: Kinds,
    ) -> Float[Array, "*kinds pairs"]:
        left = self._inverse_norms(x, kind)
        right = left if z is x else self._inverse_norms(z, kind)
        values = self.kernel._values(x, z, rows, columns, kind)
        return values * left[..., rows] * right[..., columns]

    def _inverse_norms(self, x: Float[Array, "x ..."], kind: Kinds) -> Float[Array, "*kinds x"]:
        index = np.arange(len(x))
        return inverse_root(self.kernel._values(x, x, index, index, kind))


@final
class FlipAveraged(AbstractKernel):
    """The kernel of a data set and its mirror images: the mean of K(g x, g' z) over flips g, g'.

    A kernel that is unchanged when both images are flipped needs the flips of one image only; a
    `Convolutional` without strides and pooling is such a kernel, and costs half as much.

    Attributes:
        kernel: K, of images.
        flipped: The axes along which images are flipped, "width" (left and right) or "height".

    Source:
        Li et al. 2019, arXiv:1911.00809. Checked by tests/kernels/test_wrappers.py.
    """

    axes: ClassVar[tuple[str, ...]] = ("height", "width", "channels")

    kernel: AbstractKernel
    flipped: tuple[Axis, ...] = eqx.field(static=True, default=("width",))

    def __check_init__(self):
        if self.kernel.axes != self.axes:
            raise ValueError(
                f"Argument `kernel` must be one of images, but its inputs have the axes "
                f"{self.kernel.axes}."
            )
        if not self.flipped or not set(self.flipped) <= {"height", "width"}:
            raise ValueError(
                "Argument `flipped` must hold `height`, `width` or both, but it is "
                f"`{self.flipped}`."
            )

    def _values(
        self,
        x: Float[Array, "x ..."],
        z: Float[Array, "z ..."],
        rows: Int[ArrayLike, " pairs"],
        columns: Int[ArrayLike, " pairs"],
        kind: Kinds,
    ) -> Float[Array, "*kinds pairs"]:
        pairs = self.turned(x, z)
        values = [self.kernel._values(a, b, rows, columns, kind) for a, b in pairs]
        return jnp.stack(values).mean(0)

    def turned(
        self, x: Float[Array, "x ..."], z: Float[Array, "z ..."]
    ) -> list[tuple[Array, Array]]:
        """The images over which the mean goes, those that are not flipped first."""
        of_x = [x] if _keeps_flips(self.kernel) else self._flips(x)
        return list(itertools.product(of_x, self._flips(z)))

    def _flips(self, x: Float[Array, "x height width channels"]) -> list[Array]:
        """The images under all combinations of flips, themselves first."""
        axes = [1 + self.axes.index(axis) for axis in self.flipped]
        choices = itertools.product((False, True), repeat=len(axes))
        chosen = [[axis for axis, flip in zip(axes, c, strict=True) if flip] for c in choices]
        return [jnp.flip(x, turned) if turned else x for turned in chosen]


def _keeps_flips(kernel: AbstractKernel) -> bool:
    """Whether a kernel is known to be unchanged when both images are flipped."""
    if isinstance(kernel, UnitDiagonal | FlipAveraged):
        return _keeps_flips(kernel.kernel)
    plain = lambda sizes: all(size == (1, 1) for size in sizes)
    return isinstance(kernel, Convolutional) and plain(kernel.strides) and plain(kernel.pooling)


@fast_gram.register
def _(
    kernel: UnitDiagonal,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    kind: Kinds,
    *,
    symmetric: bool,
) -> Float[Array, "*kinds x z"] | None:
    gram = fast_gram(kernel.kernel, x, z, kind, symmetric=symmetric)
    if gram is None:
        return None
    if z is x:
        left = right = inverse_root(jnp.diagonal(gram, axis1=-2, axis2=-1))
    else:
        left, right = (inverse_root(values_of_each(kernel.kernel, a, a, kind)) for a in (x, z))
    return gram * left[..., None] * right[..., None, :]


@fast_pairs.register
def _(
    kernel: UnitDiagonal, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kinds
) -> Float[Array, "*kinds pairs"] | None:
    values = fast_pairs(kernel.kernel, x, z, kind)
    if values is None:
        return None
    own = [values if z is x else values_of_each(kernel.kernel, a, a, kind) for a in (x, z)]
    return values * inverse_root(own[0]) * inverse_root(own[1])


@fast_gram.register
def _(
    kernel: FlipAveraged,
    x: Float[Array, "x ..."],
    z: Float[Array, "z ..."],
    kind: Kinds,
    *,
    symmetric: bool,
) -> Float[Array, "*kinds x z"] | None:
    keeps = _keeps_flips(kernel.kernel)
    gram = lambda a, b: fast_gram(kernel.kernel, a, b, kind, symmetric=symmetric and keeps)
    return _mean_over(kernel.turned(x, z), gram)


@fast_pairs.register
def _(
    kernel: FlipAveraged, x: Float[Array, "pairs ..."], z: Float[Array, "pairs ..."], kind: Kinds
) -> Float[Array, "*kinds pairs"] | None:
    return _mean_over(kernel.turned(x, z), lambda a, b: fast_pairs(kernel.kernel, a, b, kind))


def _mean_over(
    pairs: list[tuple[Array, Array]], values: Callable[[Array, Array], Array | None]
) -> Array | None:
    """The mean over pairs of arrays; None where the first one has no value."""
    total = values(*pairs[0])
    if total is None:
        return None
    for a, b in pairs[1:]:
        found = values(a, b)
        if found is None:
            return None
        total = total + found
    return total / len(pairs)


def inverse_root(diagonal: Float[Array, "*kinds x"]) -> Float[Array, "*kinds x"]:
    """One over the root; 0 at 0."""
    positive = diagonal > 0
    return jnp.where(positive, 1 / jnp.sqrt(jnp.where(positive, diagonal, 1.0)), 0.0)
