"""Claims are checked in several processes as they are in one."""

import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from flowkit.claims import all_claims, checking, compilation
from flowkit.claims.verification import verify

PROOFS = ["derivation: factor-flow", "balancedness", "end-to-end flow, proof"]


def test_processes_find_what_one_finds():
    alone, together = verify(PROOFS), verify(PROOFS, jobs=2)
    assert together.passed
    for one, other in zip(alone.entries, together.entries, strict=True):
        assert one.claim.name == other.claim.name
        assert one.verdict == other.verdict


def test_a_process_that_dies_fails_its_claims():
    future = Future()
    future.set_exception(BrokenProcessPool("killed"))
    (entry,) = checking._entries(all_claims()[:1], future)
    assert not entry.verdict.passed
    assert "BrokenProcessPool: killed" in entry.verdict.measured


def test_new_processes_compile_quickly(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with compilation.compiling_quickly():
        assert os.environ["XLA_FLAGS"] == compilation.QUICK_COMPILATION
    assert "XLA_FLAGS" not in os.environ


def test_a_compiler_that_refuses_an_option_is_not_given_it(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(compilation, "QUICK_COMPILATION", "--xla_option_of_another_version=1")
    with compilation.compiling_quickly():
        assert os.environ["XLA_FLAGS"] == ""


def test_the_environment_decides_how_processes_compile(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    with compilation.compiling_quickly():
        assert os.environ["XLA_FLAGS"] == "--xla_dump_to="


def test_there_is_at_least_one_process():
    with pytest.raises(ValueError, match="`jobs` must be a positive integer, but it is 0"):
        verify(jobs=0)
