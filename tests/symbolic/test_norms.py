"""Norms are what the singular values say, and so are their gradients, at every rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import MatrixSymbol, Trace

from flowkit import LoweringError, lower
from flowkit.lowering import lower_expression
from flowkit.lowering.powers import symmetric_power
from flowkit.symbolic import (
    UnsupportedExpressionError,
    derive,
    entry_sum,
    frobenius_norm,
    nuclear_norm,
    schatten_norm,
    squared_norm,
)

ROUNDING = 1e-12  # relative; an eigendecomposition of well-separated eigenvalues
SQUARED = 1e-7  # singular values from X^T X are off by the root of rounding where X loses rank

m, n = sp.symbols("m n", integer=True, positive=True)
X, S = MatrixSymbol("X", m, n), MatrixSymbol("S", n, n)

NORMS = {
    "squared": (squared_norm, lambda s: np.sum(s**2), lambda s: 2 * s),
    "Frobenius": (frobenius_norm, lambda s: np.sum(s**2) ** 0.5, lambda s: s / np.sum(s**2) ** 0.5),
    "nuclear": (nuclear_norm, np.sum, np.ones_like),
    "p = 3": (
        lambda x: schatten_norm(x, 3),
        lambda s: np.sum(s**3) ** (1 / 3),
        lambda s: np.sum(s**3) ** (-2 / 3) * s**2,
    ),
    "p = 1/2": (
        lambda x: schatten_norm(x, sp.Rational(1, 2)),
        lambda s: np.sum(s**0.5) ** 2,
        lambda s: np.sum(s**0.5) * s**-0.5,
    ),
}
SHAPES = {"square": (3, 3), "tall": (4, 2), "wide": (2, 4)}


def matrix(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) + 2 * np.eye(*shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("norm", "value", "slope"), NORMS.values(), ids=NORMS)
def test_norms_and_gradients_are_those_of_the_singular_values(norm, value, slope, shape):
    """The gradient of f(s) is U diag(f') V^T; a wide matrix has a singular X^T X."""
    array = matrix(shape)
    U, s, Vt = np.linalg.svd(array, full_matrices=False)
    loss = norm(X)
    np.testing.assert_allclose(lower_expression(loss, (X,))(array), value(s), rtol=ROUNDING)
    rate = lower(derive(loss, [X]))(0.0, {"X": array}, {})["X"]
    np.testing.assert_allclose(rate, -(U * slope(s)) @ Vt, rtol=0, atol=ROUNDING)


def test_the_known_smaller_gram_matrix_is_chosen():
    assert nuclear_norm(MatrixSymbol("W", 2, 5)).arg.base.shape == (2, 2)
    assert nuclear_norm(MatrixSymbol("W", 5, 2)).arg.base.shape == (2, 2)


def test_the_nuclear_norm_has_a_gradient_at_low_rank():
    u, v = matrix((4, 1), 1), matrix((3, 1), 2)
    rate = lower(derive(nuclear_norm(X), [X]))(0.0, {"X": u @ v.T}, {})["X"]
    stated = -(u @ v.T) / np.linalg.norm(u) / np.linalg.norm(v)
    np.testing.assert_allclose(rate, stated, atol=SQUARED)


def test_a_wrong_exponent_is_noticed():
    array = matrix((3, 3))
    wrong = derive(schatten_norm(X, 2), [X])
    rate = lower(wrong)(0.0, {"X": array}, {})["X"]
    U, _, Vt = np.linalg.svd(array)
    assert not np.allclose(rate, -U @ Vt, rtol=1e-3)


def test_entries_are_summed():
    array = matrix((3, 4))
    np.testing.assert_allclose(lower_expression(entry_sum(X), (X,))(array), array.sum())
    (rate,) = derive(entry_sum(X), [X]).rates
    assert sp.simplify(rate + sp.OneMatrix(m, n)) == sp.ZeroMatrix(m, n)


def test_a_norm_of_an_expression_is_differentiated_through():
    A = MatrixSymbol("A", n, m)
    claims = derive(nuclear_norm(A * X - sp.Identity(n)), [A, X]).claims
    verdicts = [claim.check() for claim in claims]
    assert all(verdict.passed and verdict.kind == "measured" for verdict in verdicts)


def test_the_witness_of_a_norm_can_fail(monkeypatch):
    from flowkit.symbolic.gradient import gradient

    wrong = lambda loss, parameters: {p: 2 * g for p, g in gradient(loss, parameters).items()}
    monkeypatch.setattr("flowkit.symbolic.derivation.gradient", wrong)
    (claim,) = derive(nuclear_norm(X), [X]).claims
    assert not claim.check().passed


@pytest.mark.parametrize("p", [0, -1, sp.Symbol("p"), sp.I])
def test_schatten_norms_need_a_positive_exponent(p):
    with pytest.raises(ValueError, match="`p` must be positive"):
        schatten_norm(X, p)


@pytest.mark.parametrize("norm", [norm for norm, *_ in NORMS.values()], ids=NORMS)
@pytest.mark.usefixtures("as_a_user")
def test_norms_need_a_matrix(norm):
    with pytest.raises(ValueError, match="`X` must be a matrix expression"):
        norm(sp.Symbol("x"))


def test_real_powers_need_a_base_that_is_semidefinite_by_its_form():
    root = Trace(sp.MatPow(S + S.T, sp.S.Half))
    with pytest.raises(UnsupportedExpressionError, match="MatPow"):
        derive(root, [S])
    with pytest.raises(LoweringError, match="semidefinite by its form"):
        lower_expression(root, (S,))


EIGENVALUES = {
    "distinct": (0.5, 1.0, 3.0),
    "coincident": (1.0, 1.0, 3.0),
    "nearly coincident": (1.0, 1.0 + 1e-9, 3.0),
}


@pytest.mark.parametrize("exponent", [-1.5, -0.5, 1 / 3, 1.0, 2.5])
@pytest.mark.parametrize("eigenvalues", EIGENVALUES.values(), ids=EIGENVALUES)
def test_derivatives_of_powers_exist_where_eigenvalues_coincide(eigenvalues, exponent):
    """Against central differences, whose step of 1e-5 leaves an error of 1e-9."""
    Q, _ = np.linalg.qr(matrix((3, 3), 3))
    base, direction = Q @ np.diag(eigenvalues) @ Q.T, matrix((3, 3), 4)
    direction, step = direction + direction.T, 1e-5
    power = lambda t: symmetric_power(jnp.asarray(base + t * direction), exponent)
    _, slope = jax.jvp(lambda t: symmetric_power(base + t * direction, exponent), (0.0,), (1.0,))
    difference = (power(step) - power(-step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, atol=1e-7)


def test_powers_are_differentiable_by_the_exponent():
    base = jnp.diag(jnp.array([0.0, 1.0, 2.0]))
    slope = jax.jacfwd(lambda p: symmetric_power(base, p))(1.5)
    np.testing.assert_allclose(jnp.diag(slope), [0, 0, 2**1.5 * np.log(2)], atol=ROUNDING)


def test_negative_powers_act_on_the_range():
    u = matrix((4, 2), 5)
    inverse = symmetric_power(jnp.asarray(u @ u.T), -1.0)
    np.testing.assert_allclose(inverse, np.linalg.pinv(u @ u.T), atol=SQUARED)
