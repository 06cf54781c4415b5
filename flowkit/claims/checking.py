"""Checking claims one after another, or those of the catalogue in several processes at once."""

import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import jax

from flowkit.claim import Claim, Verdict
from flowkit.claims.catalogue import all_claims, themes
from flowkit.report import Entry

# Measured with jaxlib 0.10 on two cores: a solve compiles in 1.0 s of CPU time instead of 1.9, and
# the catalogue takes 2 min 19 s instead of 3 min 5 s.
# Level 0 without fusion emitters is quicker, and wrong: slopes of kernels at nearly equal inputs
# are off by 1e-1 (tests/kernels/test_angles.py).
QUICK_COMPILATION = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"


def check_in_turn(claims: Sequence[Claim]) -> Iterator[Entry]:
    """Check claims in this process, in their order; one that breaks has failed."""
    for claim in claims:
        yield _check(claim)


def check_in_processes(claims: Sequence[Claim], *, quick: bool, jobs: int) -> Iterator[Entry]:
    """Check claims of the catalogue in new processes, a theme at a time.

    Much of a check is tracing and compilation, which use one core. A claim does not travel: each
    process makes its own catalogue and is told names. Start it from a module that does nothing
    when it is imported, as every process imports the main module.

    Args:
        claims: Claims of the catalogue.
        quick: Of which catalogue.
        jobs: The number of processes.

    Yields:
        What was checked, as it comes; the claims of a theme whose process dies have failed.
    """
    asked = {claim.name: claim for claim in claims}
    groups = [[claim.name for claim in theme] for theme in themes(quick=quick)]
    groups = [[name for name in group if name in asked] for group in groups]
    context = multiprocessing.get_context("spawn")
    with (
        _compiling_quickly(),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_use_float64) as pool,
    ):
        futures = {pool.submit(_check_names, group, quick): group for group in groups if group}
        try:
            for future in as_completed(futures):
                names = futures[future]
                yield from _entries([asked[name] for name in names], future)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _entries(claims: Sequence[Claim], future: Future) -> list[Entry]:
    try:
        return [Entry(claim, *found) for claim, found in zip(claims, future.result(), strict=True)]
    except BrokenProcessPool as error:
        verdict, broke_at = _broken(error), traceback.format_exc()
        return [Entry(claim, verdict, 0.0, broke_at) for claim in claims]


@contextmanager
def _compiling_quickly() -> Iterator[None]:
    """Have processes that are started here compile quickly, unless the environment says how."""
    before = os.environ.get("XLA_FLAGS")
    if before is None:
        os.environ["XLA_FLAGS"] = _known_flags()
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]


def _known_flags() -> str:
    """The flags, or none where this version of XLA does not know them: a process would abort."""
    environment = os.environ | {"XLA_FLAGS": QUICK_COMPILATION, "JAX_PLATFORMS": "cpu"}
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(trial, env=environment, capture_output=True, check=False)
    return QUICK_COMPILATION if known.returncode == 0 else ""


def _use_float64() -> None:
    jax.config.update("jax_enable_x64", val=True)


def _check_names(names: Sequence[str], quick: bool) -> list[tuple[Verdict, float, str]]:  # noqa: FBT001
    """What a process sends back: all of an entry but its claim."""
    claims = {claim.name: claim for claim in all_claims(quick=quick)}
    entries = [_check(claims[name]) for name in names]
    return [(entry.verdict, entry.seconds, entry.traceback) for entry in entries]


def _check(claim: Claim) -> Entry:
    """Run one check; one that breaks has failed, and the others go on."""
    start, broke_at = time.perf_counter(), ""
    try:
        verdict = claim.check()
    except Exception as error:
        verdict, broke_at = _broken(error), traceback.format_exc()
    return Entry(claim, verdict, time.perf_counter() - start, broke_at)


def _broken(error: Exception) -> Verdict:
    measured = f"{type(error).__name__}: {error}"
    return Verdict(passed=False, kind="measured", measured=measured, expected="no error")
