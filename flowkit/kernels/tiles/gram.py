"""Gram matrices of convolutional kernels, tile by tile on all cores or on a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from flowkit.kernels.base import Grams
from flowkit.kernels.checks import Kinds
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.activations import tile_dual
from flowkit.kernels.tiles.blocks import AbstractBlock, CoreBlock, Device
from flowkit.kernels.tiles.device import WarpBlock
from flowkit.kernels.tiles.geometry import needed, side
from flowkit.kernels.tiles.planning import Plan, plan
from flowkit.kernels.tiles.recursion import Grid, Network
from flowkit.kernels.tiles.running import Values, double_on, sums_of_all, sums_of_each
from flowkit.kernels.tiles.units import scaled

Rows = Float[np.ndarray, "x height width channels"]
Columns = Float[np.ndarray, "z height width channels"]


def can_tile(kernel: object) -> bool:
    """Whether tiles hold all of a kernel: a convolutional one that keeps offsets apart.

    Strides and pooling mix offsets; "valid" padding takes positions away from layer to layer.
    """
    if not isinstance(kernel, Convolutional) or kernel.padding == "valid":
        return False
    return all(size == (1, 1) for size in (*kernel.strides, *kernel.pooling))


def tiled_gram(
    kernel: Convolutional,
    x: Rows,
    z: Columns | None = None,
    *,
    kind: Kinds = "ntk",
    symmetric: bool = False,
    device: Device | None = None,
) -> Float[np.ndarray, "..."]:
    """Kernel values of all pairs.

    Args:
        kernel: One that `can_tile` accepts.
        x: Rows, in float32 or float64.
        z: Further images of the same type; x itself where omitted.
        kind: "ntk", "nngp", or "both" in one pass, NTK first.
        symmetric: Whether K(x, z) is known to be symmetric, as where z is omitted. Then only one
            triangle is computed.
        device: A GPU, for kernels that `why_not_warps` accepts; all cores where omitted. With a
            CPU, what would run on the GPU is interpreted.

    Returns:
        The Gram matrix, in the type of x.

    Source:
        Checked by tests/kernels/test_tiles.py.
    """
    tangent = kind != "nngp"
    return _of_kind(kind, _grams(kernel, x, z, device, tangent=tangent, symmetric=symmetric))


def _of_kind(kind: Kinds, grams: Grams) -> Float[np.ndarray, "..."]:
    return np.stack(grams) if kind == "both" else getattr(grams, kind)


def _grams(
    kernel: Convolutional,
    x: Rows,
    z: Columns | None,
    device: Device | None,
    *,
    tangent: bool,
    symmetric: bool,
) -> Grams:
    symmetric, z = symmetric or z is None, x if z is None else z
    if len(z) < len(x):  # the lanes are to be full
        return Grams(*(m.T for m in _grams(kernel, z, x, device, tangent=tangent, symmetric=False)))
    with double_on(device or _cpu()), np.errstate(over="ignore", invalid="ignore"):
        block, unit = block_of(kernel, x.shape[1:], x.dtype, device, tangent=tangent)
        cut = _plan(block, x, z, triangle=symmetric)
        found = _read_out(kernel, x.shape[1:3], unit, sums_of_all(block, cut, x, z))
        finish = _mirrored if symmetric else np.asarray
        return Grams(*(finish(values).astype(x.dtype) for values in found))


def tiled_pairs(
    kernel: Convolutional,
    x: Rows,
    z: Rows,
    *,
    kind: Kinds = "ntk",
    device: Device | None = None,
) -> Float[np.ndarray, "*kinds x"]:
    """The values K(x[i], z[i]), for arguments like those of `tiled_gram`."""
    with double_on(device or _cpu()), np.errstate(over="ignore", invalid="ignore"):
        block, unit = block_of(kernel, x.shape[1:], x.dtype, device, tangent=kind != "nngp")
        cut = _plan(block, x[:1], z, triangle=False)
        found = _read_out(kernel, x.shape[1:3], unit, sums_of_each(block, cut, x, z))
        return _of_kind(kind, found).astype(x.dtype)


def block_of(
    kernel: Convolutional,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    device: Device | None,
    *,
    tangent: bool,
) -> tuple[AbstractBlock, float]:
    """The network as a block needs it, and the unit of its sums."""
    circular, on_cores = kernel.padding == "circular", device is None
    rows, columns = (
        side(length, size, kernel.readout, circular=circular, gap=on_cores)
        for length, size in zip(shape[:2], kernel._filter, strict=True)
    )
    grid = Grid(
        inside=(jnp.asarray(rows.inside), jnp.asarray(columns.inside)),
        weights=(jnp.asarray(rows.weights), jnp.asarray(columns.weights)),
    )
    dual = tile_dual(kernel.activation, warps=not on_cores)
    scales, unit, plain = scaled(kernel, dual, shape[2])
    network = Network(
        dual, kernel._filter, circular, tangent, plain, scales, jnp.asarray(kernel.depth - 1)
    )
    parts = network, grid, jnp.asarray(needed(rows, columns)), np.dtype(dtype)
    if device is None:
        return CoreBlock(*parts, _cpu()), unit
    return WarpBlock(*parts, device, interpreted=device.platform == "cpu"), unit


def _plan(block: AbstractBlock, x: Rows, z: Columns, *, triangle: bool) -> Plan:
    return plan(
        (len(x), len(z)),
        x.shape[1:3],
        offsets=len(block.offsets),
        layers=int(block.network.layers),
        itemsize=np.dtype(block.dtype).itemsize,
        triangle=triangle,
        warps=isinstance(block, WarpBlock),
    )


def _read_out(kernel: Convolutional, shape: tuple[int, int], unit: float, sums: Values) -> Grams:
    """The scales of the read-out; where the NNGP overflows, the NTK counts as equal."""
    weight, bias, weight_rate, bias_rate = map(float, kernel._readout_scales(jnp.zeros(shape)))
    m, theta = unit * sums.nngp, unit * sums.theta
    nngp = weight * m + bias
    ntk = weight * theta + weight_rate * m + bias_rate
    return Grams(np.where(np.isnan(ntk) & np.isinf(nngp), nngp, ntk), nngp)


def _cpu() -> Device:
    return jax.devices("cpu")[0]


def _mirrored(values: Float[np.ndarray, "x x"]) -> Float[np.ndarray, "x x"]:
    upper = np.triu(values)
    return upper + np.triu(values, 1).T
