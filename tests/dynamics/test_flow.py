"""Integrated trajectories are the exact ones; failures are values with reasons."""

from typing import ClassVar, final

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import Observed, completion

import flowkit as fk
from flowkit.fields import AbstractVectorField
from flowkit.observables import LossOf, effective_rank, end_to_end
from flowkit.trajectory import FLOW_TIME

TARGET = np.array([[1.0, -2.0, 0.5], [0.3, 4.0, -1.0]])


@final
class Blowup(AbstractVectorField):
    """dy/dt = y^2: infinite at t = 1 / y0."""

    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t, y, args=None):
        return y**2

    def loss(self, y):
        return y

    def check(self, y0):
        pass


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_a_single_layer_decays_exponentially(rtol):
    """Error within 10 rtol of the closed form, in units of the target."""
    system = Observed(TARGET)
    start = jnp.full(TARGET.shape, 0.1)
    trajectory = fk.integrate(fk.FactorFlow(system.problem), (start,), [0, 1, 5, 20], rtol=rtol)
    for t in (1, 5, 20):
        error = np.abs(trajectory.at(t)[0] - system.exact(start, t)).max()
        assert error < 10 * rtol * np.abs(TARGET).max()


def test_the_state_at_the_first_time_is_the_start(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    trajectory = fk.integrate(fk.FactorFlow(problem), factors, [3.0, 4.0])
    for saved, given in zip(trajectory.at(3.0), factors, strict=True):
        assert np.array_equal(saved, given)


def test_until_stops_at_the_root_of_the_train_loss(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    field, ts = fk.FactorFlow(problem), np.linspace(0, 1000, 101)
    trajectory = fk.integrate(field, factors, ts, until=fk.until.train_loss(1e-2))
    assert trajectory.result.successful
    assert trajectory.result.reason == "train loss fell to 0.01"
    assert float(field.loss(trajectory.final)) == pytest.approx(1e-2, rel=1e-9)
    assert trajectory.ts[-1] <= trajectory.final_time < 1000
    assert len(trajectory.states[0]) == len(trajectory.ts)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("speed", [1e-6, 1.0, 1e6])
def test_until_finds_its_root_at_any_speed(seed, speed):
    """However steep the loss is at the nearest time that a float can hold."""
    target = jax.random.normal(jax.random.key(seed), (4, 4))
    field = fk.KernelFlow(speed * jnp.diag(jnp.arange(1.0, 5.0)), target)
    trajectory = fk.integrate(
        field, jnp.zeros((4, 4)), [0, 1e9 / speed], until=fk.until.train_loss(1e-3)
    )
    assert trajectory.result.successful, trajectory.result.reason
    assert float(field.loss(trajectory.final)) == pytest.approx(1e-3, rel=1e-9)


def test_until_holds_from_the_start(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    trajectory = fk.integrate(
        fk.FactorFlow(problem), factors, [0, 1], until=fk.until.train_loss(1e6)
    )
    assert trajectory.final_time == 0
    assert "before the first step" in trajectory.result.reason


def test_no_event_fires_at_the_saddle_of_a_tiny_start(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 3, 1e-9, key=key)
    loss = float(problem.loss(end_to_end(factors)))
    trajectory = fk.integrate(
        fk.FactorFlow(problem), factors, [0, 1e-3], until=fk.until.train_loss(0.99 * loss)
    )
    assert trajectory.final_time == 1e-3


def test_observables_are_recorded_at_the_saved_times(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    observables = {"loss": LossOf(problem), "rank": effective_rank, "first": lambda W: W[0][0, 0]}
    trajectory = fk.integrate(fk.FactorFlow(problem), factors, [0, 1, 2], observables=observables)
    for i, t in enumerate(trajectory.ts):
        state = trajectory.at(float(t))
        assert float(trajectory.observables["loss"][i]) == pytest.approx(
            float(problem.loss(end_to_end(state)))
        )
    assert trajectory.observables["rank"].shape == trajectory.observables["first"].shape == (3,)


def test_dense_trajectories_answer_anywhere_and_others_say_why_not(key):
    system = Observed(TARGET)
    start = jnp.zeros(TARGET.shape)
    arguments = (fk.FactorFlow(system.problem), (start,), [0, 10])
    dense = fk.integrate(*arguments, dense=True, rtol=1e-9)
    np.testing.assert_allclose(dense.at(3.3)[0], system.exact(start, 3.3), atol=1e-7)
    with pytest.raises(ValueError, match=r"`t` must be a saved time, but 3\.3 is not"):
        fk.integrate(*arguments).at(3.3)
    with pytest.raises(ValueError, match=r"`t` must lie in \[0, 10\], but it is 11"):
        dense.at(11.0)


def test_a_blow_up_is_a_failure_with_a_reason():
    trajectory = fk.integrate(Blowup(), jnp.array(1.0), [0.0, 2.0])
    assert not trajectory.result.successful
    assert trajectory.result.reason
    with pytest.raises(ValueError, match="`a` must be a successful trajectory"):
        fk.compare(trajectory, trajectory)


@final
class Wall(AbstractVectorField):
    """dy/dt = 1 up to y = wall, not a number from there on."""

    wall: float
    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t, y, args=None):
        return jnp.where(y < self.wall, 1.0, jnp.nan)

    def loss(self, y):
        return y

    def check(self, y0):
        pass


def test_a_distant_horizon_does_not_coarsen_the_first_steps(key):
    """The smallest step is measured against the time at hand, not against the last one."""
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    until = fk.until.train_loss(1e-2)
    near, far = (
        fk.integrate(fk.FactorFlow(problem), factors, [0, horizon], until=until)
        for horizon in (1e3, 1e18)
    )
    assert far.result.successful
    assert far.final_time == pytest.approx(near.final_time, rel=1e-9)


@pytest.mark.parametrize("solver", [None, fk.dynamics.RKC2()])
def test_a_field_that_turns_nan_fails_instead_of_running_forever(solver):
    trajectory = fk.integrate(Wall(2.0), jnp.array(1.0), [0.0, 0.5, 9.0], solver=solver)
    assert not trajectory.result.successful
    assert "step size" in trajectory.result.reason
    assert trajectory.final_time == pytest.approx(1.0, abs=1e-6)
    assert float(trajectory.at(0.5)) == pytest.approx(1.5)


def test_a_field_that_is_nan_at_the_start_is_refused():
    with pytest.raises(ValueError, match="`y0` must be a state at which the field is finite"):
        fk.integrate(Wall(0.5), jnp.array(1.0), [0.0, 1.0])


def test_running_out_of_steps_is_a_failure_with_a_reason(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    trajectory = fk.integrate(fk.FactorFlow(problem), factors, [0, 1e4], max_steps=5)
    assert not trajectory.result.successful
    assert "`max_steps` = 5" in trajectory.result.reason


@pytest.mark.parametrize("solver", [dfx.Tsit5(), dfx.Dopri8(), dfx.Heun()])
def test_evaluations_are_counted_to_within_the_first_step(solver):
    """Against a field that counts its own calls; choosing the first step costs two or three."""
    calls = []

    @final
    class Counting(AbstractVectorField):
        clock: ClassVar[str] = FLOW_TIME

        def __call__(self, t, y, args=None):
            jax.debug.callback(lambda: calls.append(1))
            return -y

        def loss(self, y):
            return y

        def check(self, y0):
            pass

    trajectory = fk.integrate(Counting(), jnp.array(1.0), [0.0, 5.0], solver=solver, rtol=1e-5)
    jax.effects_barrier()
    assert abs(trajectory.stats["num_evaluations"] - len(calls)) <= 2


@pytest.mark.parametrize("root_finder", [None, dfx.VeryChord(rtol=1e-9, atol=1e-12)])
def test_implicit_solvers_take_the_tolerances_of_the_steps_or_their_own(root_finder):
    """du/dt = -u at rates 1 and 1e5, over times at which an explicit method needs 1e5 steps."""
    rates = jnp.array([1.0, 1e5])
    field = fk.ModelFlow(lambda y: 0.5 * jnp.sum(rates * y**2))
    solver = dfx.Kvaerno5() if root_finder is None else dfx.Kvaerno5(root_finder=root_finder)
    trajectory = fk.integrate(field, jnp.ones(2), [0.0, 3.0], solver=solver, rtol=1e-7)
    assert trajectory.stats["num_accepted_steps"] < 200
    assert "num_evaluations" not in trajectory.stats  # the iterations of a step are not known
    np.testing.assert_allclose(trajectory.final[0], np.exp(-3.0), rtol=1e-6)


def test_progress_is_shown(key, capfd):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    fk.integrate(fk.FactorFlow(problem), factors, [0, 10], progress=True)
    assert "loss" in capfd.readouterr().out


BAD = {
    "decreasing times": ({"ts": [0.0, 2.0, 1.0]}, r"`ts\[1\]` is 2 and `ts\[2\]` is 1"),
    "equal times": ({"ts": [0.0, 0.0]}, "`ts` must be strictly increasing"),
    "one time": ({"ts": [0.0]}, "`ts` must be at least two real times"),
    "infinite time": ({"ts": [0.0, np.inf]}, "1 non-finite values"),
    "negative rtol": ({"rtol": -1.0}, "`rtol` must be a positive number, but it is -1.0"),
    "zero atol": ({"atol": 0.0}, "`atol` must be a positive number"),
    "words for times": ({"ts": ["a", "b"]}, "`ts` must be at least two real times"),
    "words for rtol": ({"rtol": "small"}, "`rtol` must be a positive number"),
    "complex state": ({"y0": (jnp.ones((5, 4), complex),)}, "`y0` must be real"),
    "words for until": ({"until": "loss"}, "`until` must be a condition of .* but it is 'loss'"),
    "no steps": ({"max_steps": 0}, "`max_steps` must be a positive integer, but it is 0"),
    "fewer than no steps": ({"max_steps": -1}, "`max_steps` must be a positive integer"),
    "half a step": ({"max_steps": 2.5}, "`max_steps` must be a positive integer"),
    "two types": (
        {"y0": (jnp.ones((1, 4), jnp.float32), jnp.ones((5, 1)))},
        "`y0` must be of one type, but its leaf 0 is float32 and its leaf 1 is float64",
    ),
    "half precision": ({"y0": (jnp.ones((5, 4), jnp.bfloat16),)}, "its leaf 0 is bfloat16"),
    "no error estimate": ({"solver": dfx.Euler()}, "`solver` must be a Diffrax solver with an"),
    "observables without names": ({"observables": [effective_rank]}, "`observables` must map"),
    "state not finite": ({"y0": (jnp.full((5, 4), jnp.nan),)}, "`y0` must be finite"),
    "state of the wrong shape": ({"y0": (jnp.ones((4, 5)),)}, "`y0` must hold factors"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(change, message):
    problem = completion((5, 4))
    arguments = {"y0": (jnp.ones((5, 4)),), "ts": [0.0, 1.0]} | change
    with pytest.raises(ValueError, match=message):
        fk.integrate(fk.FactorFlow(problem), **arguments)


@pytest.mark.usefixtures("as_a_user")
def test_a_plain_function_is_no_field():
    with pytest.raises(ValueError, match="`field` must be a flowkit field"):
        fk.integrate(lambda t, y: -y, jnp.ones(2), [0.0, 1.0])


def test_train_loss_refuses_what_no_loss_reaches():
    with pytest.raises(ValueError, match="`value` must be positive"):
        fk.until.train_loss(0.0)


def test_every_save_is_kept_in_single_precision():
    """0.7 has no exact single: the last time must not be lost to its rounding."""
    with jax.enable_x64(False):
        system = Observed(TARGET)
        start = jnp.zeros(TARGET.shape)
        trajectory = fk.integrate(fk.FactorFlow(system.problem), (start,), [0.0, 0.35, 0.7])
        np.testing.assert_array_equal(trajectory.ts, [0.0, 0.35, 0.7])
        np.testing.assert_allclose(trajectory.at(0.7)[0], system.exact(start, 0.7), atol=1e-5)


@pytest.mark.parametrize("solver", [None, fk.dynamics.RKC2()])
@pytest.mark.parametrize("begin", [0.0, 100.0])
def test_until_does_not_mind_when_the_clock_begins(begin, solver, key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    field = fk.FactorFlow(problem)
    trajectory = fk.integrate(
        field, factors, [begin, begin + 1e3], until=fk.until.train_loss(1e-2), solver=solver
    )
    assert trajectory.result.successful
    assert float(field.loss(trajectory.final)) == pytest.approx(1e-2, rel=1e-9)
    for state, last in zip(trajectory.at(trajectory.final_time), trajectory.final, strict=True):
        assert np.array_equal(state, last)


def test_any_loss_of_any_state_flows():
    """A harmonic well in a dictionary: y(t) = y(0) e^{-t}."""
    field = fk.ModelFlow(lambda y: 0.5 * jnp.sum(y["a"] ** 2))
    trajectory = fk.integrate(field, {"a": jnp.ones(3)}, [0.0, 1.0, 2.0], rtol=1e-9)
    np.testing.assert_allclose(trajectory.at(2.0)["a"], np.exp(-2.0), rtol=1e-8)
    with pytest.raises(ValueError, match="`loss` must return one number"):
        fk.integrate(fk.ModelFlow(lambda y: y), jnp.ones(2), [0.0, 1.0])


def test_trajectories_print_in_a_line_or_two(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
    assert len(repr(fk.integrate(fk.FactorFlow(problem), factors, [0, 1]))) < 500


@pytest.mark.parametrize("solver", [None, fk.dynamics.RKC2()])
def test_single_precision_is_kept_and_reaches_its_event(solver, key):
    with jax.enable_x64(False):
        problem = completion()
        factors = fk.initial.gaussian(problem, 2, 0.1, key=key)
        field = fk.FactorFlow(problem)
        trajectory = fk.integrate(
            field, factors, [0.0, 1e3], until=fk.until.train_loss(1e-2), solver=solver, rtol=1e-3
        )
        assert trajectory.result.reason == "train loss fell to 0.01"
        assert trajectory.final[0].dtype == jnp.float32
        assert float(field.loss(trajectory.final)) == pytest.approx(1e-2, rel=1e-4)
