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
    kernel: Convolutional, shape: tuple[int, ...], dtype: DTypeLike, gpu: str
) -> str | None:
    """The reason for which a GPU does not compute a kernel by warps; None where it does.

    Args:
        kernel: One that `can_tile` accepts.
        shape: Height, width and channels of the images.
        dtype: float32 or float64.
        gpu: What JAX calls a device of its kind.
    """
    if triton is None:
        return "this JAX has no Pallas for Triton"
    if "nvidia" not in gpu.lower():
        return f"warps exchange lanes by instructions of NVIDIA's, and this is {gpu}"
    if max(shape[:2]) > LONGEST_SIDE:
        size = " x ".join(map(str, shape[:2]))
        return f"images of {size} are larger than the {LONGEST_SIDE} x {LONGEST_SIDE} of a warp"
    return why_not_dual(kernel.activation, np.dtype(dtype))


@cache
def why_not_dual(activation: Activation, dtype: np.dtype) -> str | None:
    """The reason for which the moments of an activation cannot be lowered to a GPU's kernel."""
    kernel, cpu = Convolutional(2, activation), jax.devices("cpu")[0]
    with jax.enable_x64(new_val=True):
        block, _ = block_of(kernel, (1, 1, 1), dtype, cpu, tangent=True)
        try:
            lowered(replace(block, interpreted=False), (1, 1, 1), rows=1, lanes=1)
        except NotImplementedError as error:
            return (
                f"Pallas cannot lower the moments of {activation}: {str(error) or 'no rule for it'}"
            )
    return None


def lowered(block: AbstractBlock, shape: tuple[int, ...], *, rows: int, lanes: int) -> str:
    """A block's program for CUDA, as text; no GPU is needed."""
    count = len(block.offsets)
    batches = (jax.ShapeDtypeStruct((n, *shape), float) for n in (rows, lanes))
    chosen = Chosen(jnp.arange(count), jnp.asarray(0), jnp.asarray(count))
    program = jax.jit(type(block).sums).trace(block, *batches, chosen)
    return program.lower(lowering_platforms=("cuda",)).as_text()
