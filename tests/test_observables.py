"""Observables agree with their definitions, evaluated independently."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import Observed, completion

import flowkit as fk
from flowkit.dynamics import descent, stochastic
from flowkit.dynamics.run import Run
from flowkit.observables import (
    Alignment,
    DistanceTo,
    KernelDistance,
    LossOf,
    Sharpness,
    checked_observables,
    effective_rank,
    end_to_end,
    log_abs_det,
    nuclear_norm,
    product_kernel,
    record,
    schatten_norm,
    singular_values,
)
from flowkit.spectrum import Spectrum


def random_factors(sizes, seed=1):
    """Factors W_1 .. W_N of shapes (sizes[j], sizes[j-1]) with standard normal entries."""
    rng = np.random.default_rng(seed)
    shapes = zip(sizes[1:], sizes[:-1], strict=True)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in shapes)


@eqx.filter_jit
def at(observable, state):
    return observable(state)


def test_the_product_is_taken_in_order():
    W_1, W_2, W_3 = random_factors((4, 3, 2, 5))
    np.testing.assert_allclose(end_to_end((W_1, W_2, W_3)), W_3 @ W_2 @ W_1, rtol=1e-13)
    assert end_to_end(W_1) is W_1
    np.testing.assert_allclose(end_to_end(Spectrum.of(W_1)), W_1, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_effective_rank_of_equal_singular_values_is_the_rank(rank):
    assert float(at(effective_rank, jnp.eye(4)[:, :rank])) == pytest.approx(rank)


def test_effective_rank_is_the_exponential_entropy():
    shares = np.array([0.5, 0.3, 0.2])
    entropy = -np.sum(shares * np.log(shares))
    assert float(at(effective_rank, jnp.diag(7 * jnp.asarray(shares)))) == pytest.approx(
        np.exp(entropy)
    )


def test_the_zero_matrix_has_no_rank():
    assert float(at(effective_rank, jnp.zeros((3, 2)))) == 0


def test_nuclear_norm_sums_the_singular_values():
    (W,) = random_factors((4, 6))
    assert float(at(nuclear_norm, W)) == pytest.approx(np.linalg.norm(np.asarray(W), "nuc"))
    np.testing.assert_allclose(at(singular_values, W), np.linalg.svd(W, compute_uv=False))


@pytest.mark.parametrize("p", [0.25, 0.5, 1, 2, 3.0, np.inf])
def test_schatten_norms_are_powers_of_numpys_singular_values(p):
    (W,) = random_factors((4, 6))
    s = np.linalg.svd(W, compute_uv=False)
    stated = s.max() if p == np.inf else np.sum(s**p) ** (1 / p)
    assert float(at(schatten_norm(p), W)) == pytest.approx(stated, rel=1e-12)
    assert schatten_norm(p) == schatten_norm(p)
    assert float(at(schatten_norm(p), jnp.zeros_like(W))) == 0


def test_a_schatten_norm_does_not_underflow():
    """s^p is below the smallest number where the norm is not."""
    assert float(at(schatten_norm(4), 1e-100 * jnp.eye(3))) == pytest.approx(1e-100 * 3**0.25)


@pytest.mark.parametrize("p", [0, -1.0, np.nan])
def test_schatten_norms_of_other_powers_are_refused(p):
    with pytest.raises(ValueError, match="`p` must be a positive number"):
        schatten_norm(p)


def test_the_determinant_is_followed_below_the_smallest_number():
    """Sums of logarithms; the product of the factors underflows to a matrix of zeros."""
    W_1, W_2 = random_factors((3, 3, 3))
    stated = float(jnp.linalg.slogdet(W_2 @ W_1)[1])
    assert float(at(log_abs_det, (W_1, W_2))) == pytest.approx(stated, rel=1e-12)
    assert float(at(log_abs_det, W_2 @ W_1)) == pytest.approx(stated, rel=1e-12)
    tiny = 1e-200
    assert float(at(log_abs_det, (tiny * W_1, tiny * W_2))) == pytest.approx(
        stated + 6 * np.log(tiny), rel=1e-12
    )
    deep = Spectrum(jnp.eye(2), jnp.array([1.0, -2500.0]), jnp.eye(2))
    assert float(at(log_abs_det, deep)) == -2499.0
    assert float(at(log_abs_det, Spectrum.of(jnp.diag(jnp.array([1.0, 0.0]))))) == -np.inf


def test_only_square_products_have_a_determinant():
    with pytest.raises(ValueError, match=r"square product, but its shape is \(5, 4\)"):
        at(log_abs_det, random_factors((4, 3, 5)))


def test_a_spectrum_has_the_singular_values_of_its_matrix():
    W = np.asarray(end_to_end(random_factors((4, 2, 5))))
    spectrum = Spectrum.of(W)
    assert spectrum.log_values.size == 2
    np.testing.assert_allclose(at(singular_values, spectrum), np.linalg.svd(W)[1], atol=1e-14)


def test_alignment_splits_the_gradient_in_the_singular_basis():
    problem = completion((5, 4))
    (W,) = random_factors((4, 5))
    U, _, Vt = np.linalg.svd(W, full_matrices=False)
    M = U.T @ np.asarray(problem.gradient(W)) @ Vt.T
    stated = [np.linalg.norm(np.diag(M)), np.linalg.norm(M - np.diag(np.diag(M)))]
    for state in (W, (W, jnp.eye(5)), Spectrum.of(W)):
        np.testing.assert_allclose(at(Alignment(problem), state), stated, rtol=1e-10)


def test_a_shared_singular_basis_is_aligned():
    problem = Observed(np.diag([3.0, 2.0, 1.0])).problem
    on, off = at(Alignment(problem), jnp.diag(jnp.array([0.3, 0.2, 0.1])))
    assert off < 1e-15 < 0.1 < on


def hessian_eigenvalues(loss, state):
    flat, unravel = jax.flatten_util.ravel_pytree(state)
    return np.linalg.eigvalsh(jax.jit(jax.hessian(lambda x: loss(unravel(x))))(flat))


@pytest.mark.parametrize("sizes", [(4, 3, 5), (9, 6, 8)], ids=["dense", "LOBPCG"])
def test_sharpness_is_the_largest_hessian_eigenvalue(sizes):
    """27 parameters are decomposed, 102 are iterated; the Hessian has negative eigenvalues too."""
    problem = completion((sizes[-1], sizes[0]))
    factors = random_factors(sizes)
    spectrum = hessian_eigenvalues(LossOf(problem), factors)
    assert spectrum[0] < 0
    assert float(at(Sharpness(problem), factors)) == pytest.approx(spectrum[-1], rel=1e-9)


@pytest.mark.parametrize(
    "curvatures",
    [np.r_[np.linspace(0, 1, 78), 1.3, 1.3001], -np.linspace(1, 2, 80), np.zeros(80)],
    ids=["two close", "all negative", "none"],
)
def test_sharpness_of_a_quadratic(curvatures):
    c = jnp.asarray(curvatures)
    loss = lambda y: 0.5 * jnp.sum(c * jnp.concatenate([y["a"], y["b"]]) ** 2)
    state = {"a": jnp.ones(30), "b": jnp.ones(50)}
    assert float(at(Sharpness(loss), state)) == pytest.approx(curvatures.max(), rel=1e-9)


def test_the_product_kernel_is_a_sum_of_kronecker_products():
    """sum_j (W_N..W_{j+1} (..)^T) x ((..)^T W_{j-1}..W_1) for entries taken row by row."""
    W_1, W_2, W_3 = (np.asarray(W) for W in random_factors((3, 2, 4, 3)))
    stated = np.kron(W_3 @ W_2 @ W_2.T @ W_3.T, np.eye(3))
    stated += np.kron(W_3 @ W_3.T, W_1.T @ W_1)
    stated += np.kron(np.eye(3), W_1.T @ W_2.T @ W_2 @ W_1)
    found = at(product_kernel, tuple(jnp.asarray(W) for W in (W_1, W_2, W_3)))
    np.testing.assert_allclose(found, stated, atol=1e-12 * np.abs(stated).max())


def test_kernel_distance_is_relative_and_may_forget_the_scale():
    factors = random_factors((3, 2, 3))
    K_0 = np.eye(9)
    K = np.asarray(at(product_kernel, factors))
    distance = at(KernelDistance(product_kernel, K_0), factors)
    assert float(distance) == pytest.approx(np.linalg.norm(K - K_0) / 3, rel=1e-12)
    angle = at(KernelDistance(product_kernel, 5 * K_0, up_to_scale=True), factors)
    assert float(angle) == pytest.approx(1 - np.trace(K) / (3 * np.linalg.norm(K)), rel=1e-12)
    assert abs(float(at(KernelDistance(product_kernel, 2 * K, up_to_scale=True), factors))) < 1e-14
    with pytest.raises(ValueError, match="`reference` must have the shape of the kernel"):
        KernelDistance(product_kernel, np.eye(4))(factors)


def decays():
    """Two one-layer flows of the same problem: their distance decays like e^{-2t/m}."""
    system, ts = Observed(np.array([[1.0, -2.0], [0.5, 0.25]])), np.array([0.0, 0.3, 1.0, 2.0])
    for start in (np.zeros((2, 2)), np.ones((2, 2))):
        states = jnp.asarray(np.stack([system.exact(start, t) for t in ts]))
        yield fk.Trajectory(
            ts=ts,
            states=(states,),
            final=(states[-1],),
            final_time=2.0,
            observables={},
            result=fk.Result(successful=True, reason="exact"),
            stats={},
        )


def test_the_distance_to_another_trajectory_is_taken_at_equal_times():
    here, there = decays()
    ts = here.ts
    observables = checked_observables({"distance": DistanceTo(there), "norm": nuclear_norm}, ts)
    found = record(observables, here.states, ts)
    np.testing.assert_allclose(found["distance"], 2 * np.exp(-2 * ts / 4), rtol=1e-8)
    assert found["norm"].shape == ts.shape

    entry = DistanceTo(there, of=lambda y: end_to_end(y)[0, 1])
    late = jax.tree.map(lambda leaf: leaf[2:], here.states)
    found = record({"entry": entry}, late, ts[2:])["entry"]
    np.testing.assert_allclose(found, np.exp(-2 * ts[2:] / 4), rtol=1e-12)


def test_times_that_the_reference_did_not_save_are_refused():
    here, there = decays()
    with pytest.raises(ValueError, match=r"but 0.5 is none of its 4 times from 0 to 2"):
        checked_observables({"distance": DistanceTo(there)}, np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="`distance` asks for the time"):
        record({"distance": DistanceTo(there)}, here.states)


@pytest.mark.parametrize(
    ("bad", "cause", "text"),
    [
        (lambda y: y @ jnp.ones((3, 3)), TypeError, "`bad` raises a TypeError: dot_general"),
        (lambda y: float(y[0]), jax.errors.ConcretizationTypeError, "`bad` raises"),
        (lambda y: "text", TypeError, "`bad` raises a TypeError"),
        (lambda y: None, None, "`bad` gives None"),
    ],
)
def test_an_observable_without_a_value_is_refused_before_the_solve(monkeypatch, bad, cause, text):
    def solve(*args):
        raise AssertionError("solved")

    for where, name in ((Run, "start"), (descent, "_scan"), (stochastic, "_solve")):
        monkeypatch.setattr(where, name, solve)
    loss, y0, seen = lambda y: jnp.sum(y**2), jnp.ones(2), {"good": jnp.sum, "bad": bad}
    flow = fk.ModelFlow(loss)
    noisy = fk.StochasticFlow(
        lambda y, x: jnp.sum((y - x) ** 2), fk.Minibatches(jnp.ones((4, 2)), 2, replace=True), 0.1
    )
    solves = [
        lambda: fk.integrate(flow, y0, [0.0, 1.0], observables=seen),
        lambda: fk.integrate(noisy, y0, [0.0, 1.0], observables=seen, key=jax.random.key(0)),
        lambda: fk.descend(loss, y0, optax.sgd(0.1), 2, observables=seen),
        lambda: fk.sweep(lambda n: (flow, y0), {"n": [1]}, [0.0, 1.0], observables=seen),
    ]
    for solve_one in solves:
        with pytest.raises(ValueError, match="must hold functions that give numbers") as caught:
            solve_one()
        assert text in str(caught.value)
        assert isinstance(caught.value.__cause__, cause or type(None))


@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_observable_is_refused():
    with pytest.raises(ValueError, match="`trajectory` must be a successful trajectory"):
        DistanceTo(jnp.ones(3))
    with pytest.raises(ValueError, match="`observables` must map names to functions"):
        checked_observables({"norm": 3.0})
    with pytest.raises(ValueError, match="`loss` must be a problem or a scalar function"):
        Sharpness(3.0)
    with pytest.raises(ValueError, match="`reference` must be a square matrix"):
        KernelDistance(product_kernel, np.ones(3))
    for bad in (np.zeros((2, 2)), np.ones(3), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="`matrix` must be a finite matrix that is not zero"):
            Spectrum.of(bad)
