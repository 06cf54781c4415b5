"""Derivatives of a final observable are those of finite differences, or are refused by name."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk
from flowkit.observables import end_to_end, nuclear_norm

TS = [0.0, 3.0, 10.0]
PROBLEM = completion((4, 3))
FACTORS = fk.initial.gaussian(PROBLEM, 2, 0.3, key=jax.random.key(3))
DIFFERENCE = 1e-5  # of a central difference: its own error is about 1e-9 here


def final_norm(values, factors, *, solver=None, field=fk.FactorFlow):
    problem = fk.MatrixCompletion(PROBLEM.rows, PROBLEM.cols, values, PROBLEM.shape)
    trajectory = fk.integrate(
        field(problem), factors, TS, solver=solver, rtol=1e-9, observables={"norm": nuclear_norm}
    )
    return trajectory.observables["norm"][-1]


def central(function, x):
    """The gradient by central differences, entry by entry."""
    x = np.asarray(x)
    steps = DIFFERENCE * np.eye(x.size).reshape(x.size, *x.shape)
    slopes = [(function(x + step) - function(x - step)) / (2 * DIFFERENCE) for step in steps]
    return np.reshape(slopes, x.shape)


@pytest.fixture(scope="module")
def slopes():
    """Of the final norm, by differences: by the observed values, and by the first factor."""
    of_values = lambda values: final_norm(jnp.asarray(values), FACTORS)
    of_first = lambda W: final_norm(PROBLEM.values, (jnp.asarray(W), FACTORS[1]))
    return central(of_values, PROBLEM.values), central(of_first, FACTORS[0])


@pytest.mark.parametrize(
    "solver", [None, pytest.param(dfx.Dopri5(), marks=pytest.mark.slow), fk.dynamics.RKC2()]
)
def test_gradients_of_a_final_observable(solver, slopes):
    by_values, by_factors = jax.grad(final_norm, argnums=(0, 1))(
        PROBLEM.values, FACTORS, solver=solver
    )
    tolerance = 1e-4 if isinstance(solver, fk.dynamics.RKC2) else 1e-7
    np.testing.assert_allclose(by_values, slopes[0], atol=tolerance)
    np.testing.assert_allclose(by_factors[0], slopes[1], atol=tolerance)


def test_gradients_through_the_end_to_end_flow_at_equal_singular_values():
    problem = completion((3, 3))
    start = 0.3 * np.eye(3)

    def final(W):
        return fk.integrate(fk.EndToEndFlow(problem, 2), W, [0.0, 2.0], rtol=1e-9).final[0, 0]

    slopes = jax.grad(final)(jnp.asarray(start))
    np.testing.assert_allclose(slopes, central(lambda W: float(final(W)), start), atol=1e-7)


def test_a_traced_solve_takes_the_same_steps_as_any_other():
    field = fk.FactorFlow(PROBLEM)
    solve = lambda factors: fk.integrate(field, factors, TS, solver=dfx.Tsit5()).states
    for traced, plain in zip(jax.jit(solve)(FACTORS), solve(FACTORS), strict=True):
        np.testing.assert_allclose(traced, plain, rtol=1e-12, atol=1e-14)


def test_solves_can_be_batched():
    field = fk.FactorFlow(PROBLEM)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), FACTORS, FACTORS)
    products = jax.vmap(lambda y: end_to_end(fk.integrate(field, y, TS).final))(batch)
    alone = end_to_end(fk.integrate(field, FACTORS, TS).final)
    np.testing.assert_allclose(products, jnp.stack([alone, alone]), atol=1e-6)


@pytest.mark.slow
def test_gradients_pass_through_a_rejected_step_of_adagrad():
    """A stage of it has a negative sum of squares, whose root is not a number."""
    field = fk.ModelFlow(lambda y: jnp.sum(y**4), rule=fk.rules.AdaGrad())
    final = lambda y: fk.integrate(field, y, [0.0, 1.0], rtol=1e-9).final.sum()
    start = np.array([1.0, 2.0])
    slopes = central(lambda y: final(jnp.asarray(y)), start)
    np.testing.assert_allclose(jax.grad(final)(jnp.asarray(start)), slopes, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"until": fk.until.train_loss(0.1)}, {"dense": True}, {"progress": True}, {"checkpoint": "x"}],
    ids=lambda options: next(iter(options)),
)
def test_what_needs_the_numbers_is_refused_by_name(options):
    solve = lambda y: fk.integrate(fk.FactorFlow(PROBLEM), y, TS, **options).final[0].sum()
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be left out"):
        jax.grad(solve)(FACTORS)


@pytest.mark.parametrize(
    ("transform", "factor"), [(jax.jit, 2), pytest.param(jax.grad, -4, marks=pytest.mark.slow)]
)
def test_what_a_loss_closes_over_is_traced_too(transform, factor):
    """exp(-2 a) y at time one, of which a solve that was not traced would know no derivative."""

    def final(a, **options):
        flow = fk.ModelFlow(lambda y: jnp.sum(a * y**2))
        return fk.integrate(flow, jnp.ones(2), [0.0, 1.0], rtol=1e-9, **options).final.sum()

    np.testing.assert_allclose(transform(final)(0.5), factor * np.exp(-1), atol=1e-7)
    with pytest.raises(ValueError, match="`until` must be left out"):
        jax.grad(final)(0.5, until=fk.until.train_loss(0.1))


@pytest.mark.slow
def test_what_a_kernel_closes_over_is_traced_too():
    def final(a):
        flow = fk.KernelFlow(lambda u: a * u, np.ones((2, 1)))
        return fk.integrate(flow, jnp.zeros((2, 1)), [0.0, 1.0], rtol=1e-9).final.sum()

    np.testing.assert_allclose(jax.grad(final)(0.5), 2 * np.exp(-0.5), atol=1e-7)


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            lambda f: jax.jit(lambda y: f(y, [0.0, y[0]])),
            "`ts` must be known numbers, but it is tr",
        ),
        (lambda f: jax.jit(lambda y: f(y, y)), "`ts` must be known numbers, but it is traced"),
        (jax.jacfwd, "must be differentiated in reverse mode"),
        pytest.param(jax.hessian, "must be differentiated in reverse", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name(transform, message):
    flow = fk.ModelFlow(lambda y: jnp.sum(y**2))
    solve = lambda y, ts=(0.0, 1.0): fk.integrate(flow, y, ts).final.sum()
    with pytest.raises(ValueError, match=message):
        transform(solve)(jnp.arange(1.0, 3.0))


def test_running_out_of_steps_names_the_solver_that_takes_fewer():
    stiff = fk.ModelFlow(lambda y: 1e5 * y[0] ** 2 + y[1] ** 2)
    solve = lambda y: fk.integrate(stiff, y, [0.0, 1.0], max_steps=20).final.sum()
    with pytest.raises(
        Exception, match=r"`max_steps` = 20\. Where .* `solver=fk.dynamics.RKC2\(\)`"
    ):
        jax.jit(solve)(jnp.ones(2))


def test_a_traced_solve_that_fails_raises():
    blow_up = fk.ModelFlow(lambda y: -jnp.sum(y**3) / 3)
    solve = lambda y: fk.integrate(blow_up, y, [0.0, 2.0]).final.sum()
    with pytest.raises(Exception, match=r"minimum step size|maximum number"):
        jax.grad(solve)(jnp.ones(1))
