"""When the Gram matrix of a convolutional kernel goes through the tiles, without being asked."""

import logging
import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from flowkit.kernels.angles import has_angle, has_jump
from flowkit.kernels.base import fast_gram, fast_pairs
from flowkit.kernels.checks import Kinds
from flowkit.kernels.convolutional import Convolutional
from flowkit.kernels.tiles.blocks import Device
from flowkit.kernels.tiles.eligibility import why_not_warps
from flowkit.kernels.tiles.gram import can_tile, tiled_gram, tiled_pairs
from flowkit.kernels.tiles.parallel import each_nearly_parallel, nearly_parallel, not_finite
from flowkit.kernels.tiles.probing import Program, Values, places

# Pairs of positions over all pairs of images: below, compiling the tiles takes longer than they
# save.
LEAST_WORK = 2**22

_log = logging.getLogger(__name__)

Rows = Float[Array, "x height width channels"]
Columns = Float[Array, "z height width channels"]


@fast_gram.register
def _(
    kernel: Convolutional, x: Rows, z: Columns, kind: Kinds, *, symmetric: bool
) -> Float[Array, "*kinds x z"] | None:
    route = _route(kernel, x, z, kind, paired=False)
    if route is None:
        return None
    on_host = np.asarray(x), np.asarray(z)
    found = tiled_gram(kernel, *on_host, kind=kind, symmetric=symmetric, device=route.gpu)
    again = lambda rows, columns: _values_of(kernel, x, z, rows, columns, kind)
    probed = places(len(x), len(z))
    if not route.trusts(lambda: (found[(..., *probed)], again(*probed))):
        return None
    rows, columns = np.nonzero(not_finite(found))
    if _has_blurred_angles(kernel, x):
        near = nearly_parallel(*on_host, symmetric=symmetric)
        rows, columns = (np.append(a, b) for a, b in zip((rows, columns), near, strict=True))
    if len(rows):
        found[..., rows, columns] = again(rows, columns)
        if symmetric:
            found[..., columns, rows] = found[..., rows, columns]
    return jnp.asarray(found, device=x.sharding)


@fast_pairs.register
def _(kernel: Convolutional, x: Rows, z: Rows, kind: Kinds) -> Float[Array, "*kinds x"] | None:
    route = _route(kernel, x, z, kind, paired=True)
    if route is None:
        return None
    on_host = np.asarray(x), np.asarray(z)
    found = tiled_pairs(kernel, *on_host, kind=kind, device=route.gpu)
    again = lambda pairs: _values_of(kernel, x, z, pairs, pairs, kind)
    _, probed = places(len(x), len(z))
    if not route.trusts(lambda: (found[..., probed], again(probed))):
        return None
    (pairs,) = np.nonzero(not_finite(found[..., None, :])[0])
    if _has_blurred_angles(kernel, x):
        pairs = np.append(pairs, each_nearly_parallel(*on_host))
    if len(pairs):
        found[..., pairs] = again(pairs)
    return jnp.asarray(found, device=x.sharding)


def _has_blurred_angles(kernel: Convolutional, x: Rows) -> bool:
    """Whether tiles in the type of x leave out angles that its numbers can tell from 0."""
    return x.dtype == jnp.float64 and has_angle(kernel.activation)


def _values_of(
    kernel: Convolutional,
    x: Rows,
    z: Columns,
    rows: Int[np.ndarray, " pairs"],
    columns: Int[np.ndarray, " pairs"],
    kind: Kinds,
) -> Float[np.ndarray, "*kinds pairs"]:
    """Values by the maths of one pair; a power of two of them, so that few programs are compiled.

    What overflows has rules of its own there.
    """
    size = 1 << (len(rows) - 1).bit_length()
    values = kernel._values(x, z, np.resize(rows, size), np.resize(columns, size), kind)
    return np.asarray(values)[..., : len(rows)]


class Route(NamedTuple):
    """Where the tiles are computed: on a GPU by a program, or on all cores where there is none."""

    program: Program | None

    @property
    def gpu(self) -> Device | None:
        return None if self.program is None else self.program.device

    def trusts(self, probe: Callable[[], tuple[Values, Values]]) -> bool:
        """Whether values found by a GPU and by the maths of one pair agree; says it if not."""
        if self.program is None or self.program.is_probed:
            return True
        reason = self.program.judge(*probe())
        if reason:
            _say(str(self.gpu), reason)
        return reason is None


def _route(
    kernel: Convolutional, x: Rows, z: Columns, kind: Kinds, *, paired: bool
) -> Route | None:
    """Where tiles save time; None where they do not, or the arrays are no numbers in one place."""
    if not can_tile(kernel) or x.dtype not in (jnp.float32, jnp.float64):
        return None
    if x.dtype == jnp.float32 and has_jump(kernel.activation):  # an angle itself, not its square
        return None
    pairs = len(x) * (1 if paired else len(z))
    if pairs * math.prod(x.shape[1:3]) ** 2 < LEAST_WORK:
        return None
    arrays = [leaf for leaf in jax.tree.leaves((kernel, x, z)) if isinstance(leaf, jax.Array)]
    if any(isinstance(array, Tracer) for array in arrays):
        return None
    devices = {device for array in arrays for device in array.devices()}
    if len(devices) != 1:
        return None
    device = devices.pop()
    if _is_cpu(device):
        return Route(None)
    program = Program.of(kernel, x, kind, device, paired=paired)
    reason = why_not_warps(kernel, x.shape[1:], x.dtype, device.client.platform_version)
    if reason or program.verdict:
        _say(str(device), reason or program.verdict)
        return None
    return Route(program)


@cache
def _say(device: str, reason: str) -> None:
    """Log a reason, once."""
    _log.warning("Gram matrices take the general path on %s: %s.", device, reason)


def _is_cpu(device: Device) -> bool:
    return device.platform == "cpu"
