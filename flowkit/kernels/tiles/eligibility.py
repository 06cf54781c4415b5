"""Which kernels a GPU's warps can compute."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.blocks import AbstractBlock, Chosen
from flowkit.kernels.tiles.gram import block_of
from flowkit.kernels.tiles.warp import WARP, triton
from flowkit.symbolic.duals import Activation

LONGEST_SIDE = WARP  # lanes of a warp; as many rows fit into its registers


def why_not_warps(
    kernel: Convolutional, shape: tuple[int, ...], dtype: DTypeLike, platform: str
) -> str | None:
    """The reason for which a GPU does not compute a kernel by warps; None where it does.

    Args:
        kernel: One that `can_tile` accepts.
        shape: Height, width and channels of the images.
        dtype: float32 or float64.
        platform: What JAX says of the device's platform and its version.
    """
    if triton is None:
        return "this JAX has no Pallas for Triton"
    if "cuda" not in platform.lower():
        found = " ".join(platform.split())
        return f"warps exchange lanes by instructions of CUDA, and this is {found}"
    if max(shape[:2]) > LONGEST_SIDE:
        size = " x ".join(map(str, shape[:2]))
        return f"images of {size} are larger than the {LONGEST_SIDE} x {LONGEST_SIDE} of a warp"
    return why_not_dual(kernel.activation, np.dtype(dtype))


@cache
def why_not_dual(activation: Activation, dtype: np.dtype) -> str | None:
    """The reason for which the moments of an activation cannot be lowered to a GPU's kernel."""
    kernel, any_device = Convolutional(2, activation), jax.devices()[0]
    with jax.enable_x64(new_val=True):
        block, _ = block_of(kernel, (1, 1, 1), dtype, any_device, tangent=True)
        try:
            lowered(replace(block, interpreted=False), (1, 1, 1), rows=1, lanes=1)
        except Exception as error:  # whatever Pallas makes of a user's function
            kind, text = type(error).__name__, str(error).split("\n")[0]
            return f"Pallas cannot lower the moments of {activation}: {kind} {text}".rstrip()
    return None


def lowered(block: AbstractBlock, shape: tuple[int, ...], *, rows: int, lanes: int) -> str:
    """A block's program for CUDA, as text; no GPU is needed."""
    count = len(block.offsets)
    batches = (jax.ShapeDtypeStruct((n, *shape), float) for n in (rows, lanes))
    chosen = Chosen(jnp.arange(count), jnp.asarray(0), jnp.asarray(count))
    program = jax.jit(type(block).sums).trace(block, *batches, chosen)
    return program.lower(lowering_platforms=("cuda",)).as_text()
