"""SGD's expectations are those of its flows, to the weak orders that theory gives.

Losses of the examples are squares of affine functions, so that the second moments of SGD and of
its stochastic flow obey linear equations: the orders are measured without sampling noise.
"""

import itertools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.linalg

import flowkit as fk
from flowkit.dynamics.stochastic import SmallNoise, sample_paths, solve_stochastic
from flowkit.fields.stochastic import StochasticFlow
from flowkit.minibatches import Minibatches

COUNT, TIME = 3, 2.0
RNG = np.random.default_rng(0)
DATA = (jnp.asarray(RNG.normal(size=(COUNT, 2))), jnp.asarray(RNG.normal(size=COUNT)))
START = np.array([1.5, -1.0])
RATES = 0.1 * 0.5 ** np.arange(4)
KEY = jax.random.key(0)
CORNERS = jnp.concatenate([jnp.zeros((1, 2)), jnp.eye(2)])


def square(y, example):
    return 0.5 * (jnp.dot(example[0], y) - example[1]) ** 2


def sgd(size):
    return Minibatches(DATA, size, replace=True)


def homogeneous(values, last):
    """The matrix on (y, 1) of an affine map, from its values at the corners."""
    values, matrix = np.asarray(values), np.zeros((3, 3))
    matrix[:2, 2], matrix[:2, :2] = values[0], (values[1:] - values[0]).T
    matrix[2, 2] = last
    return matrix


def moments(step, count):
    """E of z z^T with z = (y, 1) after so many independent linear steps."""
    z = np.append(START, 1.0)
    return (np.linalg.matrix_power(step, count) @ np.kron(z, z)).reshape(3, 3)


def covariance(moments):
    return moments[:2, :2] - np.outer(moments[:2, 2], moments[:2, 2])


def moments_of_sgd(rate, size):
    batches = itertools.product(range(COUNT), repeat=size)
    x, target = (np.asarray(part) for part in DATA)
    means = [np.mean([np.outer(x[k], np.append(x[k], -target[k])) for k in b], 0) for b in batches]
    steps = [np.eye(3) - rate * np.vstack([mean, np.zeros(3)]) for mean in means]
    return moments(np.mean([np.kron(step, step) for step in steps], 0), round(TIME / rate))


@eqx.filter_jit
def coefficients(field):
    """The drift, and the diffusion by each Brownian motion, at the corners."""
    drift = jax.vmap(lambda y: field.drift(0.0, y))(CORNERS)
    by = lambda noise: jax.vmap(lambda y: field.diffusion(0.0, y, noise))(CORNERS)
    return drift, jax.vmap(by)(jnp.eye(COUNT))


def moments_of_flow(field, noise=1.0):
    drift, diffusion = coefficients(field)
    A, identity = homogeneous(drift, 0), np.eye(3)
    spread = sum(np.kron(B, B) for B in (homogeneous(values, 0) for values in diffusion))
    generator = np.kron(A, identity) + np.kron(identity, A) + noise * spread
    return moments(scipy.linalg.expm(TIME * generator), 1)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("modified", [0, 1])
def test_the_stochastic_flow_is_of_the_stated_weak_order(modified, size):
    """Errors of all first and second moments. Measured slopes: 0.99 and 2.02."""
    flow = lambda rate: StochasticFlow(square, sgd(size), rate, modified=modified)
    errors = [
        np.abs(moments_of_sgd(rate, size) - moments_of_flow(flow(rate))).max() for rate in RATES
    ]
    assert fk.fitted_order(RATES, errors) == pytest.approx(modified + 1, abs=0.07)


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_noise_of_the_wrong_size_is_noticed(factor):
    """Without noise, or with twice its variance, the second order is lost."""
    flow = lambda rate: StochasticFlow(square, sgd(1), rate, modified=1)
    errors = [
        np.abs(moments_of_sgd(rate, 1) - moments_of_flow(flow(rate), factor)).max()
        for rate in RATES
    ]
    assert fk.fitted_order(RATES, errors) < 1.1


