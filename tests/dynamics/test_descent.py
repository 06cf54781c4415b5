"""Descent is what it says, on the flow's clock where a learning rate is stated."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import Observed, completion

import flowkit as fk
from flowkit.observables import end_to_end


def test_descent_is_euler_on_the_flow(key):
    """Rung 3: `diffrax.Euler` at dt0 = learning rate equals `optax.sgd` to rounding."""
    problem, rate, steps = completion(), 0.05, 40
    factors = fk.initial.gaussian(problem, 3, 0.5, key=key)
    trajectory = fk.descend(problem, factors, optax.sgd(rate), steps, learning_rate=rate)
    euler = dfx.diffeqsolve(
        dfx.ODETerm(fk.FactorFlow(problem)), dfx.Euler(), 0.0, rate * steps, rate, factors
    )
    for descended, stepped in zip(trajectory.final, euler.ys, strict=True):
        np.testing.assert_allclose(descended, stepped[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_error_is_first_order_in_the_learning_rate(depth, key):
    problem, time = completion(), 8.0
    factors = fk.initial.gaussian(problem, depth, 0.5, key=key)
    flow = fk.integrate(fk.FactorFlow(problem), factors, [0.0, time], rtol=1e-11)
    rates = 0.04 * 0.5 ** np.arange(5)
    errors = []
    for rate in rates:
        steps = round(time / rate)
        descent = fk.descend(
            problem, factors, optax.sgd(rate), steps, learning_rate=rate, save_every=steps
        )
        errors.append(fk.compare(descent, flow, of=end_to_end).worst)
    assert fk.fitted_order(rates, errors) == pytest.approx(1, abs=0.05)


def test_saves_are_at_the_clock_of_the_learning_rate():
    problem = Observed(np.ones((2, 2))).problem
    run = lambda **k: fk.descend(problem, (jnp.zeros((2, 2)),), optax.sgd(0.1), 6, **k)
    np.testing.assert_allclose(run(learning_rate=0.1, save_every=3).ts, [0, 0.3, 0.6])
    steps = run(save_every=2)
    np.testing.assert_array_equal(steps.ts, [0, 2, 4, 6])
    assert steps.clock == "steps"
    assert steps.stats["num_steps"] == 6


OPTIMISERS = {
    "adam": optax.adam(0.05),
    "momentum": optax.sgd(0.02, momentum=0.9),
    "clipped": optax.chain(optax.clip(1.0), optax.sgd(0.05)),
    "line search": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_any_optax_transformation_trains(optimiser, key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes integers and floats
        trajectory = fk.descend(problem, factors, optimiser, 300, save_every=300)
    start, end = (float(problem.loss(end_to_end(trajectory.at(t)))) for t in (0.0, 300.0))
    assert trajectory.result.successful
    assert end < 0.1 * start


def test_a_loss_function_of_any_state_is_trained():
    loss = lambda state: jnp.sum((state["a"] - 3.0) ** 2)
    trajectory = fk.descend(loss, {"a": jnp.zeros(2)}, optax.sgd(0.25), 60)
    np.testing.assert_allclose(trajectory.final["a"], 3.0, atol=1e-12)


def test_divergence_is_a_failure_with_a_reason():
    trajectory = fk.descend(lambda x: x**4, jnp.array(10.0), optax.sgd(1.0), 50)
    assert not trajectory.result.successful
    assert "not finite" in trajectory.result.reason


BAD = {
    "steps": ({"steps": 0}, "`steps` must be a positive integer, but it is 0"),
    "save_every": ({"save_every": 0}, "`save_every` must be a positive integer"),
    "indivisible": ({"save_every": 3}, "3 does not divide 10"),
    "learning rate": ({"learning_rate": -1.0}, "`learning_rate` must be positive"),
    "state": ({"y0": (jnp.ones((9, 9)),)}, "`y0` must hold factors"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_by_name(change, message):
    arguments = {"y0": (jnp.ones((5, 4)),), "steps": 10} | change
    y0, steps = arguments.pop("y0"), arguments.pop("steps")
    with pytest.raises(ValueError, match=message):
        fk.descend(completion((5, 4)), y0, optax.sgd(0.1), steps, **arguments)


def test_descent_without_a_clock_is_not_held_against_a_flow():
    problem, start = completion((5, 4)), (jnp.ones((5, 4)),)
    flow = fk.integrate(fk.FactorFlow(problem), start, [0.0, 1.0])
    with pytest.raises(ValueError, match="must have one clock, but they count steps and flow time"):
        fk.compare(fk.descend(problem, start, optax.sgd(0.1), 10), flow)


def test_state_types_are_kept():
    trajectory = fk.descend(lambda x: jnp.sum(x**2), jnp.ones(3), optax.sgd(0.1), 2)
    assert isinstance(trajectory.final, jax.Array)
    assert trajectory.states.shape == (3, 3)
