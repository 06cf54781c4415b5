"""Workers of a Dask cluster fill the same store with the same bits, also when one of them dies."""

import os
import signal
import time

import equinox as eqx
import jax
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.protocol.pickle import dumps
from gramian.plain import Plain, Root

import flowkit as fk
from flowkit.gramian import open_gram
from flowkit.gramian.cluster import _work
from flowkit.gramian.geometry import Axis, Cut
from flowkit.gramian.work import MemoryTiles, Work
from flowkit.kernels import FullyConnected

KERNEL = FullyConnected(3)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(40, 3))


def gram(x, z=None, **options):
    return fk.gram(KERNEL, x, z, **({"progress": False, "tile": 8} | options))


@pytest.fixture(scope="module")
def threads():
    """A cluster of threads of this process."""
    options = dict(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def processes():
    """A cluster of processes."""
    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


def test_the_same_bits_as_without_a_client(x, tmp_path, threads):
    z = x[:11] + 1
    seen = []
    options = dict(client=threads, kind="both", progress=lambda *done: seen.append(done))
    found = gram(x, store=tmp_path / "own", **options)
    assert seen[0] == (0, 820)
    assert seen[-1] == (820, 820)
    assert len(seen) == 15 + 1
    for kind, matrix in gram(x, kind="both")._asdict().items():
        np.testing.assert_array_equal(getattr(found, kind), matrix)
    np.testing.assert_array_equal(gram(x, z, store=tmp_path / "z", client=threads), gram(x, z))


def test_a_client_goes_on_where_a_run_without_one_ended(x, tmp_path, threads):
    options = dict(progress=False, tile=8)
    first = np.asarray(fk.gram(Plain(), x[:20], store=tmp_path, **options))
    found = np.asarray(fk.gram(Plain(), x, store=tmp_path, client=threads, **options))
    np.testing.assert_array_equal(found[:20, :20], first)
    np.testing.assert_array_equal(found, fk.gram(Plain(), x, **options))


def test_what_fails_on_a_worker_fails_here(x, tmp_path, threads):
    x[:, 0] = np.where(np.arange(len(x)) == 30, -1, 1)
    with pytest.raises(ValueError, match=r"its ntk of row .* and column 30 is nan"):
        fk.gram(Root(), x, store=tmp_path, client=threads, progress=False, tile=8)


@pytest.mark.parametrize("x64_of_worker", [False, True])
def test_a_worker_keeps_every_bit_of_a_kernel_whatever_its_mode(x, x64_of_worker):
    kernel, side = fk.kernels.Convolutional(3, bias_variance=0.1), Axis(8, (40,))
    cut = Cut(side, side, symmetric=True)
    work = Work(kernel, ("ntk",), x, None, cut, MemoryTiles(cut, ("ntk",), x.dtype), x64=True)
    _work.cache_clear()
    with jax.enable_x64(x64_of_worker):
        single, double = (_work(dumps(work), x64).kernel for x64 in (False, True))
    assert bool(eqx.tree_equal(double, kernel))
    assert single.layers.bias_variance.dtype == np.float32


def test_a_client_needs_a_store(x, threads):
    with pytest.raises(ValueError, match="`store` must be given with `client`"):
        gram(x, client=threads)


@pytest.mark.slow
def test_the_death_of_a_worker_is_survived(tmp_path, processes):
    x = np.random.default_rng(0).normal(size=(400, 3))
    pids, seen = processes.run(os.getpid), []

    def kill_one(done, total):
        seen.append(done)
        if len(seen) == 100:
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    found = gram(x, store=tmp_path / "survived", client=processes, progress=kill_one)
    assert seen[-1] == 400 * 401 // 2
    deadline = time.monotonic() + 20
    while set(processes.run(os.getpid).values()) == set(pids.values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert open_gram(tmp_path / "survived").complete == 400
    np.testing.assert_array_equal(found, gram(x, store=tmp_path / "alone"))
