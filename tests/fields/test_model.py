"""`ModelFlow` trains any loss over any state by the rule it states, decay and types included."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowkit as fk
from flowkit import rules
from flowkit.rules import ROOT_TIME
from flowkit.trajectory import FLOW_TIME

START = {"a": jnp.array([0.4, -0.8]), "b": jnp.array(0.7)}
DECAY = 0.3


def loss(y):
    return jnp.sum((y["a"] ** 2 - 1) ** 2) / 4 + 0.5 * (y["b"] - y["a"][0] ** 2) ** 2


def with_decay(y):
    return loss(y) + DECAY / 2 * (jnp.sum(y["a"] ** 2) + y["b"] ** 2)


def assert_trees_close(left, right, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)


COUPLED = {
    "gradient": {},
    "modified": {"modified": 2, "learning_rate": 0.1},
    "momentum": {"rule": rules.Momentum(0.5), "modified": 1, "learning_rate": 0.1},
    "heavy ball": {"rule": rules.HeavyBall(2.0), "modified": 1, "learning_rate": 0.01},
    "nesterov": {"rule": rules.Nesterov()},
}


@pytest.mark.parametrize("options", COUPLED.values(), ids=COUPLED)
def test_coupled_decay_is_a_term_of_the_loss(options):
    decayed = fk.ModelFlow(loss, weight_decay=DECAY, **options)
    penalised = fk.ModelFlow(with_decay, **options)
    state = penalised.lift(0.0, START)
    assert_trees_close(decayed.lift(0.0, START), state)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, state)
    assert_trees_close(decayed(0.0, moved), penalised(0.0, moved))
    assert float(decayed.loss(START)) == float(loss(START))


DECOUPLED = {
    "adam": rules.Adam(3.0, 1.0, 1e-2),
    "rmsprop": rules.RMSProp(1.0, 1e-2),
    "adagrad": rules.AdaGrad(1e-2),
    "sign": rules.Sign(0.5, 0.5, 1e-2),
}


@pytest.mark.parametrize("rule", DECOUPLED.values(), ids=DECOUPLED)
def test_decoupled_decay_pulls_the_weights_and_nothing_else(rule):
    plain, decayed = (
        fk.ModelFlow(loss, rule=rule),
        fk.ModelFlow(loss, rule=rule, weight_decay=DECAY),
    )
    state = jax.tree.map(lambda leaf: leaf + 0.1, plain.lift(0.0, START))
    (first, *rest), (other, *others) = plain(0.0, state), decayed(0.0, state)
    assert_trees_close(rest, others)
    y = plain.position(state)
    assert_trees_close(other, jax.tree.map(lambda r, leaf: r - DECAY * leaf, first, y))


def test_another_learning_rate_or_parameter_compiles_nothing():
    traces = []

    def counted(y):
        traces.append(None)
        return loss(y)

    @eqx.filter_jit
    def rate(field):
        return field(0.0, field.lift(0.0, START))

    make = lambda beta, h: fk.ModelFlow(
        counted, rule=rules.Momentum(beta), modified=1, learning_rate=h, weight_decay=h
    )
    first = rate(make(0.5, 0.1))
    count = len(traces)
    second = rate(make(0.6, 0.2))
    assert count == len(traces) > 0
    assert float(jnp.abs(first[0]["a"] - second[0]["a"]).max()) > 0.1


ALL = {"none": None, "momentum": rules.Momentum(), "heavy ball": rules.HeavyBall()}
ALL |= {"nesterov": rules.Nesterov()} | DECOUPLED


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_single_precision_stays_single(rule):
    """Although the parameters of a rule are of double precision here."""
    field = fk.ModelFlow(loss, rule=rule, weight_decay=DECAY)
    state = field.lift(0.0, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), START))
    rate = field(jnp.array(0.0, jnp.float32), state)
    assert {leaf.dtype for leaf in jax.tree.leaves((state, rate))} == {jnp.dtype("float32")}
    assert jax.tree.structure(state) == jax.tree.structure(rate)


@pytest.mark.slow
def test_an_equinox_model_is_trained_as_its_linear_flow_says():
    """One affine layer under half the squares: the flow of its outputs is a kernel flow."""
    x, target = jnp.array([[1.0, 0.5], [-0.3, 2.0]]), jnp.array([[1.0], [-1.0]])
    layer = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    objective = lambda model: 0.5 * jnp.sum((jax.vmap(model)(x) - target) ** 2)
    solve = lambda field, y0: fk.integrate(field, y0, [0, 1], rtol=1e-10, solver=dfx.Tsit5()).final
    outputs = solve(fk.KernelFlow(x @ x.T + 1.0, target), jax.vmap(layer)(x))
    trained = solve(fk.ModelFlow(objective), layer)
    np.testing.assert_allclose(jax.vmap(trained)(x), outputs, atol=1e-8)


def test_the_clock_is_that_of_the_rule():
    assert fk.ModelFlow(loss).clock == FLOW_TIME
    assert fk.ModelFlow(loss, rule=rules.Adam()).clock == FLOW_TIME
    assert fk.ModelFlow(loss, rule=rules.Nesterov()).clock == ROOT_TIME


BAD = {
    "order without rate": ({"modified": 1}, "must be given together, but they are 1 and None"),
    "rate without order": ({"learning_rate": 0.1}, "must be given together"),
    "order": ({"modified": 3, "learning_rate": 0.1}, "`modified` must be 0, 1 or 2"),
    "rate": ({"modified": 1, "learning_rate": -0.1}, "`learning_rate` must be positive"),
    "adam": (
        {"modified": 1, "learning_rate": 0.1, "rule": rules.Adam()},
        "`modified` must be 0 under the rule `Adam`, but it is 1",
    ),
    "momentum": (
        {"modified": 2, "learning_rate": 0.1, "rule": rules.Momentum()},
        "`modified` must be 0 or 1 under the rule `Momentum`, but it is 2",
    ),
    "decay": ({"weight_decay": -1.0}, "`weight_decay` must be 0 or positive, but it is -1"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_what_no_flow_is_known_for_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fk.ModelFlow(loss, **options)


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="`loss` must return one number"):
        fk.ModelFlow(lambda y: y["a"]).check(START)
