"""Lowered derivations are the functions that automatic differentiation gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from sympy import Determinant, HadamardProduct, Identity, MatrixSymbol, Trace
from systems import logistic, random_factors

from flowkit import LoweringError, lower
from flowkit.lowering import lower_conserved
from flowkit.observables import end_to_end
from flowkit.symbolic import derive, end_to_end_flow, factor_flow, mode_solution
from flowkit.symbolic.gradient import expand
from flowkit.symbolic.products import share_products

ROUNDING = 1e-12  # relative; a few dozen operations in float64
SIZES = (3, 5, 2, 4, 6, 7)


def _state(factors):
    return {f"W_{j}": factor for j, factor in enumerate(factors, start=1)}


@pytest.mark.parametrize("depth", range(1, 6))
def test_lowered_factor_flow_is_minus_the_gradient(depth):
    factors = random_factors(SIZES[: depth + 1])
    target = jax.random.normal(jax.random.key(7), (SIZES[depth], SIZES[0]))
    loss = lambda product: jnp.sum(jnp.sin(product - target) ** 2)
    gradients = jax.grad(lambda W: loss(end_to_end(W)))(factors)
    G = jax.grad(loss)(end_to_end(factors))
    rates = lower(factor_flow(depth))(0.0, _state(factors), {"G": G, "unused": G})
    for rate, gradient in zip(rates.values(), gradients, strict=True):
        np.testing.assert_allclose(rate, -gradient, rtol=0, atol=ROUNDING * jnp.abs(gradient).max())


def test_a_changed_exponent_is_noticed():
    """The comparison above fails for a flow that is wrong by a factor."""
    factors = random_factors(SIZES[:3])
    G = jnp.ones((SIZES[2], SIZES[0]))
    rates = lower(factor_flow(2))(0.0, _state(factors), {"G": 2 * G})
    gradients = jax.grad(lambda W: jnp.sum(G * end_to_end(W)))(factors)
    assert not np.allclose(rates["W_1"], -gradients[0], rtol=ROUNDING)


@pytest.mark.parametrize("depth", range(2, 13))
def test_products_are_shared(depth):
    """3 N - 4 multiplications for the layer flow of N factors; written out it is N (N - 1)."""
    flow, factors = factor_flow(depth), random_factors([3] * (depth + 1))
    rates = lower(flow)
    traced = jax.make_jaxpr(lambda s, G: rates(0.0, s, {"G": G}))(_state(factors), jnp.ones((3, 3)))
    assert str(traced).count("dot_general") == 3 * depth - 4


def test_sharing_keeps_the_value():
    flow = factor_flow(5)
    assignments, rewritten = share_products(flow.rates)
    for original, shared in zip(flow.rates, rewritten, strict=True):
        for symbol, value in reversed(assignments):
            shared = shared.subs(symbol, value)
        assert isinstance(expand(shared - original), sp.ZeroMatrix)


m, n = sp.symbols("m n", integer=True, positive=True)
A, X, M = (MatrixSymbol(name, m, n) for name in "AXM")
S = MatrixSymbol("S", n, n)
y = sp.Symbol("y", real=True)
H = HadamardProduct(M, X - A)

LOSSES = {
    "squared measurement": ((Trace(A.T * X) - y) ** 2, X),
    "masked mean": (Trace(H.T * H) / (m * n), X),
    "log determinant": (sp.log(Determinant(S)) + Trace(S), S),
    "error function": (Trace(A.T * X.applyfunc(sp.erf)), X),
    "inverse": (Trace(S**-1), S),
    "power": (Trace((X.T * X) ** 3), X),
    "identity of symbolic size": (Trace((S + Identity(n)).T * (S + Identity(n))), S),
}
EXACT = {
    "squared measurement": lambda v: (jnp.trace(v["A"].T @ v["X"]) - v["y"]) ** 2,
    "masked mean": lambda v: jnp.mean((v["M"] * (v["X"] - v["A"])) ** 2),
    "log determinant": lambda v: jnp.linalg.slogdet(v["S"])[1] + jnp.trace(v["S"]),
    "error function": lambda v: jnp.sum(v["A"] * jax.scipy.special.erf(v["X"])),
    "inverse": lambda v: jnp.trace(jnp.linalg.inv(v["S"])),
    "power": lambda v: jnp.trace(jnp.linalg.matrix_power(v["X"].T @ v["X"], 3)),
    "identity of symbolic size": lambda v: jnp.sum((v["S"] + jnp.eye(4)) ** 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_lowered_gradient_flow_is_minus_the_gradient(name):
    rng = np.random.default_rng(3)
    values = {s: jnp.asarray(rng.normal(size=(3, 4))) for s in "AXM"}
    values |= {"S": jnp.asarray(rng.normal(size=(4, 4)) + 5 * np.eye(4)), "y": jnp.array(0.3)}
    loss, parameter = LOSSES[name]
    rate = lower(derive(loss, [parameter]))(0.0, values, values)[parameter.name]
    gradient = jax.grad(lambda p: EXACT[name]({**values, parameter.name: p}))(
        values[parameter.name]
    )
    np.testing.assert_allclose(rate, -gradient, rtol=1e-10, atol=1e-12)


def test_lowered_end_to_end_flow_is_the_formula_in_the_singular_basis():
    """Powers from the singular values of W, which do not square its rounding as W W^T does."""
    W, G = random_factors((4, 5)) + random_factors((4, 5), seed=9)
    rate = lower(end_to_end_flow(3))(0.0, {"W": W}, {"G": G})["W"]
    U, s, Vt = np.linalg.svd(np.asarray(W), full_matrices=False)
    left = lambda k: (U * s ** (2 * k / 3)) @ U.T if k else np.eye(5)
    right = lambda k: (Vt.T * s ** (2 * k / 3)) @ Vt if k else np.eye(4)
    stated = -sum(left(j) @ np.asarray(G) @ right(2 - j) for j in range(3))
    np.testing.assert_allclose(rate, stated, rtol=1e-10, atol=1e-10)


def test_names_of_shared_products_do_not_clash_with_the_users():
    """A user's matrix called like the first shared product keeps its value."""
    p, q = MatrixSymbol("product_0", n, n), MatrixSymbol("q", n, n)
    derivation = derive(Trace(p.T * q.T * q * p) / 2, [p, q])
    values = {"product_0": jnp.eye(2) * 3, "q": jnp.array([[1.0, 2.0], [0.0, 1.0]])}
    loss = lambda v: 0.5 * jnp.sum((v["q"] @ v["product_0"]) ** 2)
    for name, rate in lower(derivation)(0.0, values, {}).items():
        np.testing.assert_allclose(rate, -jax.grad(loss)(values)[name])


