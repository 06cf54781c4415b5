"""A flow whose state and rate are float32 is float32 to the end, whatever JAX's default is."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowkit as fk

WELL = fk.ModelFlow(lambda y: jnp.sum(jnp.square(y)))  # y(t) = y(0) e^{-2t}
START = np.array([1.0, 2.0], np.float32)
TS = [0.0, 0.1, 1.0]
SOLVERS = {
    "policy": None,
    "stabilized": pytest.param(fk.dynamics.RKC4(), marks=pytest.mark.slow),
    "implicit": pytest.param(dfx.Kvaerno5(), marks=pytest.mark.slow),
}


def types(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_single_precision_is_kept_under_a_double_default(solver):
    trajectory = fk.integrate(WELL, START, TS, solver=solver)
    assert trajectory.result.successful
    assert types((trajectory.states, trajectory.final)) == {jnp.dtype("float32")}
    np.testing.assert_array_equal(trajectory.ts, TS)
    np.testing.assert_allclose(trajectory.at(0.1), START * np.exp(-0.2), rtol=1e-4)
    np.testing.assert_allclose(trajectory.final, START * np.exp(-2.0), rtol=1e-5)


@pytest.mark.slow
def test_the_default_does_not_change_a_single_step():
    under_double = fk.integrate(WELL, START, TS, dense=True)
    with jax.enable_x64(False):
        under_single = fk.integrate(WELL, START, TS, dense=True)
        middle = np.asarray(under_single.at(0.5))
    assert under_double.stats == under_single.stats
    np.testing.assert_allclose(under_double.final, under_single.final, rtol=3e-7)
    np.testing.assert_allclose(under_double.at(0.5), middle, rtol=3e-7)


@pytest.mark.slow
def test_conditions_are_met_in_single_precision():
    several = fk.until.first_of(
        fk.until.train_loss(0.5), fk.until.time(0.9), fk.until.observable("first", 0.1)
    )
    first = lambda y: y[0]
    end = fk.integrate(WELL, START, TS, until=several, observables={"first": first})
    assert end.final_time == pytest.approx(np.log(10) / 4, rel=1e-5)
    assert types(end.final) == {jnp.dtype("float32")}


@pytest.mark.slow
def test_points_of_a_sweep_may_be_single():
    make = lambda scale: (WELL, jnp.asarray(scale * START))
    until = fk.until.relative_change(1e9)  # settled as soon as half of the loss is gone
    found = fk.sweep(make, {"scale": [1.0, 3.0]}, TS, until=until, batch=2, progress=False)
    np.testing.assert_allclose(found["final_time"], np.log(2) / 4, rtol=1e-5)


@pytest.mark.slow
def test_gradients_are_single():
    slopes = jax.grad(lambda y: fk.integrate(WELL, y, TS).final.sum())(jnp.asarray(START))
    assert slopes.dtype == jnp.float32
    np.testing.assert_allclose(slopes, np.exp(-2.0), rtol=1e-5)


def test_a_single_state_of_a_double_rate_is_refused():
    field = fk.KernelFlow(jax.tree_util.Partial(lambda x: x), jnp.zeros((2, 1)))
    solve = lambda y: fk.integrate(field, y, TS).final
    for solved in (solve, jax.jit(solve)):
        with pytest.raises(ValueError, match="its rate's type, float64, but its leaf 0 is float32"):
            solved(jnp.asarray(START[:, None]))
