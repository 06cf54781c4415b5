"""A run may pause, save, stop and resume between any two steps, and nothing changes."""

import functools
import os
import signal
import subprocess
import sys
import time

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk
from flowkit.dynamics import checkpoint, run
from flowkit.observables import recording

TS = np.linspace(0.0, 4e3, 9)


class Killed(Exception):
    """Stands for a process that ends without a word."""


@pytest.fixture
def solve(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 3, 1e-2, key=key)

    def solve(ts=TS, **options):
        return fk.integrate(fk.FactorFlow(problem), factors, ts, **options)

    return solve


@pytest.fixture
def one_step_at_a_time(monkeypatch):
    monkeypatch.setattr(run, "FIRST_ALLOWANCE", 1)
    monkeypatch.setattr(run, "SHORT_PAUSE", 0.0)
    monkeypatch.setattr(run, "LONG_PAUSE", np.inf)
    monkeypatch.setattr(run.Run, "_allowance", 1)


def stop_after(monkeypatch, stretches, exception):
    advance, calls = run.Run._advance, []

    def advance_or_stop(self):
        calls.append(1)
        if len(calls) > stretches:
            raise exception
        return advance(self)

    monkeypatch.setattr(run.Run, "_advance", advance_or_stop)


def assert_identical(a, b):
    assert a.result == b.result
    assert a.stats == b.stats
    assert a.final_time == b.final_time
    for left, right in zip(
        jax.tree.leaves((a.states, a.final)), jax.tree.leaves((b.states, b.final)), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("until", [None, fk.until.train_loss(1e-3)])
def test_stretches_of_any_length_join_bit_for_bit(solve, until, request):
    whole = solve(until=until)
    assert len(whole.stats["phases"]) > 1, "the test should pass through a change of solver"
    request.getfixturevalue("one_step_at_a_time")
    assert_identical(solve(until=until), whole)


def test_a_stretch_is_compiled_once_for_each_solver(solve, monkeypatch, one_step_at_a_time):
    """What a stretch returns is of the very types of what it was given, weak ones included."""
    advance, seen = run.advance, {}

    def noted(field, solver, *arguments):
        types = jax.tree.map(jax.typeof, eqx.filter(arguments, eqx.is_array))
        seen.setdefault(type(solver.solver).__name__, []).append(types)
        return advance(field, solver, *arguments)

    monkeypatch.setattr(run, "advance", noted)
    solve(until=fk.until.train_loss(1e-3))
    assert len(seen) == 2
    for first, *others in seen.values():
        assert len(others) > 2
        assert all(eqx.tree_equal(first, other) for other in others)


def test_a_device_holds_no_more_saves_than_a_window(solve, monkeypatch):
    """Windows of two saves change where steps end, not what is saved, to the tolerance."""
    whole = solve(rtol=1e-9)
    monkeypatch.setattr(run, "WINDOW_BYTES", 2 * 8 * sum(W.size for W in whole.final))
    windows = []
    monkeypatch.setattr(
        run.Run,
        "_window",
        lambda self, start, real=run.Run._window: windows.append(real(self, start)) or windows[-1],
    )
    small = solve(rtol=1e-9)
    assert {len(window) for window, _ in windows} == {2}
    np.testing.assert_array_equal(small.ts, TS)
    assert fk.compare(small, whole).relative < 1e-6


@functools.cache
def quartic_flow(scale):
    return fk.ModelFlow(lambda y: jnp.sum(scale * y**4))


def quartic(scale=1.0, **options):
    options = {"solver": dfx.Tsit5(), "rtol": 1e-8} | options
    return fk.integrate(quartic_flow(scale), np.array([1.0, 2.0]), TS[:8] / 1e3, **options)


@pytest.fixture
def windows_of_three(monkeypatch):
    monkeypatch.setattr(run, "WINDOW_BYTES", 3 * 2 * 8)


def test_windows_end_at_the_same_saves_whatever_the_pace(request, windows_of_three):
    """The end of a window cuts a step short: were it elsewhere, all later steps would differ."""
    whole = quartic()
    assert len(whole.ts) == 8
    request.getfixturevalue("one_step_at_a_time")
    assert_identical(quartic(), whole)


def test_a_run_of_many_windows_resumes_bit_for_bit(monkeypatch, tmp_path, windows_of_three):
    whole = quartic()
    with monkeypatch.context() as stopping:
        stopping.setattr(run.Run, "_allowance", 1)
        stopping.setattr(run, "SHORT_PAUSE", 0.0)
        stop_after(stopping, 19, KeyboardInterrupt())
        part = quartic(checkpoint=tmp_path)
    assert len(part.ts) % 3, "the test should stop within a window"
    assert_identical(quartic(checkpoint=tmp_path), whole)


def test_what_is_saved_lies_on_the_host_and_is_looked_at_in_windows(solve, monkeypatch):
    sizes = {"spectrum": fk.observables.singular_values, "balance": fk.observables.balance}
    whole = solve(observables=sizes)
    assert all(isinstance(leaf, np.ndarray) for leaf in whole.states)
    monkeypatch.setattr(recording, "WINDOW_BYTES", 2 * 8 * sum(W.size for W in whole.final))
    windows, fill = [], recording._fill

    def noted(observables, window, recorded, start, stop):
        windows.append(len(window[0]))
        return fill(observables, window, recorded, start, stop)

    monkeypatch.setattr(recording, "_fill", noted)
    parts = solve(observables=sizes)
    assert set(windows) == {1, 2}
    leaves = (jax.tree.leaves(solved.observables) for solved in (parts, whole))
    for part, every in zip(*leaves, strict=True):
        np.testing.assert_allclose(part, every, rtol=1e-12, atol=1e-12)


def test_an_interrupt_leaves_what_was_right_so_far(solve, monkeypatch, one_step_at_a_time):
    whole = solve()
    stop_after(monkeypatch, 40, KeyboardInterrupt())
    partial = solve()
    assert not partial.result.successful
    assert partial.result.reason.startswith("interrupted at t = ")
    assert 0 < partial.final_time < whole.final_time
    assert 0 < partial.ts.size < whole.ts.size
    for some, every in zip(partial.states, whole.states, strict=True):
        np.testing.assert_array_equal(some, every[: partial.ts.size])
    with pytest.raises(ValueError, match="must be a successful trajectory"):
        fk.compare(partial, whole)


@pytest.mark.parametrize("calls", [0, 2])
def test_an_interrupt_while_observables_are_recorded_loses_nothing(solve, monkeypatch, calls):
    """Neither a state, nor a row that was recorded; integers become floats beside NaN."""
    seen = {"norm": fk.observables.nuclear_norm, "count": lambda y: {"sizes": jnp.array([len(y)])}}
    whole = solve(observables=seen)
    assert whole.observables["count"]["sizes"].tolist() == [[3]] * TS.size
    rows, fill = [], recording._fill

    def fill_or_stop(observables, window, recorded, start, stop):
        if len(rows) == calls:
            raise KeyboardInterrupt
        rows.append(stop - start)
        return fill(observables, window, recorded, start, stop)

    monkeypatch.setattr(recording, "_fill", fill_or_stop)
    partial = solve(observables=seen)
    done = int(sum(rows))
    assert done < TS.size
    assert not partial.result.successful
    assert partial.result.reason.endswith(f"recorded, {done} of {TS.size} times")
    np.testing.assert_array_equal(partial.ts, whole.ts)
    for some, every in zip(partial.states, whole.states, strict=True):
        np.testing.assert_array_equal(some, every)
    pairs = zip(*(jax.tree.leaves(t.observables) for t in (partial, whole)), strict=True)
    for some, every in pairs:
        assert some.shape == every.shape
        np.testing.assert_array_equal(some[:done], every[:done])
        assert np.isnan(some[done:]).all()


def test_an_interrupt_before_the_first_step_leaves_the_start(solve, monkeypatch):
    stop_after(monkeypatch, 0, KeyboardInterrupt())
    partial = solve()
    np.testing.assert_array_equal(partial.ts, TS[:1])


@pytest.mark.parametrize("stretches", [3, 60])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, Killed])
def test_a_stopped_run_resumes_bit_for_bit(
    solve, monkeypatch, tmp_path, one_step_at_a_time, stretches, exception
):
    whole = solve()
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    with monkeypatch.context() as stopping:
        stop_after(stopping, stretches, exception())
        if exception is Killed:
            with pytest.raises(Killed):
                solve(checkpoint=tmp_path / "run")
        else:
            solve(checkpoint=tmp_path / "run")
    taken, advance = [], run.Run._advance
    monkeypatch.setattr(run.Run, "_advance", lambda self: taken.append(1) or advance(self))
    assert_identical(solve(checkpoint=tmp_path / "run"), whole)
    assert len(taken) <= whole.stats["num_steps"] - stretches + len(whole.stats["phases"])


