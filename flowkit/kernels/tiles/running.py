"""The blocks of a Gram matrix on one device: on a CPU, a thread for each core."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flowkit.kernels.convolutions import Pair
from flowkit.kernels.tiles.blocks import AbstractBlock, Chosen, Device, Found
from flowkit.kernels.tiles.planning import Part, Plan

Images = Float[np.ndarray, "..."]
Order = Int[np.ndarray, " offsets"]
Program = Callable[[AbstractBlock, Array, Array, Chosen], Found]

MOST_BLURRED = 5e-4  # share of a pair's entries; each may be wrong by 3e-4 of its size


@cache
def programs(kind: type[AbstractBlock]) -> tuple[Program, Program]:
    """All pairs of a block, and pairs one by one."""
    compiled = partial(jax.jit, compiler_options=dict(kind.options))
    return compiled(kind.sums), compiled(kind.sums_of_each)


class Values(NamedTuple):
    """`recursion.Sums` of many pairs, on the host."""

    nngp: Float[np.ndarray, "..."]
    theta: Float[np.ndarray, "..."]


@contextmanager
def double_on(device: Device) -> Iterator[None]:
    """float64 and a device, whatever the user has set; for one thread."""
    with jax.enable_x64(new_val=True), jax.default_device(device):
        yield


def sums_of_all(block: AbstractBlock, cut: Plan, x: Images, z: Images) -> Values:
    """The sums of all pairs that the plan holds, 0 elsewhere."""
    total = Values(*(np.zeros((len(x), len(z))) for _ in Values._fields))
    for part, values in _run(block, cut, x, z, paired=False):
        rows, lanes = (slice(*ends) for ends in part)
        height, width = (last - first for first, last in part)
        for whole, found in zip(total, values, strict=True):
            whole[rows, lanes] = found[:height, :width]
    return total


def sums_of_each(block: AbstractBlock, cut: Plan, x: Images, z: Images) -> Values:
    """The sums of the pairs (x[i], z[i]); the rows of the plan do not matter."""
    total = Values(*(np.zeros(len(z)) for _ in Values._fields))
    for part, values in _run(block, cut, x, z, paired=True):
        first, last = part.lanes
        for whole, found in zip(total, values, strict=True):
            whole[first:last] = found[: last - first]
    return total


def _run(
    block: AbstractBlock, cut: Plan, x: Images, z: Images, *, paired: bool
) -> Iterator[tuple[Part, Values]]:
    """The sums of all parts; XLA holds no lock of Python's while it computes."""
    program = programs(type(block))[paired]

    def loaded(part: Part) -> Callable[[AbstractBlock, Chosen], Found]:
        lanes = _filled(z, part.lanes, cut.lanes)
        rows = _filled(x, *((part.lanes, cut.lanes) if paired else (part.rows, cut.rows)))
        return lambda block, chosen: program(block, rows, lanes, chosen)

    def task(part: Part) -> Values:
        with double_on(block.device), np.errstate(over="ignore", invalid="ignore"):
            return _all_tiles(block, loaded(part))

    _compile(block, loaded(cut.parts[0]))
    pool = ThreadPoolExecutor(max_workers=block.at_once or cores())
    try:
        futures = deque((part, pool.submit(task, part)) for part in cut.parts)
        while futures:
            part, future = futures.popleft()  # and forget its values
            yield part, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """How many this process may use; systems that do not say so are taken to give all."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _compile(block: AbstractBlock, program: Callable[[AbstractBlock, Chosen], Found]) -> None:
    """Compile what the threads will run, before all of them would do so."""
    nothing = Chosen(jnp.arange(len(block.offsets)), jnp.asarray(0), jnp.asarray(0))
    for each in {block.dtype: block, np.dtype(np.float64): block.with_dtype(np.float64)}.values():
        program(each, nothing)


def _all_tiles(block: AbstractBlock, program: Callable[[AbstractBlock, Chosen], Found]) -> Values:
    """The sums over all offsets: in float32 that of zero, where angles vanish, in float64.

    So are others where too many angles are blurred, as between patches without contrast.
    """
    count, wide = len(block.offsets), block.with_dtype(np.float64)

    def run(block: AbstractBlock, order: Order, start: int, stop: int) -> Found:
        chosen = Chosen(jnp.asarray(order), jnp.asarray(start), jnp.asarray(stop))
        return jax.tree.map(np.asarray, program(block, chosen))

    straight = np.arange(count)
    if block.dtype == np.float64:
        return _values(run(block, straight, 0, count))
    total = _values(run(wide, straight, 0, 1))
    if count == 1:
        return total
    found = run(block, straight, 1, count)
    whole = np.prod([np.sum(weights) for weights in block.grid.weights])
    blurred = _blurred(found, MOST_BLURRED * whole)
    total = _add(total, _values(found))
    if len(blurred):
        order = np.resize(blurred, count)
        total = _add(total, _values(run(wide, order, 0, len(blurred))))
        total = _add(total, _sums_at(found, blurred), sign=-1)
    return total


def _blurred(found: Found, limit: float) -> Order:
    """The most blurred offsets, so many that the others hold no more than the limit."""
    if np.max(found.total.blurred) <= limit:
        return np.zeros(0, int)
    each = found.each.blurred
    most = np.max(each.reshape(-1, *each.shape[-2:]), axis=(0, 2))
    order = np.argsort(-most, kind="stable")
    left = np.cumsum(most[order][::-1])[::-1]
    return order[: int(np.sum(left > limit))]


def _sums_at(found: Found, offsets: Order) -> Values:
    """What the tiles of some offsets have given."""
    nngp, theta = (
        np.asarray(values)[..., offsets, :].sum(axis=-2, dtype=float) for values in found.each[:2]
    )
    return Values(nngp, theta)


def _values(found: Found) -> Values:
    return Values(np.asarray(found.total.nngp), np.asarray(found.total.theta))


def _add(a: Values, b: Values, sign: int = 1) -> Values:
    return Values(a.nngp + sign * b.nngp, a.theta + sign * b.theta)


def _filled(images: Images, ends: Pair, count: int) -> Float[Array, "..."]:
    """Images from a first to before a last, the last one repeated as often as it takes."""
    places = np.minimum(np.arange(ends[0], ends[0] + count), ends[1] - 1)
    return jnp.asarray(images[places], float)
