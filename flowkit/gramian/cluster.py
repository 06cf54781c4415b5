"""Tiles as tasks of a Dask cluster, whose workers write them to the store.

Only numbers pass through the scheduler: a task is the index of a tile and what it takes to compute
any, a few kilobytes. Inputs are read from the store. A worker that dies
loses the tile at hand, which Dask gives to another one. A few tasks for each thread are with the
scheduler at any time, so that its load does not grow with the matrix.
"""

import functools
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import jax

from flowkit.gramian.geometry import Tile
from flowkit.gramian.work import Work

Client = Any  # of the library distributed

AHEAD = 4  # tasks for each thread, so that no worker waits for the next
AT_LEAST = 16  # tasks, while there are no workers yet


def check_client(client: Any) -> None:
    """Refuse what is no client, or one that has to be awaited."""
    distributed = _library()
    if not isinstance(client, distributed.Client):
        raise ValueError(
            f"Argument `client` must be a `distributed.Client`, but it is a "
            f"`{type(client).__name__}`."
        )
    if client.asynchronous:
        raise ValueError("Argument `client` must be a synchronous client, but it is asynchronous.")


def completed_by(client: Client, work: Work, tiles: Iterable[Tile]) -> Iterator[Tile]:
    """Complete tiles on the workers of a client; yields each when it is done.

    Raises:
        ValueError: as `Work.complete`.
        distributed.KilledWorker: a tile has been the end of as many workers as the setting
            `distributed.scheduler.allowed-failures` allows, and one more.
    """
    from distributed import as_completed
    from distributed.protocol.pickle import dumps

    described, rest, owners = dumps(work), iter(tiles), {}

    def submit(count: int) -> list[Any]:
        chosen = list(islice(rest, count))
        submitted = (client.submit(_complete, described, work.x64, t, pure=False) for t in chosen)
        futures = list(submitted)
        owners.update(zip((future.key for future in futures), chosen, strict=True))
        return futures

    running = as_completed(submit(_wanted(client)), loop=client.loop)
    try:
        for batch in running.batches():
            for future in batch:
                if future.status != "finished":
                    future.result()  # raises what went wrong
                yield owners.pop(future.key)
            running.update(submit(max(0, _wanted(client) - running.count())))
    finally:
        client.cancel(list(running.futures))


def _wanted(client: Client) -> int:
    return max(AT_LEAST, AHEAD * sum(client.nthreads().values()))


def _complete(described: bytes, x64: bool, tile: Tile) -> None:  # noqa: FBT001
    _work(described, x64).complete(tile)


@functools.lru_cache(maxsize=4)
def _work(described: bytes, x64: bool) -> Work:  # noqa: FBT001
    """The work on a worker, one for all of its tiles: what is compiled for a kernel is kept.

    Arrays of a kernel come back as arrays of JAX, which are of single precision where x64 is off.
    """
    from distributed.protocol.pickle import loads

    with jax.enable_x64(x64):
        return loads(described)


def _library() -> Any:
    """The library distributed.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ImportError(
            "A client needs `distributed`, which is not installed: "
            "pip install 'gradient-flowkit[scale]'."
        ) from error
    return distributed
