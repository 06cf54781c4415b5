"""What exact convolutional kernels cost on a GPU: `kernels.py --device gpu`.

Values are checked first, against the tiles of the CPU in float64. Costs are wall times: of the
warps alone, all their inputs on the device, and of whole Gram matrices with the way from and to
the host. The plain path is the maths of one pair, which any JAX device runs.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from flowkit.kernels import Convolutional, LocalAverage
from flowkit.kernels.base import pairwise_gram
from flowkit.kernels.tiles import tiled_gram
from flowkit.kernels.tiles.blocks import Chosen
from flowkit.kernels.tiles.gram import block_of
from flowkit.kernels.tiles.running import programs

DEPTH, SHAPE = 11, (32, 32, 3)
COUNT, CHECKED = 64, 7  # images of a Gram matrix, and how many are held against the CPU
RUNS = 3
EXACT, SINGLE = 1e-12, 5e-7
# Of one pair, GAP, and of an H100 in float32: operations, and operations in a second.
OPERATIONS, PEAK = 0.43e9, 67e12

NETWORKS = {
    "GAP": {},
    "GAP, all layers trained": dict(train_ends=True),
    "flatten": dict(readout="flatten"),
    "LAP(4)": dict(readout=LocalAverage(4)),
    "circular": dict(padding="circular"),
    "filters of 5 x 3": dict(filter_size=(5, 3)),
    "biases": dict(bias_variance=0.1, weight_variance=1.7),
    "leaky_relu": dict(activation="leaky_relu"),
    "erf": dict(activation="erf"),
    "gelu": dict(activation="gelu"),
}

Images = Callable[..., np.ndarray]


def run(console: Console, images: Images) -> None:
    """Check and time each network, and then whole Gram matrices."""
    device = jax.devices("gpu")[0]
    _plain(console, images, device)
    x = images(COUNT - 5, dtype="float64")
    near = x[:1] * (1 + 1e-4 * np.random.default_rng(2).standard_normal(x[:1].shape))
    x = np.concatenate([x[:1], 2 * x[:1], near.astype("float32"), 0 * x[:1], x[:1], x])
    for name, options in NETWORKS.items():
        kernel = Convolutional(DEPTH, **options)
        expected = tiled_gram(kernel, x[:CHECKED], kind="both")
        for dtype, limit in (("float64", EXACT), ("float32", SINGLE)):
            error = _error(kernel, x.astype(dtype), expected, device)
            console.print(f"{f'{name}, {dtype}':40} error {error:.1e}")
            if not error <= limit:
                raise SystemExit("This is wrong: nothing more is timed.")
            _alone(console, f"{name}, {dtype}", kernel, x.astype(dtype), device)
    for name, count in (("GAP", 256), ("flatten", 2048)):
        _whole(console, name, Convolutional(DEPTH, **NETWORKS[name]), images(count), device)
    _digits(console, device)


def _error(kernel: Convolutional, x: np.ndarray, expected: np.ndarray, device: jax.Device) -> float:
    """The largest error, relative to the largest value; equal, scaled, near and empty images."""
    found = tiled_gram(kernel, x, kind="both", device=device)[:, :CHECKED, :CHECKED]
    size = np.abs(expected).max(axis=(1, 2), keepdims=True)
    return float(np.max(np.abs(found - expected) / size))


def _plain(console: Console, images: Images, device: jax.Device) -> None:
    """The same kernel by the maths of one pair."""
    x = jax.device_put(jnp.asarray(images(8)), device)
    span = _least(
        lambda: jax.block_until_ready(pairwise_gram(Convolutional(DEPTH), x, None, "ntk"))
    )
    console.print(f"{'plain path, GAP, float32':40} {span / 36 * 1e6:10.1f} us a pair")


def _alone(
    console: Console, name: str, kernel: Convolutional, x: np.ndarray, device: jax.Device
) -> None:
    """One block of half of x with x, not counting transfers."""
    with jax.enable_x64(new_val=True), jax.default_device(device):
        block, _ = block_of(kernel, x.shape[1:], x.dtype, device, tangent=True)
        count = len(block.offsets)
        single = block.dtype == np.float32 and count > 1
        chosen = Chosen(jnp.arange(count), jnp.asarray(int(single)), jnp.asarray(count))
        columns = jnp.asarray(x, float)
        rows = columns[: len(x) // 2]  # as many as `planning` takes: compiled already
        program = programs(type(block))[False]
        span = _least(lambda: jax.block_until_ready(program(block, rows, columns, chosen)))
    each = span / (len(rows) * len(columns))
    floor = OPERATIONS / PEAK if name.startswith("GAP") else 0
    ratio = f", {each / floor:.1f} times the floor" if floor and single else ""
    console.print(f"{f'warps, {name}':40} {each * 1e6:10.2f} us a pair{ratio}")


def _whole(
    console: Console, name: str, kernel: Convolutional, x: np.ndarray, device: jax.Device
) -> None:
    """A Gram matrix from host to host: one triangle of x with itself."""
    span = _least(lambda: tiled_gram(kernel, x, device=device))
    pairs = len(x) * (len(x) + 1) // 2
    console.print(f"{f'Gram matrix, {name}, {len(x)}':40} {span / pairs * 1e6:10.2f} us a pair")


def _digits(console: Console, device: jax.Device) -> None:
    from sklearn.datasets import load_digits

    x = load_digits().images[..., None].astype("float32") / 16
    span = _least(lambda: tiled_gram(Convolutional(5), x, device=device))
    console.print(f"{'digits, 1,797 x 1,797, depth 5':40} {span:10.2f} s")


def _least(run: Callable[[], object]) -> float:
    """Seconds: the least of some runs, after one that compiles."""
    run()
    spans = []
    for _ in range(RUNS):
        began = time.perf_counter()
        run()
        spans.append(time.perf_counter() - began)
    return min(spans)
