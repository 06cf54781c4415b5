"""A sweep is its single solves, labelled: in any batch, from any store, whatever fails."""

import itertools
from typing import final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk
from flowkit.dynamics import checkpoint, lanes, run, sweeps
from flowkit.dynamics.sweeps import sweep

TS = np.linspace(0.0, 400.0, 5)
OVER = {"scale": [1e-1, 1e-2, 1e-4], "seed": range(2)}
PROBLEM = completion()
OBSERVABLES = {"spectrum": fk.observables.singular_values, "test": fk.observables.nuclear_norm}
UNTIL = fk.until.train_loss(1e-4)
RTOL = 1e-6
QUICK = {"solver": dfx.Tsit5(), "progress": False, "batch": 1}
RATES = {"rate": [0.5, 1.0, 2.0]}


def make(scale, seed):
    start = fk.initial.gaussian(PROBLEM, 3, scale, key=jax.random.key(seed))
    return fk.FactorFlow(PROBLEM), start


def solve(batch, **options):
    given = {"observables": OBSERVABLES, "until": UNTIL, "progress": False} | options
    return sweep(make, OVER, TS, batch=batch, **given)


@pytest.fixture(scope="module")
def looped():
    return solve(1)


@pytest.fixture(scope="module")
def batched():
    return solve(2)


def test_every_point_is_its_own_solve(looped):
    for scale, seed in itertools.product(*OVER.values()):
        field, start = make(scale, seed)
        alone = fk.integrate(field, start, TS, observables=OBSERVABLES, until=UNTIL)
        here, count = looped.sel(scale=scale, seed=seed), len(alone.ts)
        assert here.final_time == alone.final_time
        assert here.num_accepted_steps == alone.stats["num_accepted_steps"]
        assert here.num_evaluations == alone.stats["num_evaluations"]
        assert here.reason == alone.result.reason
        assert here.successful
        assert here.final_loss == pytest.approx(float(field.loss(alone.final)), rel=1e-12)
        for name, values in alone.observables.items():
            np.testing.assert_allclose(here[name][:count], values, rtol=1e-12)
            assert here[name][count:].isnull().all()
        spectrum = fk.observables.singular_values(alone.final)
        np.testing.assert_allclose(here.final_spectrum, spectrum, rtol=1e-12)


def test_the_dataset_says_what_its_axes_are(looped):
    assert looped.spectrum.dims == ("scale", "seed", "time", "spectrum:axis_0")
    assert looped.final_spectrum.dims == ("scale", "seed", "spectrum:axis_0")
    assert looped.scale.values.tolist() == OVER["scale"]
    assert looped.time.values.tolist() == TS.tolist()
    assert looped.attrs["solver"] == "Tsit5 or RKC2"
    assert looped.attrs["wasted_lane_steps"] == 0


def test_batches_agree_with_single_solves(looped, batched):
    assert (looped.successful & batched.successful).all()
    for name in ("final_time", "final_loss", "final_test", "test", "final_spectrum"):
        a, b = looped[name].values, batched[name].values
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        assert np.nanmax(np.abs(a - b)) < RTOL * np.nanmax(np.abs(a))
    np.testing.assert_allclose(looped.num_accepted_steps, batched.num_accepted_steps, rtol=0.02)


def test_solves_that_have_ended_make_room(batched):
    steps = batched.num_accepted_steps.values.reshape(-1, 2)
    assert steps.max() > 5 * steps.min()
    of_fixed_pairs = 2 * steps.max(axis=1).sum() - steps.sum()
    assert 0 < batched.attrs["wasted_lane_steps"] < 0.5 * of_fixed_pairs


def test_one_slow_lane_does_not_hold_the_others():
    over = {"rate": [2.0**-k for k in range(7)] + [300.0]}
    slow = sweep(decay, over, [0.0, 20.0], batch=8, solver=dfx.Tsit5(), progress=False)
    steps = slow.num_accepted_steps.values
    total, wasted = slow.attrs["lane_steps"], slow.attrs["wasted_lane_steps"]
    assert steps.max() > 20 * np.sort(steps)[-2]
    assert total - wasted >= steps.sum()
    assert wasted < 8 * 40
    assert wasted < 0.1 * (8 * steps.max() - steps.sum())


@final
class Power(eqx.Module):
    """rate/k |y|^k, whose flow decays, and blows up in finite time where rate < 0 < k - 2."""

    rate: jax.Array
    power: int = eqx.field(static=True)

    def __call__(self, y):
        return self.rate / self.power * jnp.sum(y**self.power)


