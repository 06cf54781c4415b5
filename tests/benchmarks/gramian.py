"""What the Gram engine costs: Dask workers side by side, scheduler load, bytes and files, products.

    python tests/benchmarks/gramian.py workers       one and two workers on the same matrix
    python tests/benchmarks/gramian.py scheduler     100 simulated workers, tiles that take no work
    python tests/benchmarks/gramian.py store         reading, writing and products, by tile size

Each worker is one process on one core. Nothing else may run on the machine.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from distributed import Client, LocalCluster

import flowkit as fk
from flowkit.kernels import AbstractKernel, Convolutional

LOCAL = {"threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}


@final
class Nothing(AbstractKernel):
    """A kernel of zeros, which takes no time."""

    axes: ClassVar[tuple[str, ...]] = ("features",)

    def _values(self, x, z, rows, columns, kind):
        return jnp.zeros(len(rows), x.dtype)

    def gram(self, x, z=None, *, kind="ntk"):
        return jnp.zeros((len(x), len(x if z is None else z)), x.dtype)


def show(text: str) -> None:
    """A line of what was measured."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def pin(core: int) -> None:
    """Keep this process, and the threads that JAX will start in it, on one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def workers(folder: Path) -> None:
    """Pairs per second of one and of two workers, each on a core of its own; compiled before."""
    images = np.random.default_rng(0).normal(size=(400, 8, 8, 1)).astype(np.float32)
    kernel, times = Convolutional(3), {}
    for count in (1, 2):
        with (
            LocalCluster(n_workers=count, processes=True, **LOCAL) as cluster,
            Client(cluster) as client,
        ):
            for core, worker in enumerate(client.nthreads()):
                client.run(pin, core, workers=[worker])
            options = {"client": client, "tile": 40, "progress": False}
            for part, name in ((images[:160], "warm"), (images, "timed")):
                start = time.perf_counter()
                fk.gram(kernel, part, store=folder / f"{name}-{count}", **options)
                times[count] = time.perf_counter() - start
        pairs = len(images) * (len(images) + 1) // 2
        rate = pairs / times[count] / count
        show(f"{count} workers: {times[count]:.2f} s, {rate:,.0f} pairs/s per worker")
    show(f"speed-up {times[1] / times[2]:.2f}")


def scheduler(folder: Path, count: int = 100, tiles: int = 60) -> None:
    """Seconds of this process for each tile: scheduler, client and the workers' own overhead."""
    x = np.zeros((tiles * 2, 1), np.float32)
    with (
        LocalCluster(n_workers=count, processes=False, **LOCAL) as cluster,
        Client(cluster) as client,
    ):
        start, cpu = time.perf_counter(), time.process_time()
        store = folder / "store"
        fk.gram(Nothing(), x, store=store, client=client, tile=2, progress=False)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    made = tiles * (tiles + 1) // 2
    show(
        f"{count} workers in one process, {made} tiles: {wall:.1f} s, {made / wall:,.0f} tiles/s, "
        f"{1e3 * cpu / made:.2f} ms CPU a tile, client, scheduler and workers together"
    )


def store(folder: Path) -> None:
    """Milliseconds a tile and bytes a tile, and seconds of a product with 10 columns."""
    x = np.zeros((4096, 1), np.float32)
    for tile in (64, 128, 256):
        place = folder / str(tile)
        start = time.perf_counter()
        made = fk.gram(Nothing(), x, store=place, tile=tile, progress=False)
        tiles = made.tiles.cut.rows.count * (made.tiles.cut.rows.count + 1) // 2
        wrote = time.perf_counter() - start
        start = time.perf_counter()
        fk.gram(Nothing(), x, store=place, tile=tile, progress=False)
        scanned = time.perf_counter() - start
        start = time.perf_counter()
        made(np.ones((len(x), 10), np.float32))
        product = time.perf_counter() - start
        size = sum(path.stat().st_size for path in place.rglob("*")) / tiles
        show(
            f"tile {tile}: {tiles} tiles, write {1e3 * wrote / tiles:.2f} ms, check "
            f"{1e3 * scanned / tiles:.2f} ms, {size:,.0f} bytes; product {product:.2f} s"
        )


def main() -> None:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["workers", "scheduler", "store"])
    with tempfile.TemporaryDirectory() as folder:
        {"workers": workers, "scheduler": scheduler, "store": store}[parser.parse_args().what](
            Path(folder)
        )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
