"""The end-to-end flow has its own derivative, also where that of an SVD does not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import Observed, completion

import flowkit as fk
from flowkit.fields.product import weighted_gradient

DEPTHS = (1, 2, 3, 4)
STEP = 1e-3
STENCIL = np.array([1.0, -8.0, 8.0, -1.0]) / (12 * STEP)  # error STEP^4 f'''''/30 and rounding/STEP
STENCIL_ERROR = 1e-8  # of the derivative's size
Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
P = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]


def matrix(values, shape=(4, 4)):
    """A matrix of given singular values, in bases that are not the unit vectors."""
    left, right = (Q if size == 4 else P for size in shape)
    return left[:, : len(values)] * np.array(values) @ right[:, : len(values)].T


FULL_RANK = {
    "generic": matrix([2.0, 1.1, 0.6, 0.3]),
    "negative determinant": matrix([2.0, 1.1, 0.6, -0.3]),
    "all repeated": matrix([0.7] * 4),
    "two repeated": matrix([1.5, 0.8, 0.8, 0.4]),
    "wide": matrix([1.5, 0.8, 0.8, 0.4], (4, 5)),
    "tall": matrix([1.5, 0.9, 0.8, 0.4], (5, 4)),
}
LACKS_RANK = {
    "square": ((4, 4), 2),
    "tall": ((5, 4), 3),
    "wide": ((4, 5), 1),
}


def noise(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


@jax.jit
def field(depth, W, G):
    """Every depth in one compilation per shape."""
    branches = [lambda W, G, N=N: weighted_gradient(N, W, G) for N in DEPTHS]
    return jax.lax.switch(depth - 1, branches, W, G)


@jax.jit
def derivative(depth, W, G, W_dot, G_dot):
    return jax.jvp(lambda W, G: field(depth, W, G), (W, G), (W_dot, G_dot))[1]


@jax.jit
def pullback(depth, W, G, cotangent):
    return jax.vjp(lambda W, G: field(depth, W, G), W, G)[1](cotangent)


def along(depth, curve, G, G_dot):
    """The derivative along a curve of matrices, by a five-point stencil."""
    points = [STEP * k for k in (-2, -1, 1, 2)]
    values = [field(depth, curve(h), G + h * G_dot) for h in points]
    return sum(c * np.asarray(v) for c, v in zip(STENCIL, values, strict=True))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("W", FULL_RANK.values(), ids=FULL_RANK)
def test_the_derivative_is_that_of_finite_differences(W, depth):
    G, W_dot, G_dot = (noise(seed, W.shape) for seed in range(3))
    stated = along(depth, lambda h: W + h * W_dot, G, G_dot)
    found = derivative(depth, W, G, W_dot, G_dot)
    np.testing.assert_allclose(found, stated, atol=STENCIL_ERROR * np.abs(stated).max())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("shape", "rank"), LACKS_RANK.values(), ids=LACKS_RANK)
def test_the_derivative_along_matrices_of_equal_rank(shape, rank, depth):
    L, R = noise(3, (shape[0], rank)), noise(4, (rank, shape[1]))
    L_dot, R_dot = noise(5, L.shape), noise(6, R.shape)
    G, G_dot = noise(7, shape), noise(8, shape)
    stated = along(depth, lambda h: (L + h * L_dot) @ (R + h * R_dot), G, G_dot)
    found = derivative(depth, L @ R, G, L_dot @ R + L @ R_dot, G_dot)
    np.testing.assert_allclose(found, stated, atol=STENCIL_ERROR * np.abs(stated).max())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("W", [*FULL_RANK.values(), np.zeros((4, 4)), matrix([1.0, 1.0])])
def test_reverse_mode_is_the_transpose_and_is_finite(W, depth):
    G, W_dot, G_dot, cotangent = (noise(seed, W.shape) for seed in range(4))
    found = derivative(depth, W, G, W_dot, G_dot)
    W_bar, G_bar = pullback(depth, W, G, cotangent)
    forward = float(jnp.sum(cotangent * found))
    reverse = float(jnp.sum(W_bar * W_dot) + jnp.sum(G_bar * G_dot))
    assert forward == pytest.approx(reverse, rel=1e-11)
    assert np.isfinite(found).all()


def test_an_svd_without_the_rule_has_no_derivative():
    """What the rule is for: the plain formula is not a number at repeated singular values."""

    def plain(W, G):
        U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
        weights = s[:, None] + s[None, :]
        return U @ (weights * (U.T @ G @ Vt.T)) @ Vt

    G, W_dot = noise(0, (4, 4)), noise(1, (4, 4))
    W = jnp.asarray(np.diag([1.0, 1.0, 0.5, 0.25]))
    np.testing.assert_allclose(plain(W, G), field(2, W, G), rtol=1e-12, atol=1e-13)
    assert np.isnan(jax.jvp(lambda W: plain(W, G), (W,), (W_dot,))[1]).any()


def test_a_singular_value_changes_its_sign_at_depth_one():
    """W(t) = Y + (W(0) - Y) e^{-2t/m} passes det W = 0; the flow does not notice."""
    system = Observed(np.diag([1.0, -1.0]))
    start = jnp.eye(2) * 0.5
    flow = fk.EndToEndFlow(system.problem, 1)
    trajectory = fk.integrate(flow, start, [0.0, 0.5, 4.0], rtol=1e-10)
    determinants = np.linalg.det(trajectory.states)
    assert determinants[0] > 0 > determinants[-1]
    for t in (0.5, 4.0):
        np.testing.assert_allclose(trajectory.at(t), system.exact(start, t), atol=1e-9)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_gradient_of_a_short_flow_is_that_of_finite_differences(depth):
    """Four Euler steps from a multiple of the identity, in reverse mode."""
    problem = completion((4, 4))
    flow = fk.EndToEndFlow(problem, depth)

    @jax.jit
    def loss_after(W):
        for _ in range(4):
            W = W + 0.1 * flow(0.0, W)
        return flow.loss(W)

    W, W_dot = 0.5 * jnp.eye(4), jnp.asarray(noise(2, (4, 4)))
    points = [loss_after(W + h * W_dot) for h in STEP * np.array([-2.0, -1.0, 1.0, 2.0])]
    found = float(jnp.sum(jax.jit(jax.grad(loss_after))(W) * W_dot))
    assert found == pytest.approx(float(STENCIL @ np.array(points)), rel=1e-9)