def decay(rate, power=2, size=1):
    return fk.ModelFlow(Power(jnp.asarray(rate, float), power)), np.linspace(1.0, 2.0, size)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_point_that_fails_is_a_value(batch):
    flow = lambda rate: decay(rate, power=4)
    over = {"rate": [1.0, -1.0, 1e200]}
    failing = sweep(flow, over, [0.0, 0.1, 1.0], **QUICK | {"batch": batch})
    assert failing.successful.values.tolist() == [True, False, False]
    assert "step size" in str(failing.reason.values[1])
    assert failing.final_time.values[1] == pytest.approx(0.5, abs=1e-5)  # y^-2 = 1 - 2t


def test_sizes_may_differ_between_points():
    norms = {"y": lambda y: y, "parts": lambda y: {"sum": jnp.sum(y), "many": y > 1}}
    flow = lambda size: decay(1.0, size=size)
    padded = sweep(flow, {"size": [1, 3]}, [0.0, 1.0], observables=norms, **QUICK)
    assert padded.y.dims == ("size", "time", "y:axis_0")
    expected = np.full((2, 2, 3), np.nan)
    expected[0, :, :1], expected[1] = np.array([[1], [np.exp(-1)]]), np.nan
    for i, size in enumerate([1, 3]):
        start = np.linspace(1.0, 2.0, size)
        expected[i, :, :size] = start * np.exp(-np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(padded.y, expected, rtol=1e-5)
    np.testing.assert_allclose(padded["parts.sum"], np.nansum(expected, axis=-1), rtol=1e-5)
    assert padded["final_parts.many"].dims == ("size", "parts.many:axis_0")


def test_observables_and_values_follow_the_point():
    seen = []

    def flow(rate, name):
        seen.append((rate, name))
        return decay(float(rate))

    away = lambda rate, name: {"scaled": lambda y: rate * y[0]}
    over = {"rate": np.array([1, 2]), "name": ["a", "b"]}
    labelled = sweep(flow, over, [0.0, 1.0], observables=away, **QUICK)
    assert seen == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert all(type(rate) is int for rate, _ in seen)
    expected = [np.exp(-1.0), 2 * np.exp(-2.0)]
    np.testing.assert_allclose(labelled.final_scaled.sel(name="b"), expected, rtol=1e-5)


class Killed(Exception):
    """Stands for a process that ends without a word."""


def stop_at(monkeypatch, where, name, calls, exception):
    """Let a function raise from some call on; the list that is returned counts its calls."""
    function, seen = getattr(where, name), []

    def stopping(*arguments):
        seen.append(1)
        if len(seen) > calls:
            raise exception
        return function(*arguments)

    monkeypatch.setattr(where, name, stopping)
    return seen


def assert_same(a, b):
    assert a.drop_vars("reason").identical(b.drop_vars("reason"))
    assert a.reason.values.tolist() == b.reason.values.tolist()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_killed_sweep_goes_on_where_it_was(monkeypatch, tmp_path, batch):
    options = QUICK | {"observables": {"y": lambda y: y}, "batch": batch}
    whole = sweep(decay, RATES, TS[:2], **options)
    with monkeypatch.context() as patched:
        stop_at(patched, sweeps, "outcome_of", 2, Killed())
        with pytest.raises(Killed):
            sweep(decay, RATES, TS[:2], store=tmp_path, **options)
    begun = stop_at(monkeypatch, sweeps, "_begin", 99, Killed())
    resumed = sweep(decay, RATES, TS[:2], store=tmp_path, **options)
    assert len(begun) == 1
    resumed.attrs |= {n: whole.attrs[n] for n in ("lane_steps", "wasted_lane_steps")}
    assert_same(resumed, whole)
    sweep(decay, {"rate": [1.0, 3.0]}, TS[:2], store=tmp_path, **options)
    assert len(begun) == 2  # a larger or smaller grid takes from the store what it holds


def test_a_long_solve_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
    steps = sweep(decay, {"rate": [300.0]}, [0.0, 20.0], **QUICK).attrs["lane_steps"]
    with monkeypatch.context() as patched:
        stop_at(patched, run.Run, "_advance", 3, Killed())
        with pytest.raises(Killed):
            sweep(decay, {"rate": [300.0]}, [0.0, 20.0], store=tmp_path, **QUICK)
    assert len(list(tmp_path.glob("run-*"))) == 1
    resumed = sweep(decay, {"rate": [300.0]}, [0.0, 20.0], store=tmp_path, **QUICK)
    assert 0 < resumed.attrs["lane_steps"] <= steps - 3 * run.FIRST_ALLOWANCE
    assert resumed.num_accepted_steps.values[0] > resumed.attrs["lane_steps"]
    assert not list(tmp_path.glob("run-*"))


@pytest.mark.parametrize(
    ("change", "name"),
    [({"power": 3}, "field"), ({"sign": -1}, "until")],
    ids=["a static part of the field", "what the condition watches"],
)
def test_a_killed_point_is_not_taken_for_another(monkeypatch, tmp_path, change, name):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", -1.0)
    until = fk.until.observable("y", 0.1)

    def solve(power=2, sign=1):
        watched = {"y": lambda y: sign * y[0]}
        options = QUICK | {"observables": watched, "until": until, "store": tmp_path}
        return sweep(lambda rate: decay(rate, power), {"rate": [300.0]}, [0.0, 20.0], **options)

    with monkeypatch.context() as patched:
        stop_at(patched, run.Run, "_advance", 0, KeyboardInterrupt())
        assert not solve().successful.values[0]
    with pytest.raises(ValueError, match=f"`store` must .* another `{name}`"):
        solve(**change)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rtol": 1e-5}, "rtol"),
        ({"ts": [0.0, 2.0]}, "ts"),
        ({"solver": dfx.Dopri8()}, "solver"),
        ({"until": fk.until.train_loss(1e-3)}, "until"),
        ({"over": RATES | {"power": [2]}}, "over"),
        ({"make": lambda rate: decay(2 * rate)}, "field"),
        ({"make": lambda rate: decay(rate, power=3)}, "field"),
        ({"make": lambda rate: (decay(rate)[0], np.ones(1) * 3)}, "y0"),
        ({"observables": {"y": lambda y: 3 * y}}, "observables"),
    ],
)
def test_the_store_of_another_sweep_is_refused(tmp_path_factory, first_store, change, name):
    given = dict(first_store) | change
    with pytest.raises(ValueError, match=f"another `{name}`"):
        sweep(**given)


