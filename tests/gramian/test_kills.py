"""A run that is killed again and again ends in the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowkit.gramian import open_gram
from flowkit.kernels import FullyConnected

POINTS, TILE, KILLS = 240, 12, 20  # 210 tiles of some 20 milliseconds each
LONGEST = 0.15  # seconds from the first new tile to the kill

# Starting Python and importing JAX would take most of the time: one process does that, and forks,
# before JAX has any thread, a child for each line that it reads. There a new file takes 10 ms to
# come into its place, as on a slow file system: many kills come in the middle of a write.
LAUNCHER = f"""
import os, sys, time, warnings
from pathlib import Path
import numpy as np
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import flowkit as fk

warnings.simplefilter("ignore")
replace = Path.replace
Path.replace = lambda path, target: time.sleep(0.01) or replace(path, target)
x = np.random.default_rng(0).normal(size=({POINTS}, 4))
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        fk.gram(fk.kernels.FullyConnected(3), x, store=line.strip(), tile={TILE}, progress=False)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


@pytest.fixture
def launcher(tmp_path):
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path / "programs")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.close()


def started(launcher, store: Path) -> int:
    launcher.stdin.write(f"{store}\n")
    launcher.stdin.flush()
    return int(launcher.stdout.readline())


def status(launcher) -> int:
    return int(launcher.stdout.readline())


def tiles(store: Path) -> int:
    return sum(path.suffix == "" for path in store.glob("ntk/c/*/*"))


def unfinished(store: Path) -> int:
    return sum(1 for _ in store.glob("ntk/c/*/*.partial"))


@pytest.mark.slow
def test_twenty_kills_leave_the_same_bits(tmp_path, launcher):
    store, rng = tmp_path / "killed", np.random.default_rng(0)
    counts, in_a_write = [0], 0
    for _ in range(KILLS):
        child = started(launcher, store)
        while tiles(store) == counts[-1]:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        assert status(launcher) == signal.SIGKILL
        counts.append(tiles(store))
        in_a_write += unfinished(store) > 0  # the next run writes over it
    assert counts == sorted(set(counts))  # every run went on
    assert in_a_write > 0

    started(launcher, store)
    assert status(launcher) == 0
    started(launcher, tmp_path / "whole")
    assert status(launcher) == 0
    found, whole = (open_gram(path) for path in (store, tmp_path / "whole"))
    assert found.complete == whole.complete == POINTS
    np.testing.assert_array_equal(found, whole)
    assert tiles(store) == tiles(tmp_path / "whole") == 20 * 21 // 2
    x = np.random.default_rng(0).normal(size=(POINTS, 4))
    assert np.abs(np.asarray(whole) - FullyConnected(3).gram(x)).max() < 1e-12
