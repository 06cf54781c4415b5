"""Descent is what it says, on the flow's clock where a learning rate is stated."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import Observed, completion

import flowkit as fk
from flowkit import rules
from flowkit.minibatches import Minibatches
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


@pytest.mark.slow  # test_orders.py has the same by `study_order`
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


def visits(y, example):
    """Descent at rate 1 and batches of one adds one at every visit to an example."""
    return -jnp.dot(y, example)


def test_reshuffling_visits_every_example_once_an_epoch_in_a_new_order(key):
    batches = Minibatches(jnp.eye(6), 2)
    run = lambda key: (
        fk.descend(visits, jnp.zeros(6), optax.sgd(2.0), 12, batches=batches, key=key).states
    )
    states = run(key)
    for epoch in range(5):
        np.testing.assert_array_equal(states[3 * epoch], float(epoch))
    steps = np.diff(states, axis=0).reshape(4, 3, 6)
    assert len({step.tobytes() for step in steps}) > 1
    np.testing.assert_array_equal(run(key), states)
    assert not np.array_equal(run(jax.random.key(5)), states)


def test_with_replacement_the_visits_are_binomial(key):
    """6,000 draws out of 6: counts within 4 deviations of 1,000, and not all equal."""
    batches = Minibatches(jnp.eye(6), 2, replace=True)
    counts = fk.descend(
        visits, jnp.zeros(6), optax.sgd(2.0), 3000, save_every=3000, batches=batches, key=key
    ).final
    assert float(counts.sum()) == 6000
    assert 0 < float(jnp.abs(counts - 1000).max()) < 4 * np.sqrt(6000 * 5 / 36)


def test_a_step_descends_the_mean_loss_of_its_batch(key):
    """A batch of all examples is full descent, whatever its order."""
    x, target = jax.random.normal(key, (5, 3)), jnp.arange(5.0)
    one = lambda y, example: (jnp.dot(example["x"], y) - example["target"]) ** 2
    full = lambda y: jnp.mean((x @ y - target) ** 2)
    run = lambda loss, **k: fk.descend(loss, jnp.ones(3), optax.sgd(0.1), 10, **k).final
    batches = Minibatches({"x": x, "target": target}, 5)
    np.testing.assert_allclose(run(one, batches=batches, key=key), run(full), rtol=1e-12)


BETA = 0.6
RULES = {
    "momentum": (rules.Momentum(BETA), optax.sgd(0.04, momentum=BETA), 0.04),
    "heavy ball": (rules.HeavyBall(2.0), optax.sgd(0.04, momentum=BETA), 0.2),
    "adam": (
        rules.Adam(3.0, 1.0, 0.5),
        optax.adam(0.04, np.exp(-0.12), np.exp(-0.04), eps=0.0, eps_root=0.5),
        0.04,
    ),
    "rmsprop": (
        rules.RMSProp(1.0, 0.5),
        optax.rmsprop(0.04, np.exp(-0.04), 0.5, bias_correction=True),
        0.04,
    ),
    "adagrad": (rules.AdaGrad(0.5), optax.adagrad(0.2, 0.0, eps=12.5), 0.04),
    "sign": (
        rules.Sign(0.5, 0.7, 0.5),
        optax.adam(0.04, 0.5, 0.7, eps=0.0, eps_root=0.5),
        0.04,
    ),
}


@pytest.mark.parametrize(("rule", "optimiser", "step"), RULES.values(), ids=RULES)
def test_a_rule_is_the_optax_transformation_that_it_names_on_its_own_clock(rule, optimiser, step):
    run = lambda how: fk.descend(
        lambda y: jnp.sum(y**4), jnp.array([1.0, -0.5]), how, 8, learning_rate=0.04
    )
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes integers and floats
        ours, optax_own = run(rule), run(optimiser)
    np.testing.assert_allclose(ours.states, optax_own.states, rtol=1e-12)
    np.testing.assert_allclose(ours.ts, step * np.arange(9), rtol=1e-12)
    assert ours.clock == rule.clock


def test_nesterov_steps_as_su_boyd_and_candes_write_it():
    h, gradient = 0.04, lambda y: 4 * y**3
    x = y = np.array([1.0, -0.5])
    expected = [y]
    for k in range(1, 9):
        x, last = y - h * gradient(y), x
        y = x + (k - 1) / (k + 2) * (x - last)
        expected.append(y)
    ours = fk.descend(
        lambda y: jnp.sum(y**4), jnp.array([1.0, -0.5]), rules.Nesterov(), 8, learning_rate=h
    )
    np.testing.assert_allclose(ours.states, expected, rtol=1e-12)


BAD_COMBINATIONS = {
    "rule without rate": (
        {"optimiser": rules.Adam()},
        "must be given for the rule",
    ),
    "no optimiser": ({"optimiser": "sgd"}, "`optimiser` must be an Optax .* but it is 'sgd'"),
    "a maker of optimisers": ({"optimiser": optax.sgd}, "`optimiser` must be an Optax"),
    "clock without rate": ({"clock": "root time"}, "must be given for the clock"),
    "clock": ({"clock": "noon", "learning_rate": 0.1}, "`clock` must be 'flow time' or"),
    "batches without key": ({"batches": Minibatches(jnp.ones(3), 1)}, "must be given together"),
    "too much friction": (
        {"optimiser": rules.HeavyBall(4.0), "learning_rate": 0.1},
        "`learning_rate` must be at most 1 / friction.2 = 0.0625",
    ),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("change", "message"), BAD_COMBINATIONS.values(), ids=BAD_COMBINATIONS)
def test_arguments_that_do_not_fit_together_are_refused(change, message):
    arguments = {"optimiser": optax.sgd(0.1)} | change
    with pytest.raises(ValueError, match=message):
        fk.descend(jnp.sum, jnp.ones(2), arguments.pop("optimiser"), 2, **arguments)


def test_problems_have_no_examples_to_draw(key):
    with pytest.raises(ValueError, match="but it is a problem"):
        fk.descend(
            completion((5, 4)),
            (jnp.ones((5, 4)),),
            optax.sgd(0.1),
            2,
            batches=Minibatches(jnp.ones(3), 1),
            key=key,
        )
