"""The convolutional recursion as it is written: all pairs of positions of two images at once."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Image = Float[Array, "height width channels"]
Pairs = Float[Array, "height width height width"]


def box(values: Pairs, size: int = 3) -> Pairs:
    """The sum over equal shifts of both positions, zero outside."""
    height, width = values.shape[:2]
    padded = jnp.pad(values, size // 2)
    shifts = [(a, b) for a in range(size) for b in range(size)]
    windows = [
        padded[a : a + height, b : b + width, a : a + height, b : b + width] for a, b in shifts
    ]
    return sum(windows[1:], start=windows[0])


def variances(image: Image, depth: int) -> list[Float[Array, "height width"]]:
    """Those before each activation, 9^h times too large after h of them."""
    square = jnp.sum(image**2, axis=-1)
    found = []
    for _ in range(depth - 1):
        padded = jnp.pad(square, 1)
        height, width = square.shape
        square = sum(padded[a : a + height, b : b + width] for a in range(3) for b in range(3))
        found.append(square)
    return found


def gap_kernel(x: Image, z: Image, depth: int) -> Float[Array, ""]:
    """The published CNTK-GAP of the ReLU: filters of 3 x 3, first and last layer fixed."""
    sigma = box(jnp.einsum("abc,dec->abde", x, z, precision=lax.Precision.HIGHEST))
    theta = jnp.zeros_like(sigma)
    pairs = list(zip(variances(x, depth), variances(z, depth), strict=True))
    for layer, (var_x, var_z) in enumerate(pairs, start=1):
        scale = jnp.sqrt(var_x)[:, :, None, None] * jnp.sqrt(var_z)[None, None]
        cosine = jnp.clip(sigma / jnp.where(scale > 0, scale, 1.0), -1.0, 1.0)
        share = 1 - jnp.arccos(cosine) / jnp.pi
        sigma = scale * (cosine * share + jnp.sqrt(1 - cosine**2) / jnp.pi)
        theta = theta * share
        if layer < depth - 1:
            theta, sigma = box(theta + sigma), box(sigma)
    return jnp.mean(theta) / 9.0 ** (depth - 1)


compiled_gap_kernel = jax.jit(gap_kernel, static_argnums=2)