def test_a_finished_run_is_read_and_not_run_again(solve, monkeypatch, tmp_path):
    whole = solve(checkpoint=tmp_path)
    stop_after(monkeypatch, 0, Killed())
    assert_identical(solve(checkpoint=tmp_path), whole)


@pytest.mark.parametrize(
    ("options", "name"), [({"rtol": 1e-5}, "rtol"), ({"ts": [0.0, 1.0]}, "ts")]
)
def test_another_run_is_not_taken_for_this_one(solve, tmp_path, options, name):
    solve([0.0, 2.0], checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"another `{name}`"):
        solve(**({"ts": [0.0, 2.0]} | options), checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("change", "name"), [({"scale": 3.0}, "field"), ({"solver": dfx.Dopri5()}, "solver")]
)
def test_a_finished_run_is_not_returned_for_another(tmp_path, change, name):
    quartic(checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"another `{name}`"):
        quartic(**change, checkpoint=tmp_path)


def test_a_run_that_gave_up_goes_on_under_a_larger_limit(solve, tmp_path):
    whole = solve()
    first, *_ = whole.stats["phases"]
    few = first["num_accepted_steps"] + first["num_rejected_steps"]  # the solver is to change here
    for _ in range(2):
        partial = solve(max_steps=few, checkpoint=tmp_path)
        assert partial.result.reason == f"took `max_steps` = {few} steps"
        assert partial.stats["num_steps"] == few
    with pytest.raises(ValueError, match=f"`max_steps` must be at least {few}"):
        solve(max_steps=few - 1, checkpoint=tmp_path)
    assert_identical(solve(max_steps=10**6, checkpoint=tmp_path), whole)
    assert_identical(solve(checkpoint=tmp_path), whole)


