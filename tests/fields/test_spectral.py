"""The spectral flow is the end-to-end flow in its singular basis, and goes on where that ends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from systems import completion

import flowkit as fk
from flowkit.fields.spectral import SpectralFlow
from flowkit.observables import log_abs_det
from flowkit.spectrum import Spectrum

ROUNDING = 1e-11  # of the largest rate; the gaps between singular values are about 0.3
SEPARATED = 5.0  # when the singular values are 0.5 and 1.5e-6
VALUES = np.array([1.6, 1.0, 0.7, 0.3])


def spectrum(shape, rank=4, shift=0.0):
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0][:, :rank] for n in shape)
    parts = (left, np.log(VALUES[:rank]) + shift, right)
    return Spectrum(*(jnp.asarray(part) for part in parts))


@eqx.filter_jit
def moved(flow, y):
    """The rate of the state, and that of the matrix."""
    rate = flow(0.0, y)
    return rate, jax.jvp(lambda y: y.matrix(), (y,), (rate,))[1]


CASES = [
    *(((4, 4), 4, depth) for depth in (1, 2, 3, 4)),
    *((shape, rank, 3) for shape in ((5, 4), (4, 5)) for rank in (4, 2)),
    ((5, 4), 2, 2),
    ((5, 4), 4, 1),
]


@pytest.mark.parametrize(("shape", "rank", "depth"), CASES)
def test_the_matrix_moves_as_in_the_end_to_end_flow(shape, rank, depth):
    problem, y = completion(shape), spectrum(shape, rank)
    rate, found = moved(SpectralFlow(problem, depth), y)
    stated = eqx.filter_jit(fk.EndToEndFlow(problem, depth))(0.0, y.matrix())
    np.testing.assert_allclose(found, stated, atol=ROUNDING * np.abs(stated).max())
    for vectors, turn in ((y.left, rate.left), (y.right, rate.right)):
        skew = vectors.T @ turn
        np.testing.assert_allclose(skew, -skew.T, atol=ROUNDING * np.abs(skew).max())


@pytest.mark.parametrize("depth", [2, 3])
def test_no_singular_value_is_divided_by(depth):
    """Where W is rounding beside the targets, e^-2000 and e^-40 flow alike but for the speed."""
    problem = completion((5, 4))
    flow = SpectralFlow(problem, depth)
    rates, _ = moved(flow, spectrum((5, 4), shift=-40.0))
    lower, _ = moved(flow, spectrum((5, 4), shift=-2000.0 if depth == 2 else -400.0))
    ratio = 1.0 if depth == 2 else np.exp(-360 / 3)
    for found, stated in zip(jax.tree.leaves(lower), jax.tree.leaves(rates), strict=True):
        np.testing.assert_allclose(found, ratio * stated, rtol=1e-9)


def test_the_field_has_a_derivative():
    """Reverse mode against a five-point stencil, with one singular value below the smallest."""
    flow = SpectralFlow(completion((5, 4)), 3)
    y = spectrum((5, 4))
    y = eqx.tree_at(lambda y: y.log_values, y, y.log_values.at[3].set(-1000.0))
    rng = np.random.default_rng(0)
    tangent = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), y)

    @jax.jit
    def size(y):
        rate = flow(0.0, y)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(rate))

    gradient = jax.jit(jax.grad(size))(y)
    found = sum(
        float(jnp.sum(a * b))
        for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(tangent), strict=True)
    )
    h = 1e-3
    at = lambda k: float(size(jax.tree.map(lambda a, b: a + k * h * b, y, tangent)))
    stated = (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * h)
    assert found == pytest.approx(stated, rel=1e-7)


def factors_at(problem, factors, ts):
    """The product of three factors in NumPy: dW_j/dt from the chain rule, by DOP853 to 1e-10."""
    rows, cols, values = (np.asarray(x) for x in (problem.rows, problem.cols, problem.values))
    sizes = [W.size for W in factors]

    def split(y):
        parts = np.split(y, np.cumsum(sizes)[:-1])
        return [part.reshape(W.shape) for part, W in zip(parts, factors, strict=True)]

    def rate(t, y):
        W_1, W_2, W_3 = split(y)
        G = np.zeros(problem.shape)
        G[rows, cols] = 2 * ((W_3 @ W_2 @ W_1)[rows, cols] - values) / values.size
        rates = (W_2.T @ W_3.T @ G, W_3.T @ G @ W_1.T, G @ W_1.T @ W_2.T)
        return -np.concatenate([r.ravel() for r in rates])

    start = np.concatenate([np.ravel(W) for W in factors])
    solved = solve_ivp(rate, (0, ts[-1]), start, "DOP853", t_eval=ts, rtol=1e-10, atol=1e-12)
    return [W_3 @ W_2 @ W_1 for W_1, W_2, W_3 in map(split, solved.y.T)]


@eqx.filter_jit
def runge_kutta(flow, y, time, steps):
    """The classical method of fourth order, in equal steps."""
    h = time / steps
    ahead = lambda y, rate, part: jax.tree.map(lambda a, b: a + part * h * b, y, rate)

    def step(_, y):
        first = flow(0.0, y)
        second = flow(0.0, ahead(y, first, 0.5))
        third = flow(0.0, ahead(y, second, 0.5))
        fourth = flow(0.0, ahead(y, third, 1.0))
        mean = jax.tree.map(
            lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth
        )
        return ahead(y, mean, 1.0)

    return jax.lax.fori_loop(0, steps, step, y)


def test_it_follows_the_spectrum_of_the_factors():
    """At the method's order, 4; the vectors drift from orthonormality at the same order."""
    problem, time = completion((5, 4)), 3.0
    factors = fk.initial.balanced(problem, 3, 1.0, key=jax.random.key(4))
    start, W = factors_at(problem, factors, [0.0, time])
    flow, s, errors = SpectralFlow(problem, 3), np.linalg.svd(W)[1], []
    for steps in (200, 400):
        y = runge_kutta(flow, Spectrum.of(start), time, steps)
        values = np.sort(np.exp(y.log_values))[::-1]
        drift = [V.T @ V - np.eye(V.shape[1]) for V in (y.left, y.right)]
        errors.append([np.abs(e).max() for e in (values - s, y.matrix() - W, *drift)])
    coarse, fine = np.array(errors)
    np.testing.assert_allclose(np.log2(coarse / fine), 4, atol=0.3)
    assert fine.max() < 1e-7


