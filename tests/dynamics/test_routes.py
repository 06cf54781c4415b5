"""`integrate` is one door: which way a field is solved depends on the field, and is said."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowkit as fk

GRAM = np.array([[2.0, 0.5], [0.5, 1.0]])
TARGETS = np.array([[1.0], [-1.0]])


def test_a_kernel_flow_is_solved_in_its_eigenbasis_unless_a_solver_is_named():
    field, start = fk.KernelFlow(GRAM, TARGETS), jnp.zeros((2, 1))
    exact = fk.integrate(field, start, [0.0, 1.0, 3.0], dense=True)
    assert exact.stats["phases"][0]["solver"] == "eigenbasis"
    stepped = fk.integrate(field, start, [0.0, 1.0, 3.0], solver=fk.dynamics.RKC2(), rtol=1e-9)
    assert stepped.stats["phases"][0]["solver"] == "RKC2"
    assert fk.compare(stepped, exact).relative < 1e-6
    np.testing.assert_allclose(exact.at(3.0), exact.final, rtol=1e-14)


def test_an_operator_is_stepped():
    field = fk.KernelFlow(lambda v: jnp.asarray(GRAM) @ v, TARGETS)
    stepped = fk.integrate(field, jnp.zeros((2, 1)), [0.0, 1.0])
    assert stepped.stats["phases"][0]["solver"] == "Tsit5"


def test_an_equinox_model_is_a_state():
    """A network with its activation as a leaf: descent under Adam follows Adam's flow."""
    x = jnp.linspace(-1.0, 1.0, 8)[:, None]
    model = eqx.nn.MLP(1, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    loss = lambda model: jnp.mean((jax.vmap(model)(x) - x**2) ** 2)
    trajectory = fk.integrate(
        fk.ModelFlow(loss), model, [0.0, 1.0, 2.0], observables={"loss": loss}
    )
    assert trajectory.observables["loss"][-1] < trajectory.observables["loss"][0]
    np.testing.assert_allclose(loss(trajectory.at(1.0)), trajectory.observables["loss"][1])
    assert trajectory.final(x[0]).shape == (1,)


def linear_loss(y, example):
    return 0.5 * jnp.sum((y - example) ** 2)


BATCHES = fk.Minibatches(jnp.array([[0.0], [2.0]]), 1, replace=True)
NOISY = fk.StochasticFlow(linear_loss, BATCHES, 0.1)


def test_a_stochastic_field_is_drawn_by_its_key():
    paths = [
        fk.integrate(NOISY, jnp.zeros(1), [0.0, 0.5, 1.0], key=jax.random.key(seed)).final
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert not np.array_equal(paths[0], paths[2])


@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        (NOISY, {}, "`key` must draw the noise"),
        (NOISY, {"key": 0, "dense": True}, "`dense` must be left out"),
        (NOISY, {"key": 0, "rtol": 1e-9}, "`rtol` must be left out"),
        (NOISY, {"key": 0, "atol": 1e-9}, "`atol` must be left out"),
        (NOISY, {"key": 0, "max_steps": 5}, "`max_steps` must be left out"),
        (NOISY, {"key": 0, "until": fk.until.time(1.0)}, "`until` must be left out"),
        (fk.ModelFlow(jnp.sum), {"key": 0}, "`key` must be left out"),
    ],
)
def test_options_that_a_field_has_no_use_for_are_refused(field, options, message):
    if "key" in options:
        options = options | {"key": jax.random.key(options["key"])}
    with pytest.raises(ValueError, match=message):
        fk.integrate(field, jnp.zeros(1), [0.0, 1.0], **options)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("leaf", [True, "text"])
def test_leaves_that_are_no_numbers_are_refused(leaf):
    with pytest.raises(ValueError, match=r"`y0` must be real.*equinox\.partition"):
        fk.integrate(fk.ModelFlow(lambda y: jnp.sum(y[0] ** 2)), (jnp.ones(1), leaf), [0.0, 1.0])
