"""Parts of a study are kept, and computed again only where something they depend on changed."""

import json
import os
import signal
import subprocess
import sys

import jax
import pytest
from rich.progress import Progress as Bar

from flowkit.studies.work import PARTS, Work

CASES = [{"depth": 2, "scale": 0.1}, {"depth": 3, "scale": 0.1}, {"depth": 3, "scale": 1e-3}]


@pytest.fixture
def calls():
    return []


@pytest.fixture
def solve(calls):
    def product(depth, scale):
        calls.append((depth, scale))
        return {"product": depth * scale, "values": [depth, scale]}

    return product


def _work(folder):
    return Work(folder, Bar(disable=True))


def test_what_is_kept_is_not_computed_again_and_is_the_same_to_the_last_bit(tmp_path, solve, calls):
    first = _work(tmp_path).parts("flow", solve, CASES[:2], version=1)
    again = _work(tmp_path).parts("flow", solve, CASES[::-1], version=1)
    assert calls == [(2, 0.1), (3, 0.1), (3, 1e-3)]
    assert again[::-1][:2] == first
    assert first[1]["product"] == 3 * 0.1


def test_another_version_name_or_case_is_another_part(tmp_path, solve, calls):
    for name, version in (("flow", 1), ("flow", 2), ("descent", 1), ("flow", 1)):
        _work(tmp_path).parts(name, solve, CASES[:1], version=version)
    assert len(calls) == 3


def test_another_precision_is_another_part(tmp_path):
    third = lambda **case: {"third": float(jax.numpy.asarray(1.0) / 3)}
    found = {}
    for x64 in (False, True, False):
        with jax.enable_x64(x64):
            (part,) = _work(tmp_path).parts("flow", third, CASES[:1], version=1)
        found.setdefault(x64, set()).add(part["third"])
    assert found[True] == {1 / 3}
    assert found[False] != found[True]
    assert len(found[False]) == 1


def test_a_file_of_another_part_is_not_believed(tmp_path, solve, calls):
    _work(tmp_path).parts("flow", solve, CASES[:1], version=1)
    (path,) = (tmp_path / PARTS).iterdir()
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"case": CASES[1]}))
    assert _work(tmp_path).parts("flow", solve, CASES[:1], version=1)[0]["product"] == 0.2
    assert len(calls) == 2


@pytest.mark.parametrize("damage", [b"", b'{"part": ', b"\xff\xfe", b"[]", b"3", "no result"])
def test_a_damaged_file_is_computed_again(tmp_path, solve, calls, damage):
    first = _work(tmp_path).parts("flow", solve, CASES[:2], version=1)
    path = max((tmp_path / PARTS).iterdir())
    if damage == "no result":
        damage = json.dumps({**json.loads(path.read_bytes()), "result": None})
        damage = damage.replace('"result": null', '"other": 1').encode()
    path.write_bytes(damage)
    for _ in range(2):
        assert _work(tmp_path).parts("flow", solve, CASES[:2], version=1) == first
    assert len(calls) == 3


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        _work(tmp_path).parts("flow", lambda **case: {"x": float("nan")}, CASES, version=1)
    assert not list((tmp_path / PARTS).iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.progress import Progress as Bar
from flowkit.studies.work import Work

def solve(depth, scale):
    if scale < 0.1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"product": depth * scale}

cases = [{"depth": 2, "scale": 0.1}, {"depth": 3, "scale": 0.1}, {"depth": 3, "scale": 1e-3}]
Work(Path(sys.argv[1]), Bar(disable=True)).parts("flow", solve, cases, version=1)
"""


def test_after_a_kill_only_what_is_missing_is_computed(tmp_path, solve, calls):
    environment = os.environ | {"JAX_ENABLE_X64": str(jax.config.jax_enable_x64)}
    command = [sys.executable, "-c", KILLED, tmp_path]
    done = subprocess.run(command, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    found = _work(tmp_path).parts("flow", solve, CASES, version=1)
    assert [part["product"] for part in found] == [0.2, 3 * 0.1, 3e-3]
    assert calls == [(3, 1e-3)]