def test_the_covariance_is_that_of_sgd():
    """Its relative error falls with the learning rate; that of gradient flow is always one."""
    errors = []
    for rate in RATES:
        exact = covariance(moments_of_sgd(rate, 1))
        flow = covariance(moments_of_flow(StochasticFlow(square, sgd(1), rate)))
        errors.append(np.linalg.norm(flow - exact) / np.linalg.norm(exact))
    assert fk.fitted_order(RATES, errors) == pytest.approx(1, abs=0.1)
    assert errors[-1] < 0.02


@eqx.filter_jit
def one_step(field, solver, step, increments):
    """The solver's step from each corner under each Brownian increment."""
    shape = jax.ShapeDtypeStruct((COUNT,), float)

    def at(y, increment):
        path = dfx.ControlTerm(
            lambda t, y, args: lx.FunctionLinearOperator(lambda w: field.diffusion(t, y, w), shape),
            lambda t0, t1: increment,
        )
        drift = dfx.ODETerm(lambda t, y, args: field.drift(t, y))
        terms = dfx.MultiTerm(drift, path)
        return solver.step(terms, jnp.array(0.0), step, y, None, None, False)[0]

    return jax.vmap(lambda w: jax.vmap(lambda y: at(y, w))(CORNERS))(increments)


def moments_of_solver(field, solver, step):
    """Exact, by Gauss-Hermite quadrature over the increments of one step."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    increments = np.array(list(itertools.product(nodes, repeat=COUNT))) * np.sqrt(step)
    products = np.prod(list(itertools.product(weights / weights.sum(), repeat=COUNT)), axis=1)
    values = np.asarray(one_step(field, solver, jnp.asarray(step), jnp.asarray(increments)))
    maps = [homogeneous(value, 1) for value in values]
    mean = sum(p * np.kron(M, M) for p, M in zip(products, maps, strict=True))
    return moments(mean, round(TIME / step))


@pytest.mark.parametrize(("solver", "order"), [(SmallNoise(), 2), (dfx.Euler(), 1)])
def test_the_solver_keeps_the_second_order_at_steps_of_the_learning_rate(solver, order):
    """Against SGD itself. Measured: 2.05, and 0.99 for Euler's method, which does not."""
    errors = []
    for rate in RATES:
        field = StochasticFlow(square, sgd(1), rate, modified=1)
        errors.append(
            np.abs(moments_of_sgd(rate, 1) - moments_of_solver(field, solver, rate)).max()
        )
    assert fk.fitted_order(RATES, errors) == pytest.approx(order, abs=0.15)


def test_the_first_order_error_of_the_solver_falls_as_the_squared_variance_of_the_noise():
    """A plain combination of Heun and Euler would leave a term e^2 h: slope 1. Measured 2.00."""
    slopes, h = [], 1 / 256
    for rate in RATES:
        field = StochasticFlow(square, sgd(1), rate, modified=1)
        coarse, fine = (
            moments_of_solver(field, SmallNoise(), step) - moments_of_flow(field)
            for step in (h, h / 2)
        )
        slopes.append(np.abs(4 * fine - coarse).max() / h)  # without the term in h^2
    assert fk.fitted_order(RATES, slopes) == pytest.approx(2, abs=0.02)


def test_sampled_paths_have_the_mean_and_covariance_of_the_flow():
    """4,000 paths at a fixed key: within 4 standard errors, which twice the noise is not."""
    field, paths = StochasticFlow(square, sgd(1), 0.05, modified=1), 4000
    keys = jax.random.split(jax.random.key(7), paths)
    sampled = np.asarray(sample_paths(field, START, [0.0, 1.0, TIME], keys=keys))
    assert sampled.shape == (paths, 3, 2)
    ends, exact = sampled[:, -1], moments_of_flow(field)
    mean_errors = (ends.mean(0) - exact[:2, 2]) / (ends.std(0) / np.sqrt(paths))
    deviations = ends - exact[:2, 2]
    products = np.einsum("pi,pj->pij", deviations, deviations)
    standard = products.std(0) / np.sqrt(paths)
    assert np.abs(mean_errors).max() < 4
    assert np.abs((products.mean(0) - covariance(exact)) / standard).max() < 4
    doubled = covariance(moments_of_flow(field, 2.0))
    assert np.abs((products.mean(0) - doubled) / standard).max() > 10


