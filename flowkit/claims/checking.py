"""Checking claims one after another, or those of the catalogue in several processes at once."""

import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import jax

from flowkit.claim import Claim, Verdict
from flowkit.claims.catalogue import all_claims, themes
from flowkit.claims.compilation import compiling_quickly
from flowkit.report import Entry


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
        compiling_quickly(),
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
