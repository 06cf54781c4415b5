"""What convolutions and average pooling do to covariances between positions of two images.

An array has the positions of one image (height width: covariances of each with itself) or those of
two (height width height width: of all pairs).
"""

from collections.abc import Mapping
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowkit.kernels.layers import check_integer

Pair = tuple[int, int]
Size = int | Pair
Sizes = Size | Mapping[int, Size]
Padding = Literal["zero", "circular", "valid"]
Covariances = Float[Array, "..."]


def filtered(values: Covariances, size: Pair, strides: Pair, padding: str) -> Covariances:
    """Sum over the equal shifts of both positions (or of the only one) within a filter.

    Filters lie where `jax.lax.conv_general_dilated` has them: with "zero" and "circular" padding
    as in "SAME", with "valid" inside the image. The sum goes along the height, then along the
    width: 2 q terms instead of q^2.

    Args:
        values: T(p, p'), or T(p, p).
        size: Height and width of the filter.
        strides: Along height and width.
        padding: "zero" or "circular" outside the image, or "valid".

    Returns:
        The sum of T(p + a, p' + a) over the filter's shifts a.
    """
    for axis in (0, 1):
        axes = tuple(range(axis, values.ndim, 2))
        first, *others = _shifts(values, axes, size[axis], strides[axis], padding)
        values = sum(others, start=first)
    return values


def patches(
    values: Float[Array, "height width values"], size: Pair, strides: Pair, padding: str
) -> Float[Array, "rows columns patch"]:
    """What a filter sees at each of its places: the values of all its positions.

    Args:
        values: Values at each position of one image.
        size: Height and width of the filter.
        strides: Along height and width.
        padding: As in `filtered`.

    Returns:
        All values of a patch along the last axis.
    """
    rows = _shifts(values, (0,), size[0], strides[0], padding)
    parts = [part for row in rows for part in _shifts(row, (1,), size[1], strides[1], padding)]
    return jnp.concatenate(parts, axis=-1)


def _shifts(
    values: Covariances, axes: tuple[int, ...], size: int, stride: int, padding: str
) -> list[Covariances]:
    """The values under each element of a filter along one direction, of both images at once."""
    length = values.shape[axes[0]]
    before, after = _margins(length, size, stride, padding)
    count = (length + before + after - size) // stride + 1
    if count < 1:
        raise ValueError(
            f"Argument `x` must have images of at least {size} positions along each side that a "
            f"filter or window of {size} moves along, but there are {length}."
        )
    mode = "wrap" if padding == "circular" else "constant"
    margins = [(before, after) if a in axes else (0, 0) for a in range(values.ndim)]
    padded = jnp.pad(values, margins, mode)
    window = lambda start: tuple(
        slice(start, start + stride * (count - 1) + 1, stride) if a in axes else slice(None)
        for a in range(values.ndim)
    )
    return [padded[window(start)] for start in range(size)]


def _margins(length: int, size: int, stride: int, padding: str) -> Pair:
    name = "VALID" if padding == "valid" else "SAME"
    ((before, after),) = jax.lax.padtype_to_pads((length,), (size,), (stride,), name)
    return before, after


def pooled(values: Covariances, window: Pair) -> Covariances:
    """Covariances of means over windows side by side; what no window fills is left out.

    Args:
        values: T(p, p').
        window: Height and width of a window.

    Returns:
        The mean of T over a window of the first image and one of the second, each on its own.
    """
    for axis in range(4):
        size, length = window[axis % 2], values.shape[axis]
        if size > length:
            raise ValueError(
                f"Argument `pooling` must fit the activations, but a window of {size} meets "
                f"{length} positions."
            )
        kept = jax.lax.slice_in_dim(values, 0, length - length % size, axis=axis)
        shape = (*kept.shape[:axis], length // size, size, *kept.shape[axis + 1 :])
        values = kept.reshape(shape).mean(axis + 1)
    return values


def of_each_position(values: Covariances) -> Float[Array, "height width"]:
    """The covariances of positions with themselves."""
    return values if values.ndim == 2 else jnp.einsum("abab->ab", values)


def check_filter(size: Size) -> None:
    """Refuse a filter without a middle."""
    for side in pair_of("filter_size", size):
        check_integer("filter_size", side, least=1)
        if side % 2 == 0:
            raise ValueError(f"Argument `filter_size` must be odd, but it is `{size}`.")


def check_padding(padding: str) -> None:
    """Refuse an unknown padding."""
    if padding not in get_args(Padding):
        raise ValueError(
            f"Argument `padding` must be `zero`, `circular` or `valid`, but it is `{padding!r}`."
        )


def for_each_layer(name: str, sizes: Sizes, count: int) -> tuple[Pair, ...]:
    """A size for each of the convolutions."""
    if not isinstance(sizes, Mapping):
        return (pair_of(name, sizes),) * count
    if wrong := [h for h in sizes if h not in range(1, count + 1)]:
        raise ValueError(
            f"Argument `{name}` must map layers from 1 to {count}, but it maps `{wrong[0]}`."
        )
    return tuple(pair_of(name, sizes.get(h, 1)) for h in range(1, count + 1))


def pair_of(name: str, size: Size) -> Pair:
    """Height and width."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise ValueError(f"Argument `{name}` must be a number or two, but it is `{size}`.")
    for side in sides:
        check_integer(name, side, least=1)
    height, width = sides
    return height, width
