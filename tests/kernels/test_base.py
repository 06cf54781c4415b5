"""The base class: checks, symmetry, batches, and one compilation per shape."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import AbstractPairKernel, Convolutional, FullyConnected

ROUNDING = 1e-13  # relative; the same sums in another order
ROUNDING_IN_SINGLE = 1e-4  # of equal inputs: angles near zero have half of the digits

KERNELS = {
    "fully connected": (lambda: FullyConnected(3), (5,)),
    "one layer": (lambda: FullyConnected(1), (5,)),
    "gap": (lambda: Convolutional(3), (3, 2, 2)),
    "flatten": (lambda: Convolutional(3, readout="flatten"), (3, 2, 2)),
}
every_kernel = pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(*case, id=name, marks=pytest.mark.slow if name == "flatten" else ())
        for name, case in KERNELS.items()
    ],
)
every_kind = pytest.mark.parametrize("kind", ["ntk", "nngp"])
COUNT = 6  # wherever the number of inputs is free: one compilation serves several tests


def inputs(count, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


@every_kernel
@every_kind
def test_gram_holds_the_values_of_pairs(make, shape, kind):
    kernel, x, z = make(), inputs(3, shape), inputs(2, shape, seed=1)
    expected = [[kernel.pair(a, b, kind=kind) for b in z] for a in x]
    gram = kernel.gram(x, z, kind=kind)
    assert gram.shape == (3, 2)
    np.testing.assert_allclose(gram, expected, rtol=ROUNDING)


@every_kernel
@every_kind
def test_gram_of_one_set_is_exactly_symmetric_and_positive(make, shape, kind):
    kernel, x = make(), inputs(COUNT, shape)
    gram = kernel.gram(x, kind=kind)
    assert jnp.array_equal(gram, gram.T)
    both_ways = kernel.gram(x, x, kind=kind)  # of K(x, z) and of K(z, x)
    np.testing.assert_allclose(gram, both_ways, rtol=ROUNDING)
    np.testing.assert_allclose(kernel.diagonal(x, kind=kind), jnp.diag(gram), rtol=ROUNDING)
    assert jnp.linalg.eigvalsh(gram).min() > -ROUNDING * gram.max()


@every_kernel
def test_gram_is_unchanged_by_a_batch_that_splits_it(make, shape, monkeypatch):
    kernel, x = make(), inputs(COUNT, shape)
    whole = kernel.gram(x)
    monkeypatch.setattr("flowkit.kernels.base._ENTRIES_AT_ONCE", 4 * kernel._pair_entries(shape))
    single = kernel.gram(x.astype(np.float32))  # compiles anew
    np.testing.assert_allclose(single, whole, rtol=ROUNDING_IN_SINGLE)


@every_kernel
def test_zero_inputs_give_zero(make, shape):
    kernel, x = make(), inputs(COUNT, shape)
    x[0] = 0
    assert jnp.all(kernel.gram(x)[0] == 0)
    assert jnp.isfinite(jax.grad(lambda x: kernel.gram(x).sum())(jnp.asarray(x[:2]))).all()


@every_kernel  # that of the NNGP is compared with differences below
def test_ntk_gradient_at_identical_inputs_is_finite(make, shape):
    kernel, x = make(), jnp.asarray(inputs(1, shape)[0])
    assert jnp.isfinite(jax.grad(kernel.pair)(x, x)).all()


@every_kernel
def test_nngp_gradient_matches_differences_on_and_off_the_diagonal(make, shape):
    kernel, step = make(), 1e-5
    x, z, direction = (jnp.asarray(a) for a in inputs(3, shape))
    value = lambda a, b: kernel.pair(a, b, kind="nngp")
    for other in (x, z):
        slope = jnp.vdot(jax.grad(value)(x, other), direction)
        ahead, behind = value(x + step * direction, other), value(x - step * direction, other)
        assert abs(slope - (ahead - behind) / (2 * step)) < 1e-7 * abs(
            value(x, x)
        )  # step^2, eps/step


def test_integers_count_as_floats_and_the_dtype_is_kept():
    kernel, x = FullyConnected(2), inputs(3, (4,))
    assert kernel.gram(x.astype(np.float32)).dtype == np.float32
    assert kernel.gram(np.eye(3, dtype=int)).dtype == np.float64


TRACES: list[tuple[int, ...]] = []


@final
class Linear(AbstractPairKernel):
    """A kernel that notes when it is traced."""

    axes: ClassVar[tuple[str, ...]] = ("features",)
    scale: float = eqx.field(static=True)

    def _pair(self, x, z):
        TRACES.append(x.shape)
        value = self.scale * jnp.vdot(x, z)
        return value, 2 * value

    def _pair_entries(self, shape):
        return max(shape)


def test_gram_is_compiled_once_for_a_kernel_and_a_shape():
    TRACES.clear()
    x = inputs(4, (3,))
    first = Linear(2.0).gram(x)
    count = len(TRACES)
    assert count >= 1
    second = Linear(2.0).gram(2 * x)
    assert len(TRACES) == count
    np.testing.assert_allclose(second, 4 * first, rtol=ROUNDING)
    Linear(3.0).gram(x)
    assert len(TRACES) > count


def test_kind_picks_the_second_value():
    x = inputs(4, (3,))
    np.testing.assert_allclose(Linear(2.0).gram(x, kind="nngp"), 4 * x @ x.T, rtol=ROUNDING)


FLAT, IMAGES = np.ones((2, 3)), np.ones((2, 4, 3, 1))
BAD = {
    "rank": (FullyConnected(2), (np.ones(3),), r"`x` must be a .* inputs x features, .* \(3,\)"),
    "image rank": (Convolutional(2), (FLAT,), r"`x` must be .* inputs x height x width x channels"),
    "empty": (FullyConnected(2), (np.ones((0, 3)),), r"`x` must be a non-empty .* \(0, 3\)"),
    "no features": (FullyConnected(2), (np.ones((3, 0)),), "`x` must be a non-empty"),
    "features": (FullyConnected(2), (FLAT, np.ones((2, 4))), "`z` must agree with `x` in features"),
    "channels": (Convolutional(2), (IMAGES, np.ones((2, 4, 3, 2))), "`z` must agree with `x` in"),
    "size": (Convolutional(2), (IMAGES, np.ones((2, 3, 4, 1))), "`z` must agree with `x` in"),
    "nan": (FullyConnected(2), (np.full((2, 3), np.nan),), "`x` must be finite"),
    "infinity": (FullyConnected(2), (FLAT, np.full((2, 3), np.inf)), "`z` must be finite"),
    "complex": (FullyConnected(2), (FLAT * 1j,), "`x` must be real, but it has dtype complex128"),
    "dtype": (FullyConnected(2), (FLAT, FLAT.astype(np.float32)), "`z` must have the dtype of `x`"),
}


@pytest.mark.parametrize(("kernel", "arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_inputs_are_refused(kernel, arguments, message):
    with pytest.raises(ValueError, match=message):
        kernel.gram(*arguments)


def test_bad_inputs_are_refused_by_every_entry():
    kernel = FullyConnected(2)
    with pytest.raises(ValueError, match="`x` must be a non-empty array of features"):
        kernel.pair(FLAT, FLAT)
    with pytest.raises(ValueError, match="`z` must agree"):
        kernel.pair(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="`x` must be a non-empty array of inputs x features"):
        kernel.diagonal(np.ones(3))


def test_nan_under_jit_is_refused_at_run_time():
    with pytest.raises(RuntimeError, match="`x` must be finite"):
        jax.jit(FullyConnected(2).gram)(np.full((2, 3), np.nan)).block_until_ready()


@pytest.mark.parametrize("method", ["gram", "diagonal"])
def test_unknown_kind_is_refused(method):
    with pytest.raises(ValueError, match="`kind` must be `ntk` or `nngp`, but it is `'cntk'`"):
        getattr(FullyConnected(2), method)(FLAT, kind="cntk")
