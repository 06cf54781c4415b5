"""Gram matrices of convolutional kernels, tile by tile on all cores."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from flowkit.kernels.base import Kind
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.layers import LayerScales
from flowkit.kernels.tiles.activations import tile_dual
from flowkit.kernels.tiles.blocks import Block
from flowkit.kernels.tiles.geometry import needed, side
from flowkit.kernels.tiles.planning import Part, Plan, plan
from flowkit.kernels.tiles.recursion import Grid, Network, Sums

Images = Float[np.ndarray, "images height width channels"]
Span = tuple[int, int]

# Otherwise XLA would cut every small loop into tasks of its own; the blocks keep the cores busy.
_OPTIONS = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}


class Values(NamedTuple):
    """`recursion.Sums` of many pairs, on the host."""

    nngp: Float[np.ndarray, "x z"]
    theta: Float[np.ndarray, "x z"]


class Grams(NamedTuple):
    """Gram matrices of both kinds."""

    ntk: Float[np.ndarray, "x z"]
    nngp: Float[np.ndarray, "x z"]


def can_tile(kernel: object) -> bool:
    """Whether tiles hold all of a kernel: a convolutional one that keeps offsets apart.

    Strides and pooling mix offsets; "valid" padding takes positions away from layer to layer.
    """
    if not isinstance(kernel, Convolutional) or kernel.padding == "valid":
        return False
    return all(size == (1, 1) for size in (*kernel.strides, *kernel.pooling))


def tiled_gram(
    kernel: Convolutional,
    x: Images,
    z: Images | None = None,
    *,
    kind: Kind = "ntk",
    symmetric: bool = False,
) -> Float[np.ndarray, "x z"]:
    """Kernel values of all pairs; `tiled_grams` has NTK and NNGP in one pass.

    Args:
        kernel: One that `can_tile` accepts.
        x: Images, in float32 or float64.
        z: Further images of the same type; x itself where omitted.
        kind: "ntk" or "nngp".
        symmetric: Whether K(x, z) is known to be symmetric, as where z is omitted. Then only one
            triangle is computed.

    Returns:
        The Gram matrix, in the type of x.

    Source:
        Checked by tests/kernels/test_tiles.py.
    """
    found = _grams(kernel, x, z, tangent=kind == "ntk", symmetric=symmetric)
    return found.ntk if kind == "ntk" else found.nngp


def tiled_grams(
    kernel: Convolutional, x: Images, z: Images | None = None, *, symmetric: bool = False
) -> Grams:
    """NTK and NNGP of all pairs, in one pass; see `tiled_gram`."""
    return _grams(kernel, x, z, tangent=True, symmetric=symmetric)


def _grams(
    kernel: Convolutional, x: Images, z: Images | None, *, tangent: bool, symmetric: bool
) -> Grams:
    symmetric, z = symmetric or z is None, x if z is None else z
    if len(z) < len(x):  # the lanes are to be full
        return Grams(*(m.T for m in _grams(kernel, z, x, tangent=tangent, symmetric=False)))
    totals = Values(*(np.zeros((len(x), len(z))) for _ in Values._fields))
    with jax.enable_x64(new_val=True):
        block = _block(kernel, x.shape[1:], x.dtype, tangent=tangent)
        cut = _plan(block, x, z, triangle=symmetric)
        for part, sums in _in_threads(_tasks(block, cut, x, z)):
            rows, lanes = (slice(*ends) for ends in part)
            for total, values in zip(totals, sums, strict=True):
                total[rows, lanes] += values
        found = _read_out(kernel, x.shape[1:3], totals)
    finish = _mirrored if symmetric else np.asarray
    return Grams(*(finish(values).astype(x.dtype) for values in found))


def _block(
    kernel: Convolutional, shape: tuple[int, ...], dtype: DTypeLike, *, tangent: bool
) -> Block:
    """The network as a block needs it."""
    circular = kernel.padding == "circular"
    rows, columns = (
        side(length, size, kernel.readout, circular=circular)
        for length, size in zip(shape[:2], kernel._filter, strict=True)
    )
    grid = Grid(
        inside=(jnp.asarray(rows.inside), jnp.asarray(columns.inside)),
        weights=(jnp.asarray(rows.weights), jnp.asarray(columns.weights)),
    )
    dual = tile_dual(kernel.activation)
    scales = [kernel._scales(h, shape[2], jnp.float64) for h in range(1, kernel.depth)]
    factors = jnp.asarray([1.0] + [dual.factor] * (kernel.depth - 2))
    stacked = LayerScales(*(jnp.stack(values) for values in zip(*scales, strict=True)))
    scaled = stacked._replace(
        weight=factors * stacked.weight, weight_rate=factors * stacked.weight_rate
    )
    network = Network(
        dual, kernel._filter, circular, tangent, scaled, jnp.asarray(kernel.depth - 1)
    )
    return Block(network, grid, jnp.asarray(needed(rows, columns)), np.dtype(dtype))


def _plan(block: Block, x: Images, z: Images, *, triangle: bool) -> Plan:
    return plan(
        (len(x), len(z)),
        x.shape[1:3],
        offsets=len(block.offsets),
        layers=int(block.network.layers),
        itemsize=np.dtype(block.dtype).itemsize,
        triangle=triangle,
    )


Task = tuple[Part, Callable[[], Values]]


def _tasks(block: Block, cut: Plan, x: Images, z: Images) -> Iterator[Task]:
    """What is to be added up: all tiles, that of offset zero, where angles vanish, in float64."""
    passes = [(block, (0, len(block.offsets)))]
    if block.dtype != np.float64:
        passes = [(block, (1, len(block.offsets))), (block.with_dtype(np.float64), (0, 1))]
    for block, span in passes:
        for part in cut.parts:
            yield part, partial(_sums, block, cut, x, z, part, span)


def _sums(block: Block, cut: Plan, x: Images, z: Images, part: Part, span: Span) -> Values:
    with jax.enable_x64(new_val=True):
        rows, lanes = _filled(x, part.rows, cut.rows), _filled(z, part.lanes, cut.lanes)
        bounds = tuple(jnp.asarray(end) for end in span)
        height, width = (last - first for first, last in part)
        sums = _program(block, rows, lanes, bounds)
        return Values(*(np.asarray(values)[:height, :width] for values in sums))


@partial(jax.jit, compiler_options=_OPTIONS)
def _program(block: Block, rows: Array, lanes: Array, span: tuple[Array, Array]) -> Sums:
    return block.sums(rows, lanes, span)


def _filled(images: Images, ends: Span, count: int) -> Float[Array, "count ..."]:
    """Images from a first to before a last, the last one repeated as often as it takes."""
    places = np.minimum(np.arange(ends[0], ends[0] + count), ends[1] - 1)
    return jnp.asarray(images[places], float)


def _in_threads(tasks: Iterator[Task]) -> Iterator[tuple[Part, Values]]:
    """Run the tasks on all cores; XLA holds no lock of Python's meanwhile."""
    pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
    try:
        futures = deque((part, pool.submit(task)) for part, task in tasks)
        while futures:
            part, future = futures.popleft()  # and forget its values
            yield part, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_out(kernel: Convolutional, shape: tuple[int, int], sums: Values) -> Grams:
    """The scales of the read-out; where the NNGP overflows, the NTK counts as equal."""
    factor = tile_dual(kernel.activation).factor
    weight, bias, weight_rate, bias_rate = map(float, kernel._readout_scales(jnp.zeros(shape)))
    m, theta = factor * sums.nngp, factor * sums.theta
    nngp = weight * m + bias
    ntk = weight * theta + weight_rate * m + bias_rate
    return Grams(np.where(np.isnan(ntk) & np.isinf(nngp), nngp, ntk), nngp)


def _mirrored(values: Float[np.ndarray, "x x"]) -> Float[np.ndarray, "x x"]:
    upper = np.triu(values)
    return upper + np.triu(values, 1).T
