"""Kernel flow in the eigenbasis is the matrix exponential, at every time and eigenvalue."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm

import flowkit as fk
from flowkit.dynamics.eigenbasis import solve_in_eigenbasis

TS = np.array([0.5, 0.7, 2.0, 30.0])  # the flow starts at 0.5
RNG = np.random.default_rng(0)
Y, U_0, F_0 = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2)), RNG.normal(size=(3, 2))
K_TEST = RNG.normal(size=(3, 5))
Q = np.linalg.qr(RNG.normal(size=(5, 5)))[0]

SPECTRA = {
    "generic": [3.0, 1.0, 0.5, 0.2, 0.01],
    "stiff": [1e4, 1.0, 1e-2, 1e-4, 1e-8],
    "singular": [2.0, 1.0, 0.5, 0.0, 0.0],
    "rounding below zero": [2.0, 1.0, 0.5, -1e-17, -1e-16],
}


def kernel(eigenvalues):
    K = Q * np.array(eigenvalues) @ Q.T
    return (K + K.T) / 2


def flow(eigenvalues, *, test=False):
    arrays = kernel(eigenvalues), Y, *((K_TEST,) if test else ())
    return fk.KernelFlow(*(jnp.asarray(array) for array in arrays))


@pytest.mark.parametrize("eigenvalues", SPECTRA.values(), ids=SPECTRA)
def test_training_outputs_follow_the_matrix_exponential(eigenvalues):
    solution = solve_in_eigenbasis(flow(eigenvalues), jnp.asarray(U_0), TS)
    for t, found in zip(TS - TS[0], solution.states, strict=True):
        stated = Y + expm(-kernel(eigenvalues) * t) @ (U_0 - Y)
        np.testing.assert_allclose(found, stated, atol=1e-10)
    assert not solution.fired
    assert (solution.reason, solution.final_time) == ("reached the last time", 30.0)
    np.testing.assert_array_equal(solution.final, solution.states[-1])


@pytest.mark.parametrize("eigenvalues", SPECTRA.values(), ids=SPECTRA)
def test_test_outputs_are_the_integral_of_their_rate(eigenvalues):
    """f(t) = f_0 - k int_0^t e^{-K s} ds (u_0 - y), by quadrature in the eigenbasis."""
    start = (jnp.asarray(U_0), jnp.asarray(F_0))
    solution = solve_in_eigenbasis(flow(eigenvalues, test=True), start, TS)
    for t, found in zip(TS - TS[0], solution.states[1], strict=True):
        decay = lambda s: np.exp(-np.array(eigenvalues) * s)
        split = [p for p in (1e-4, 1e-2, 1.0) if p < t]
        integral = quad_vec(decay, 0, t, epsabs=1e-12, epsrel=1e-12, points=split)[0]
        stated = F_0 - K_TEST @ (Q * integral) @ Q.T @ (U_0 - Y)
        np.testing.assert_allclose(found, stated, atol=1e-9)


def test_an_integration_agrees():
    """Tsit5 at 1e-10 on the lowered derivation, test outputs included."""
    field, start = flow(SPECTRA["generic"], test=True), (jnp.asarray(U_0), jnp.asarray(F_0))
    exact = solve_in_eigenbasis(field, start, TS)
    integrated = fk.integrate(field, start, TS, solver=dfx.Tsit5(), rtol=1e-10)
    for found, stated in zip(integrated.states, exact.states, strict=True):
        np.testing.assert_allclose(found, stated, atol=1e-8)


def test_the_start_is_kept_and_any_time_is_answered():
    start = (jnp.asarray(U_0), jnp.asarray(F_0))
    solution = solve_in_eigenbasis(flow(SPECTRA["singular"], test=True), start, TS)
    for found, given in zip(solution.at(0.5), start, strict=True):
        np.testing.assert_array_equal(found, given)
    for found, saved in zip(solution.at(2.0), solution.states, strict=True):
        np.testing.assert_allclose(found, saved[2], atol=1e-15)


@pytest.mark.parametrize("value", [1.0, 1e-3, 1e-14])
def test_it_ends_where_the_train_loss_falls_to_a_value(value):
    """All eigenvalues 2: the loss is L_0 e^{-4t}, so that the time is known."""
    field, until = flow([2.0] * 5), fk.until.train_loss(value)
    solution = solve_in_eigenbasis(field, jnp.asarray(U_0), TS, until)
    stated = 0.5 + np.log(0.5 * np.sum((U_0 - Y) ** 2) / value) / 4
    assert solution.final_time == pytest.approx(stated, rel=1e-12)
    assert solution.fired
    assert solution.reason == f"train loss fell to {value:g}"
    assert float(field.loss(solution.final)) == pytest.approx(value, rel=1e-7)
    np.testing.assert_array_equal(solution.ts, TS[stated >= TS])
    assert len(solution.states) == len(solution.ts)


def test_a_loss_that_is_never_reached_ends_nothing():
    """Two null directions keep their part of the loss for ever."""
    until = fk.until.train_loss(1e-6)
    ts = np.array([0.0, 1e3])
    solution = solve_in_eigenbasis(flow(SPECTRA["singular"]), jnp.asarray(U_0), ts, until)
    assert not solution.fired
    left = 0.5 * np.sum((Q[:, 3:].T @ (U_0 - Y)) ** 2)
    assert float(flow(SPECTRA["singular"]).loss(solution.final)) == pytest.approx(left, rel=1e-10)


def test_a_loss_that_holds_at_the_start_ends_it_there():
    solution = solve_in_eigenbasis(
        flow(SPECTRA["generic"]), jnp.asarray(U_0), TS, fk.until.train_loss(1e3)
    )
    assert (solution.fired, solution.final_time, solution.ts.tolist()) == (True, 0.5, [0.5])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_the_type_of_the_state_is_kept(dtype):
    arrays = (jnp.asarray(a, dtype) for a in (kernel(SPECTRA["generic"]), Y))
    solution = solve_in_eigenbasis(fk.KernelFlow(*arrays), jnp.asarray(U_0, dtype), TS)
    assert solution.states.dtype == dtype
    stated = Y + expm(-kernel(SPECTRA["generic"]) * 29.5) @ (U_0 - Y)
    np.testing.assert_allclose(solution.final, stated, atol=200 * float(jnp.finfo(dtype).eps))


def test_what_cannot_be_solved_in_the_eigenbasis_is_refused():
    with pytest.raises(ValueError, match="`gram` must be positive semidefinite to be solved"):
        solve_in_eigenbasis(flow([1.0, 1.0, 1.0, 1.0, -0.5]), jnp.asarray(U_0), TS)
    product = fk.KernelFlow(jax.tree_util.Partial(jnp.multiply, 2.0), jnp.asarray(Y))
    with pytest.raises(ValueError, match="`field` must hold its kernels as matrices"):
        solve_in_eigenbasis(product, jnp.asarray(U_0), TS)
