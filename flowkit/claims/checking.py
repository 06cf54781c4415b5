"""Checking claims one after another, or those of the catalogue in several processes at once."""

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import jax

from flowkit.claim import Claim, Verdict
from flowkit.claims.catalogue import all_claims
from flowkit.report import Entry


def check_in_turn(claims: Sequence[Claim]) -> Iterator[Entry]:
    """Check claims in this process, in their order; one that breaks has failed."""
    for claim in claims:
        yield _check(claim)


def check_in_processes(claims: Sequence[Claim], *, quick: bool, jobs: int) -> Iterator[Entry]:
    """Check claims of the catalogue in new processes, which is twice as fast on two cores.

    Much of a check is compilation, which uses one core. A claim does not travel: each process
    makes its own catalogue and is told a name. Start it from a module that does nothing when it is
    imported, as every process imports the main module.

    Args:
        claims: Claims of the catalogue.
        quick: Of which catalogue.
        jobs: The number of processes.

    Yields:
        What was checked, as it comes; a claim whose process dies has failed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_use_float64) as pool:
        futures = {pool.submit(_check_by_name, claim.name, quick): claim for claim in claims}
        try:
            for future in as_completed(futures):
                yield _entry(futures[future], future)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _entry(claim: Claim, future: Future) -> Entry:
    try:
        return Entry(claim, *future.result())
    except BrokenProcessPool as error:
        return Entry(claim, _broken(error), 0.0, traceback.format_exc())


def _use_float64() -> None:
    jax.config.update("jax_enable_x64", val=True)


@cache
def _catalogue(*, quick: bool) -> dict[str, Claim]:
    return {claim.name: claim for claim in all_claims(quick=quick)}


def _check_by_name(name: str, quick: bool) -> tuple[Verdict, float, str]:  # noqa: FBT001
    entry = _check(_catalogue(quick=quick)[name])
    return entry.verdict, entry.seconds, entry.traceback


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