def test_a_key_is_one_path_at_any_step_and_the_first_of_its_ensemble():
    """A coarser step stays near the finest path of its own key, and far from other keys."""
    field, keys = StochasticFlow(square, sgd(1), 0.1), jax.random.split(jax.random.key(3), 4)
    paths = lambda step: sample_paths(field, START, [0.0, TIME], keys=keys, step=step)[:, -1]
    finest, coarse = paths(2.0**-8), paths(0.125)
    distances = np.linalg.norm(np.asarray(coarse)[:, None] - np.asarray(finest), axis=-1)
    others = distances[~np.eye(4, dtype=bool)]
    assert 5 * np.diag(distances).max() < others.min()
    alone = solve_stochastic(field, START, [0.0, TIME], key=keys[2], step=0.125).final
    np.testing.assert_allclose(alone, coarse[2], rtol=1e-12)


def test_a_trajectory_is_on_the_flow_clock_with_its_observables():
    field = StochasticFlow(square, sgd(1), 0.1)
    trajectory = solve_stochastic(
        field,
        START,
        [0.0, 0.25, 2.0],
        key=jax.random.key(0),
        observables={"loss": field.loss},
    )
    assert trajectory.result.successful
    assert trajectory.clock == "flow time"
    assert trajectory.stats["num_steps"] == 3 + 18
    np.testing.assert_array_equal(trajectory.states[0], START)
    assert float(trajectory.observables["loss"][-1]) == pytest.approx(
        float(field.loss(trajectory.final))
    )


def test_a_path_that_blows_up_is_a_failure_with_a_reason():
    field = StochasticFlow(
        lambda y, x: -((x * y) ** 4), Minibatches(jnp.ones(2), 1, replace=True), 1
    )
    trajectory = solve_stochastic(field, jnp.array(9.0), [0, 40], key=jax.random.key(0))
    assert not trajectory.result.successful
    assert trajectory.result.reason == "the state is not finite"


def test_what_the_equation_does_not_describe_is_refused():
    with pytest.raises(ValueError, match="`batches` must be drawn with replacement"):
        StochasticFlow(square, Minibatches(DATA, 1), 0.1)
    with pytest.raises(ValueError, match="`modified` must be 0 or 1, but it is 2"):
        StochasticFlow(square, sgd(1), 0.1, modified=2)
    with pytest.raises(ValueError, match="`learning_rate` must be positive, but it is 0"):
        StochasticFlow(square, sgd(1), 0.0)
    with pytest.raises(ValueError, match="`step` must be positive, but it is -1"):
        solve_stochastic(
            StochasticFlow(square, sgd(1), 0.1), START, [0, 1], key=jax.random.key(0), step=-1
        )
    with pytest.raises(ValueError, match="`loss` must return one number"):
        StochasticFlow(lambda y, x: x[0] * y, sgd(1), 0.1).check(START)


@pytest.mark.parametrize(
    ("transformed", "name"),
    [
        (lambda solve: jax.grad(lambda y: solve(y).sum())(START), "y0"),
        (lambda solve: jax.vmap(lambda k: solve(START, k))(jax.random.split(KEY)), "key"),
        pytest.param(
            lambda solve: jax.grad(lambda a: solve(START, scale=a).sum())(1.0),
            "field",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_path_under_a_transformation_is_refused_by_name(transformed, name):
    def solve(y0, key=KEY, scale=1.0):
        field = StochasticFlow(lambda y, example: scale * square(y, example), sgd(1), 0.1)
        return fk.integrate(field, y0, [0.0, 0.2], key=key).final

    with pytest.raises(ValueError, match=f"`{name}` of a stochastic path must be known numbers"):
        transformed(solve)
