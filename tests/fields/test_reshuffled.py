"""Random reshuffling follows its flow in the mean over all orders of an epoch."""

import itertools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowkit as fk
from flowkit.fields.stochastic import ReshuffledFlow
from flowkit.minibatches import Minibatches

COUNT = 4
RNG = np.random.default_rng(0)
DATA = (jnp.asarray(RNG.normal(size=(COUNT, 2))), jnp.asarray(RNG.normal(size=COUNT)))
START = jnp.array([1.5, -1.0])
RATES = 0.02 * 0.5 ** np.arange(4)
ORDERS = jnp.array(list(itertools.permutations(range(COUNT))))


def bent(y, example):
    return (jnp.tanh(jnp.dot(example[0], y)) - example[1]) ** 2


def mean_loss(y, data):
    return jnp.mean(jax.vmap(bent, (None, 0))(y, data))


def loss(y):
    return mean_loss(y, DATA)


@eqx.filter_jit
def mean_over_orders(rate, size):
    """SGD after one epoch: the exact mean over all orders of the examples."""

    def step(y, rows):
        return y - rate * jax.grad(mean_loss)(y, jax.tree.map(lambda leaf: leaf[rows], DATA)), None

    epoch = lambda order: jax.lax.scan(step, START, order.reshape(-1, size))[0]
    return jnp.mean(jax.vmap(epoch)(ORDERS), 0)


@eqx.filter_jit
def end(field, time):
    steps = dfx.diffeqsolve(dfx.ODETerm(field), dfx.Dopri8(), 0.0, time, time / 4, START)
    return steps.ys[-1]


def errors(make, size):
    return [
        float(
            jnp.linalg.norm(
                mean_over_orders(jnp.asarray(h), size) - end(make(h), jnp.asarray(h * COUNT / size))
            )
        )
        for h in RATES
    ]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_one_epoch_agrees_in_the_mean_to_third_order(size):
    """Measured slopes 2.92, 2.96, 2.98: the learning rates are small against 1 / COUNT."""
    reshuffled = lambda h: ReshuffledFlow(bent, Minibatches(DATA, size), h)
    assert fk.fitted_order(RATES, errors(reshuffled, size)) == pytest.approx(3, abs=0.12)


@pytest.mark.parametrize("size", [1, 2])
def test_the_modified_flow_of_whole_batches_does_not(size):
    """The correction is not h/4 |grad L|^2 where single examples are visited: slope 2."""
    whole = lambda h: fk.ModelFlow(loss, modified=1, learning_rate=h)
    assert fk.fitted_order(RATES, errors(whole, size)) == pytest.approx(2, abs=0.05)


def test_for_single_examples_it_is_gradient_flow_of_the_published_loss():
    """Smith et al.: C + h/(4 m) sum_k |grad C_k|^2."""
    h = 0.3

    def modified_loss(y):
        gradients = jax.vmap(jax.grad(bent), (None, 0))(y, DATA)
        return mean_loss(y, DATA) + h / (4 * COUNT) * jnp.sum(gradients**2)

    field = ReshuffledFlow(bent, Minibatches(DATA, 1), h)
    np.testing.assert_allclose(field(0.0, START), -jax.grad(modified_loss)(START), rtol=1e-12)
    assert float(field.loss(START)) == pytest.approx(float(mean_loss(START, DATA)), rel=1e-14)


def test_batches_drawn_with_replacement_are_refused():
    with pytest.raises(ValueError, match="`batches` must be drawn without replacement"):
        ReshuffledFlow(bent, Minibatches(DATA, 1, replace=True), 0.1)


BAD = {
    "axes": (((jnp.ones(3), jnp.ones(4)), 1), "`data` must hold arrays of one leading axis"),
    "scalar": ((jnp.array(1.0), 1), "`data` must hold arrays"),
    "size": ((jnp.ones(4), 0), "`size` must be a positive integer, but it is 0"),
    "remainder": ((jnp.ones(4), 3), "`size` must divide the 4 examples of an epoch, but it is 3"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_batches_that_cannot_be_drawn_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Minibatches(*arguments)
