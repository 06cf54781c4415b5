"""A kernel given by its products trains like its matrix, and is refused where it is no kernel."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from flowkit import KernelFlow

RNG = np.random.default_rng(0)
J, J_TEST = RNG.normal(size=(6, 9)), RNG.normal(size=(3, 9))
K, K_TEST = jnp.asarray(J @ J.T), jnp.asarray(J_TEST @ J.T)
Y = jnp.asarray(RNG.normal(size=(6, 2)))
STATE = (jnp.asarray(RNG.normal(size=(6, 2))), jnp.asarray(RNG.normal(size=(3, 2))))

OPERATORS = {
    "function": (jax.tree_util.Partial(jnp.matmul, K), jax.tree_util.Partial(jnp.matmul, K_TEST)),
    "closure": (lambda v: jnp.asarray(J) @ (jnp.asarray(J).T @ v), lambda v: K_TEST @ v),
    "Lineax": (lx.MatrixLinearOperator(K), lx.MatrixLinearOperator(K_TEST)),
    "operator and matrix": (lx.MatrixLinearOperator(K), K_TEST),
    "matrix and operator": (K, lx.MatrixLinearOperator(K_TEST)),
}


@eqx.filter_jit
def rate_and_loss(field, state):
    return field(0.0, state), field.loss(state)


@pytest.mark.parametrize(("gram", "test_gram"), OPERATORS.values(), ids=OPERATORS)
def test_an_operator_flows_like_its_matrix(gram, test_gram):
    """The matrix path lowers the derivation; the two agree to rounding."""
    dense, field = KernelFlow(K, Y, K_TEST), KernelFlow(gram, Y, test_gram)
    assert dense.is_dense
    assert not field.is_dense
    field.check(STATE)
    stated, found = rate_and_loss(dense, STATE), rate_and_loss(field, STATE)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(stated), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_training_outputs_alone_need_no_test_kernel():
    field = KernelFlow(OPERATORS["function"][0], Y)
    field.check(STATE[0])
    found, _ = rate_and_loss(field, STATE[0])
    np.testing.assert_allclose(found, -K @ (STATE[0] - Y), rtol=1e-12)


def test_no_kernel_matrix_is_formed():
    """A million points, of which the matrix would take 8 terabytes."""
    many = 1_000_000
    field = KernelFlow(lambda v: 2.0 * v, jnp.zeros((many, 1)))
    rate, loss = rate_and_loss(field, jnp.ones((many, 1)))
    assert float(rate[0, 0]) == -2.0
    assert float(loss) == many / 2


def test_a_skew_part_is_seen_at_the_stated_size():
    """One part in 10^4 is refused, one part in 10^7 is rounding of single precision."""
    skew = jnp.asarray(np.triu(np.ones((6, 6)), 1) - np.tril(np.ones((6, 6)), -1))
    size = float(jnp.abs(K).max())
    partial = lambda part: jax.tree_util.Partial(jnp.matmul, K + part * size * skew)
    with pytest.raises(ValueError, match=r"`gram` must be symmetric, but <v, K w> and <K v, w>"):
        KernelFlow(partial(1e-4), Y)
    KernelFlow(partial(1e-7), Y)


BAD = {
    "asymmetric": (jnp.asarray(np.triu(J[:, :6])).__matmul__, None, "`gram` must be symmetric"),
    "other shape": (lambda v: v[:3], None, "`gram` must keep the shape of `targets`"),
    "vector": (lambda v: v[:, 0], None, "`gram` must give a matrix of 2 columns"),
    "cannot multiply": (lambda v: jnp.eye(4) @ v, None, "`gram` must multiply a matrix of shape"),
    "not finite": (lambda v: v / 0.0, None, "`gram` must be finite, but a product"),
    "test operator": (K, lambda v: v[0], "`test_gram` must give a matrix of 2 columns"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("gram", "test_gram", "message"), BAD.values(), ids=BAD)
def test_what_is_no_kernel_is_refused_by_name(gram, test_gram, message):
    with pytest.raises(ValueError, match=message):
        KernelFlow(gram, Y, test_gram)


def test_a_field_may_be_made_under_a_transformation():
    """The values are unknown there; the rate has a derivative by what the operator holds."""

    def first_rate(scale):
        field = KernelFlow(jax.tree_util.Partial(jnp.multiply, scale), Y)
        return field(0.0, STATE[0])[0, 0]

    stated = float(Y[0, 0] - STATE[0][0, 0])
    assert float(jax.jit(jax.grad(first_rate))(jnp.array(3.0))) == pytest.approx(stated)
