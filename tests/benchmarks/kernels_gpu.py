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

DEPTH, SHAPE = 11, (32, 32, 3)
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
    """Check, then time."""
    device = jax.devices("gpu")[0]
    wrong = _check(console, images, device)
    if wrong:
        raise SystemExit(f"Nothing is timed: wrong are {', '.join(wrong)}.")
    _plain(console, images, device)
    for dtype, count in (("float32", 128), ("float64", 64)):
        for name, options in NETWORKS.items():
            _alone(
                console,
                f"{name}, {dtype}",
                Convolutional(DEPTH, **options),
                images(count, dtype=dtype),
                device,
            )
    for name, count in (("GAP", 256), ("flatten", 2048)):
        _whole(console, name, Convolutional(DEPTH, **NETWORKS[name]), images(count), device)
    _digits(console, device)


def _check(console: Console, images: Images, device: jax.Device) -> list[str]:
    """The names of what is wrong."""
    x = images(3, dtype="float64")
    near = x[:1] * (1 + 1e-4 * np.random.default_rng(2).standard_normal(x[:1].shape))
    x = np.concatenate([x, x[:1], 2 * x[1:2], near.astype("float32"), 0 * x[:1]])
    wrong = []
    for name, options in NETWORKS.items():
        kernel = Convolutional(DEPTH, **options)
        expected = tiled_gram(kernel, x, kind="both")
        size = np.abs(expected).max(axis=(1, 2), keepdims=True)
        for dtype, limit in (("float64", EXACT), ("float32", SINGLE)):
            began = time.perf_counter()
            found = tiled_gram(kernel, x.astype(dtype), kind="both", device=device)
            error = np.max(np.abs(found - expected) / size)
            span = time.perf_counter() - began
            console.print(f"{name}, {dtype}: error {error:.1e}, first run {span:.1f} s")
            if not error <= limit:
                wrong.append(f"{name}, {dtype}")
    return wrong


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
    """One block of x with itself, not counting transfers."""
    with jax.enable_x64(new_val=True), jax.default_device(device):
        block, _ = block_of(kernel, x.shape[1:], x.dtype, device, tangent=True)
        count = len(block.offsets)
        single = block.dtype == np.float32 and count > 1
        chosen = Chosen(jnp.arange(count), jnp.asarray(int(single)), jnp.asarray(count))
        program, images = jax.jit(type(block).sums), jnp.asarray(x, float)
        span = _least(lambda: jax.block_until_ready(program(block, images, images, chosen)))
    each = span / len(x) ** 2
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