def test_two_symbols_of_one_name_are_refused():
    scalar = sp.Symbol("X", real=True)
    with pytest.raises(LoweringError, match="two symbols are named `X`"):
        lower(derive(scalar * Trace(A.T * X), [X]))


def test_a_field_may_depend_on_time():
    time = sp.Symbol("t", real=True)
    rates = lower(derive(sp.exp(-time) * y**2, [y]))
    np.testing.assert_allclose(rates(1.5, {"y": 2.0}, {})["y"], -4 * np.exp(-1.5))


def test_lowering_is_cached():
    assert lower(factor_flow(3)) is lower(factor_flow(3))


@pytest.mark.parametrize("depth", [2, 3])
def test_conserved_quantities_are_lowered(depth):
    factors = random_factors(SIZES[: depth + 1])
    laws = lower_conserved(factor_flow(depth))(_state(factors))
    for law, below, above in zip(laws, factors[:-1], factors[1:], strict=True):
        np.testing.assert_allclose(law, above.T @ above - below @ below.T, rtol=ROUNDING)


REFUSED = {
    "symbolic depth": (lambda: end_to_end_flow(sp.Symbol("N")), "N is neither state nor data"),
    "special function": (lambda: derive(Trace(A.T * X.applyfunc(sp.gamma)), [X]), "polygamma"),
    "no derivation": (lambda: 3, "Derivation"),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_lowered_is_refused_by_name(make, named):
    with pytest.raises(ValueError, match=named):
        lower(make())
    assert issubclass(LoweringError, ValueError)


def test_shapes_that_disagree_are_refused():
    rates = lower(factor_flow(2))
    with pytest.raises(ValueError, match=r"`W_2` must have shape \(d_2, 3\)"):
        rates(0.0, {"W_1": jnp.ones((3, 2)), "W_2": jnp.ones((3, 2))}, {"G": jnp.ones((3, 2))})
    with pytest.raises(ValueError, match="`state` must hold the key `W_2`"):
        rates(0.0, {"W_1": jnp.ones((3, 2))}, {"G": jnp.ones((3, 2))})


MODE_TOLERANCE = 1e-11  # relative; the time formula loses some digits near the target


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("start", [1e-3, 0.5, 1.9, 2.0, 3.0])
def test_lowered_mode_solution_has_the_right_rate(depth, start):
    """The flow's own right-hand side, by a central difference of s(t)."""
    s = lower(mode_solution(depth))
    target, t, h = 2.0, 0.4, 1e-4
    before, here, after = s(jnp.array([t - h, t, t + h]), start, target)
    rate = depth * here ** (2 - 2 / depth) * (target - here)
    np.testing.assert_allclose((after - before) / (2 * h), rate, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(s(0.0, start, target), start, rtol=MODE_TOLERANCE)
    np.testing.assert_allclose(s(1e6, start, target), target, rtol=MODE_TOLERANCE)


def test_depth_two_mode_is_the_logistic_curve():
    t = jnp.linspace(0.0, 5.0, 11)
    s = jax.jit(lower(mode_solution(2)))(t, 0.01, 1.5)
    np.testing.assert_allclose(s, logistic(t, 0.01, 1.5), rtol=ROUNDING)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("start", [0.1, 0.9, 1.0, 2.5])
def test_modes_are_differentiable_in_all_arguments(depth, start):
    s, point, h = lower(mode_solution(depth)), (0.7, start, 1.0), 1e-5
    for i in range(3):
        shifted = [tuple(x + d * h * (i == j) for j, x in enumerate(point)) for d in (1, -1)]
        difference = (s(*shifted[0]) - s(*shifted[1])) / (2 * h)
        assert float(jax.grad(s, argnums=i)(*point)) == pytest.approx(float(difference), abs=1e-8)


def test_inverted_modes_refuse_negative_times():
    with pytest.raises(Exception, match="must not be negative"):
        lower(mode_solution(3))(-1.0, 0.1, 1.0)


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize(("start", "target"), [(0.0, 1.0), (-0.1, 1.0), (0.1, 0.0)])
def test_modes_refuse_what_is_not_positive(depth, start, target):
    with pytest.raises(Exception, match="must be positive"):
        lower(mode_solution(depth))(1.0, start, target)