@pytest.fixture(scope="module")
def first_store(tmp_path_factory):
    given = {"make": decay, "over": RATES, "ts": [0.0, 1.0], "observables": {"y": lambda y: 2 * y}}
    given |= QUICK | {"store": tmp_path_factory.mktemp("store")}
    sweep(**given)
    return given


@pytest.mark.parametrize("batch", [1, 2])
def test_an_interrupt_keeps_what_is_done(monkeypatch, tmp_path, batch):
    options = QUICK | {"batch": batch, "store": tmp_path, "observables": {"y": lambda y: y}}
    over = {"rate": [1.0, 300.0, 2.0, 3.0]}
    with monkeypatch.context() as patched:
        where, name = (run.Run, "_advance") if batch == 1 else (lanes, "_advance_together")
        stop_at(patched, where, name, 2, KeyboardInterrupt())
        part = sweep(decay, over, [0.0, 5.0, 10.0], **options)
    reasons = part.reason.values.tolist()
    assert reasons[0] == "reached the last time"
    assert reasons[1].startswith("interrupted at t = ")
    assert reasons[3] == "not run"
    assert part.successful.values.tolist()[0:2] == [True, False]
    assert part.y.isnull().all(["time", "y:axis_0"]).values.tolist()[3]
    whole = sweep(decay, over, [0.0, 5.0, 10.0], **options)
    assert whole.successful.all()


def test_the_point_of_an_exception_is_named():
    def flow(rate):
        return decay(1 / rate)

    with pytest.raises(ZeroDivisionError) as caught:
        sweep(flow, {"rate": [1, 0]}, [0.0, 1.0], **QUICK)
    assert "rate=0" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": {}}, "`over` must map"),
        ({"over": {"learning rate": [1.0]}}, "'learning rate'"),
        ({"over": {"rate": []}}, "for `rate`"),
        ({"over": {"rate": [1.0, 1.0]}}, "distinct"),
        ({"over": {"rate": [1.0, "b"]}}, "distinct"),
        ({"over": {"rate": [jnp.sin]}}, "distinct"),
        ({"over": {"rate": 1.0}}, "for `rate`"),
        ({"observables": {"time": lambda y: y}}, "`time` would be two"),
        ({"batch": 0}, "`batch` must"),
        ({"until": "loss"}, "`until` must be a condition"),
        ({"max_steps": 0}, "`max_steps` must be a positive integer"),
        ({"make": lambda rate: decay(rate)[0]}, "`make` must return"),
    ],
)
def test_unusable_arguments_are_refused(as_a_user, change, message):
    with pytest.raises(ValueError, match=message):
        sweep(**{"make": decay, "over": RATES, "ts": [0.0, 1.0]} | QUICK | change)