def exact_completion_of_ones():
    """Razin and Cohen's example at depth 2 from 1e-3 I, where W stays symmetric and positive.

    Then dW/dt = -(W G + G W), so that d(log det W)/dt = -2 tr G; with log det W as a variable,
    w_22 = (w_12^2 + det W) / w_11 needs no difference. Radau to 1e-10, until 1/2 the sum of squares
    is 1e-4.
    """

    def rate(t, y):
        a, b, log_det = y
        d = (b * b + np.exp(log_det)) / a
        g, h = 2 / 3 * (b - 1), 2 / 3 * d
        return [-2 * b * g, -(a * g + b * h + g * d), -2 * h]

    def gap(t, y):
        d = (y[1] ** 2 + np.exp(y[2])) / y[0]
        return 0.5 * (2 * (y[1] - 1) ** 2 + d**2) - 1e-4

    start = [1e-3, 0.0, 2 * np.log(1e-3)]
    solved = solve_ivp(
        rate, (0, 1e5), start, "Radau", rtol=1e-10, atol=1e-13, events=gap, dense_output=True
    )
    a, b, log_det = solved.sol(SEPARATED)
    W = np.array([[a, b], [b, (b * b + np.exp(log_det)) / a]])
    ((entry, _, log_det),) = solved.y_events[0]
    return W, solved.t_events[0][0], entry, log_det


def test_the_determinant_is_followed_far_below_the_smallest_number():
    """The unobserved entry of [[*, 1], [1, 0]] grows to 70.7 as log|det W| falls to -2525.

    The start has equal singular values: they are left to separate first. The bound of
    arXiv:2005.06398 is (1 - sqrt(2 l))^2 / sqrt(2 l) = 68.7 at l = 1e-4, half the sum of squares.
    """
    W, time, entry, log_det = exact_completion_of_ones()
    problem = fk.MatrixCompletion([0, 1, 1], [1, 0, 1], [1.0, 1.0, 0.0], (2, 2))
    with pytest.raises(ValueError, match="`y0` must have distinct singular values"):
        SpectralFlow(problem, 2).check(Spectrum.of(1e-3 * np.eye(2)))
    trajectory = fk.integrate(
        SpectralFlow(problem, 2),
        Spectrum.of(W),
        [SEPARATED, 1e8],
        until=fk.until.train_loss(1e-4 * 2 / 3),
        solver=fk.dynamics.RKC2(),
        rtol=1e-7,
    )
    y = trajectory.final
    assert trajectory.result.reason.startswith("train loss fell to 6.6")
    assert abs(float(y.matrix()[0, 0])) == pytest.approx(70.7, abs=0.5)
    assert float(y.matrix()[0, 0]) == pytest.approx(entry, rel=1e-4)
    assert float(log_abs_det(y)) == pytest.approx(log_det, rel=3e-4)
    assert trajectory.final_time == pytest.approx(time, rel=3e-4)
    assert log_det == pytest.approx(-2525, abs=1)
    for vectors in (y.left, y.right):
        assert np.abs(vectors.T @ vectors - np.eye(2)).max() < 1e-4


def changed(**parts):
    y = spectrum((5, 4))
    for name, value in parts.items():
        y = eqx.tree_at(lambda y, name=name: getattr(y, name), y, value)
    return y


BAD = {
    "matrix": (2, jnp.ones((5, 4)), "be a Spectrum"),
    "other shape": (2, spectrum((4, 5)), "be the spectrum of a matrix of shape"),
    "repeated values": (2, changed(log_values=jnp.array([0.0, 1.0, 1.0, 2.0])), "those at 1 and 2"),
    "not orthonormal": (2, changed(left=2 * spectrum((5, 4)).left), "inner products of `left`"),
    "rank at depth one": (1, spectrum((5, 4), rank=2), "full rank at depth 1"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("depth", "state", "message"), BAD.values(), ids=BAD)
def test_states_that_have_no_spectral_flow_are_refused(depth, state, message):
    with pytest.raises(ValueError, match=f"`y0` must .*{message}"):
        SpectralFlow(completion((5, 4)), depth).check(state)


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match="`depth` must be a positive integer, but it is 0"):
        SpectralFlow(completion(), 0)
