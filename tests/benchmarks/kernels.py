"""What convolutional Gram matrices cost by tiles, next to the recursion as it is written.

    python tests/benchmarks/kernels.py                    # everything, several minutes
    python tests/benchmarks/kernels.py gap flatten        # some of it
    python tests/benchmarks/kernels.py --device gpu       # the same on a GPU

Values are checked before anything is timed: against the transcription in float64, and float32
against float64. Costs are CPU-seconds of the process over all its threads, the least of three
runs after compilation; "used" is their share of the wall time of all cores.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from transcription import compiled_gap_kernel

from flowkit.kernels import Convolutional, LocalAverage
from flowkit.kernels.tiles import tiled_gram
from flowkit.kernels.tiles.running import cores

DEPTH, SIDE, CHANNELS = 11, 32, 3
RUNS = 3
EXACT, SINGLE = 1e-12, 5e-7  # relative errors in float64 and in float32

console = Console(highlight=False, width=120)


class Cost(NamedTuple):
    """Of one run: CPU-seconds, wall seconds and cores' share."""

    cpu: float
    wall: float

    @property
    def used(self) -> float:
        return self.cpu / self.wall / cores()


def images(count: int, side: int = SIDE, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Smooth random fields with correlated channels, somewhat like photographs."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, CHANNELS, side, side))
    frequency = np.fft.fftfreq(side)
    radius = np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2)
    x = np.fft.ifft2(np.fft.fft2(x) / (0.03 + radius) ** 1.3).real
    x = 0.5 * x + x.mean(1, keepdims=True)
    x = x / x.std((1, 2, 3), keepdims=True) * generator.uniform(0.6, 1.4, (count, 1, 1, 1))
    x = x + generator.normal(0, 0.5, (count, 1, 1, 1))
    return x.astype("float32").astype(dtype).transpose(0, 2, 3, 1)


def cost(run: Callable[[], object]) -> Cost:
    """The least of some runs, after one that compiles."""
    run()
    found = []
    for _ in range(RUNS):
        before, began = _cpu_seconds(), time.perf_counter()
        run()
        found.append(Cost(_cpu_seconds() - before, time.perf_counter() - began))
    return min(found)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def relative(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(abs(values - expected) / abs(expected)))


def show(name: str, pairs: int, found: Cost) -> float:
    """Print a line; return CPU-seconds per pair."""
    each = found.cpu / pairs
    size, unit = (each * 1e3, "ms") if each > 1e-3 else (each * 1e6, "us")
    console.print(
        f"{name:44} {size:9.2f} CPU-{unit} a pair, {pairs / found.wall:9.1f} pairs/s, "
        f"cores used {found.used:.0%}"
    )
    return each


def timed(name: str, kernel: Convolutional, rows: int, columns: int, **data) -> float:
    x, z = images(rows, **data), images(columns, seed=1, **data)
    return show(name, rows * columns, cost(lambda: tiled_gram(kernel, x, z)))


def check() -> None:
    """Refuse to time what is wrong."""
    x = images(3, dtype="float64")
    near = x[:1] * (1 + 1e-4 * np.random.default_rng(2).standard_normal(x[:1].shape))
    x = np.concatenate([x, x[:1], 2 * x[1:2], near.astype("float32")])
    kernel = Convolutional(DEPTH)
    exact, single = tiled_gram(kernel, x), tiled_gram(kernel, x.astype("float32"))
    plain = np.asarray([compiled_gap_kernel(jnp.asarray(x[0]), jnp.asarray(a), DEPTH) for a in x])
    errors = relative(exact[0, 1:3], plain[1:3]), relative(single, exact)
    console.print(f"float64 against the transcription: {errors[0]:.1e}; float32: {errors[1]:.1e}")
    if errors[0] > EXACT or errors[1] > SINGLE:
        raise SystemExit("The values are wrong: nothing is timed.")


def gap() -> None:
    """The published kernel: float32 and float64 next to the transcription."""
    x = jnp.asarray(images(2))
    plain = cost(lambda: jax.block_until_ready(compiled_gap_kernel(x[0], x[1], DEPTH)))
    slow = show("transcription, float32, GAP", 1, plain)
    fast = timed("tiles, float32, GAP", Convolutional(DEPTH), 4, 32)
    timed("tiles, float64, GAP", Convolutional(DEPTH), 4, 16, dtype="float64")
    console.print(f"    the transcription takes {slow / fast:.0f} times as much")


def flatten() -> None:
    kernel = Convolutional(DEPTH, readout="flatten")
    for dtype in ("float32", "float64"):
        timed(f"tiles, {dtype}, flatten", kernel, 128, 128, dtype=dtype)


def readouts() -> None:
    for reach in (1, 4):
        kernel = Convolutional(DEPTH, readout=LocalAverage(reach))
        timed(f"tiles, float32, LAP({reach})", kernel, 8, 32)


def activations() -> None:
    relu = timed("tiles, float32, GAP, relu", Convolutional(DEPTH), 2, 32)
    for name in ("leaky_relu", "erf", "gelu"):
        other = timed(f"tiles, float32, GAP, {name}", Convolutional(DEPTH, name), 2, 32)
        console.print(f"    {other / relu:.2f} times the ReLU")


def growth() -> None:
    """Cost against depth, and against the side: P^4 in theory."""
    for depth in (6, 11, 21):
        timed(f"tiles, float32, GAP, depth {depth}", Convolutional(depth), 2, 32)
    for side in (8, 16, 32):
        rows = (32 // side) ** 2
        timed(f"tiles, float32, GAP, side {side}", Convolutional(DEPTH), rows, 128, side=side)


def memory() -> None:
    """The peak of the process, of 1 x 500 images with GAP and 2,000 x 2,000 with "flatten"."""
    x = images(2000)
    before = _peak()
    tiled_gram(Convolutional(DEPTH), x[:1], x[:500])
    middle = _peak()
    tiled_gram(Convolutional(DEPTH, readout="flatten"), x)
    console.print(
        f"peak memory: {before:.2f} GB before, {middle:.2f} GB after 1 x 500 GAP, "
        f"{_peak():.2f} GB after 2,000 x 2,000 flatten"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def digits() -> None:
    """All 1,797 digits of 8 x 8, GAP at depth 5; the last 797 predicted from the first 1,000."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = data.images[..., None].astype("float32") / 16
    began, before = time.perf_counter(), _cpu_seconds()
    gram = tiled_gram(Convolutional(5), x).astype(float)
    wall = time.perf_counter() - began
    show("digits, 1,797 x 1,797, depth 5", 1797 * 1798 // 2, Cost(_cpu_seconds() - before, wall))
    targets = np.eye(10)[data.target[:1000]] - 0.1
    ridge = 1e-6 * np.trace(gram[:1000, :1000]) / 1000
    solved = np.linalg.solve(gram[:1000, :1000] + ridge * np.eye(1000), targets)
    right = np.mean(np.argmax(gram[1000:, :1000] @ solved, axis=1) == data.target[1000:])
    console.print(f"    {wall:.0f} s in all, compilation included; {right:.1%} of 797 are right")


PARTS = {
    part.__name__: part for part in (gap, flatten, readouts, activations, growth, memory, digits)
}


def main() -> None:
    """Check, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all where omitted")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", val=True)
    if options.device == "gpu":
        import kernels_gpu

        console.print(f"{jax.devices('gpu')[0].device_kind}, JAX {jax.__version__}")
        kernels_gpu.run(console, images)
        return
    chosen = options.parts or list(PARTS)
    console.print(f"{jax.devices()[0].device_kind}, {cores()} cores, JAX {jax.__version__}")
    check()
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