def test_a_stopped_run_gives_up_where_it_stands(monkeypatch, tmp_path, one_step_at_a_time):
    with monkeypatch.context() as stopping:
        stop_after(stopping, 4, KeyboardInterrupt())
        stopped = quartic(checkpoint=tmp_path)
    limit = stopped.stats["num_steps"]
    assert_identical(quartic(max_steps=limit, checkpoint=tmp_path), quartic(max_steps=limit))


def test_dense_output_is_not_kept_in_a_checkpoint(solve, tmp_path):
    with pytest.raises(ValueError, match="`dense` must be False"):
        solve(dense=True, checkpoint=tmp_path)


SCRIPT = """
import sys, jax
jax.config.update("jax_enable_x64", True)
import numpy as np, flowkit as fk
from flowkit.dynamics import checkpoint
checkpoint.SECONDS_BETWEEN = 0.0
target = np.diag([3.0, 2.0, 1.0])
problem = fk.MatrixCompletion.from_matrix(target, observed=1.0, key=jax.random.key(0))
ts = np.linspace(0.0, 1e6, 20001)
start = (1e-3 * np.eye(3), 1e-3 * np.eye(3))
folder = sys.argv[1] if len(sys.argv) > 1 else None
trajectory = fk.integrate(fk.FactorFlow(problem), start, ts, checkpoint=folder, rtol=1e-11)
print(repr(np.asarray(trajectory.states[0]).sum()), trajectory.stats["num_accepted_steps"])
"""


@pytest.mark.slow
def test_a_process_that_is_killed_resumes_bit_for_bit(tmp_path):
    command = [sys.executable, "-c", SCRIPT]
    whole = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    process = subprocess.Popen([*command, str(tmp_path / "run")])
    while not (tmp_path / "run" / "run.npz").exists():
        time.sleep(0.01)
        assert process.poll() is None, "the process ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = subprocess.run(
        [*command, str(tmp_path / "run")], capture_output=True, text=True, check=True
    ).stdout
    assert resumed == whole
