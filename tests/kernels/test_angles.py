"""Angles are exact to rounding, so Gram matrices of parallel inputs are positive semidefinite."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp

from flowkit.kernels import Convolutional, FullyConnected, LocalAverage, angles
from flowkit.symbolic import dual
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V

EPSILON = np.finfo(float).eps
KINKED = ["relu", "leaky_relu", "abs", "step", "sign", sp.Max(0, sp.Symbol("x", real=True)) * 3]
ANGLES = [0.0, 1e-16, 1e-12, 1e-8, 1e-6, 1e-4, 0.3, 1.2, np.pi / 2, 2.0, np.pi - 1e-3]
OPPOSITE = [np.pi - 1e-8, np.pi]
SCALES = (0.1, 0.3, 0.7, 3, 7.3, 10, 77, 1e3)


def exact_kappas(activation):
    """Both expectations of unit variances as functions of the angle, by mpmath."""
    found, t = dual(activation), sp.Symbol("t", positive=True)
    place = {VAR_U: 1, VAR_V: 1, COV: sp.cos(t)}
    return [sp.lambdify(t, e.subs(place), "mpmath") for e in (found.kappa, found.kappa_dot)]


def next_angle(kappa, t):
    return mpmath.acos(mpmath.re(kappa(t) / kappa(mpmath.mpf(0))))


@pytest.mark.parametrize("t", [*ANGLES, *OPPOSITE])
@pytest.mark.parametrize("activation", KINKED, ids=str)
def test_the_angle_after_an_activation_is_that_of_its_dual(activation, t):
    with mpmath.workdps(60):
        exact = mpmath.mpf(t)
        truth = mpmath.sin(next_angle(exact_kappas(activation)[0], exact))
        cosine = mpmath.cos(exact)
        apart, cov = float(1 - abs(cosine)), float(cosine)
    found = angles.after_activation(activation, jnp.asarray(apart), jnp.asarray(cov))
    assert abs(jnp.sqrt(angles.squared_sine(found)) - float(truth)) < 8 * EPSILON


@pytest.mark.parametrize("t", [1e-9, 1e-5, 0.7, 1.6, 3.0])
@pytest.mark.parametrize("activation", KINKED, ids=str)
def test_its_slope_is_that_of_the_dual(activation, t):
    with mpmath.workdps(60):
        kappa, exact = exact_kappas(activation)[0], mpmath.mpf(t)
        size = lambda t: 1 - abs(mpmath.re(kappa(t) / kappa(mpmath.mpf(0))))
        line = lambda t: 1 - abs(mpmath.cos(t))
        truth = mpmath.diff(size, exact) / mpmath.diff(line, exact)
        apart, cov = float(line(exact)), float(mpmath.cos(exact))
    found = jax.grad(angles.after_activation, 1)(activation, jnp.asarray(apart), jnp.asarray(cov))
    assert abs(found - float(truth)) < 32 * EPSILON / min(t, 1)


@pytest.mark.parametrize("t", [1e-12, 1e-8, 1e-4, 0.4, 1.5, 2.8])
@pytest.mark.parametrize("lengths", [(1.0, 1.0), (1.3, 0.2), (1e-3, 1e3)])
@pytest.mark.parametrize("bias", [0.0, 0.3, 1e3])
def test_the_angle_after_a_bias_is_that_of_longer_vectors(t, lengths, bias):
    weight = 1.7
    with mpmath.workdps(60):
        a, b, w, beta, exact = map(mpmath.mpf, (*lengths, weight, bias, t))
        u, v = [mpmath.sqrt(w) * a, 0], [w**0.5 * b * mpmath.cos(exact), w**0.5 * b]
        v[1] *= mpmath.sin(exact)
        norm = lambda x: x[0] ** 2 + x[1] ** 2 + beta
        gap = norm(u) * norm(v) - (u[0] * v[0] + beta) ** 2
        truth = mpmath.sqrt(gap / norm(u) / norm(v))
        cov = float(a * b * mpmath.cos(exact))
        moments = tuple(jnp.asarray(float(x)) for x in (a * a, b * b, cov))
        apart = jnp.asarray(float(1 - abs(mpmath.cos(exact))))
    found = angles.after_bias(apart, moments, jnp.asarray(weight), jnp.asarray(bias))
    assert abs(jnp.sqrt(angles.squared_sine(found)) - float(truth)) < 8 * EPSILON


def copies(shape, distance, seed=0):
    """Three inputs, eight neighbours of each at a relative distance, and all in other sizes."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((3, *shape))
    near = [x + distance * generator.standard_normal(x.shape) for _ in SCALES]
    return np.concatenate([x, *near, *(s * n for s, n in zip(SCALES, near, strict=True))])


def least_eigenvalue(gram):
    """Of the kernel normalised to ones on the diagonal, in units of its size."""
    gram = np.asarray(gram, float)
    roots = np.sqrt(np.diag(gram))
    return np.linalg.eigvalsh(gram / roots / roots[:, None]).min() / len(gram)


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize("distance", [0, 1e-12, 1e-8, 1e-6, 1e-4])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize(
    ("depth", "activation", "bias"),
    [(2, "relu", 0.0), (5, "relu", 0.0), (3, "relu", 0.3), (4, "leaky_relu", 0.0), (5, "abs", 0.0)],
)
def test_parallel_inputs_have_no_negative_eigenvalue(
    depth, activation, bias, kind, distance, dtype
):
    kernel = FullyConnected(depth, activation, bias_variance=bias)
    gram = kernel.gram(copies((20,), distance).astype(dtype), kind=kind)
    assert least_eigenvalue(gram) > -4 * np.finfo(dtype).eps


@pytest.mark.parametrize("activation", ["erf", "gelu", "sin"])
def test_smooth_activations_do_not_feel_the_angle(activation):
    gram = FullyConnected(3, activation).gram(copies((20,), 1e-8))
    assert least_eigenvalue(gram) > -4 * EPSILON


IMAGES = [
    (Convolutional(4, readout="gap", train=[1, 2, 3, 4]), "ntk"),
    (Convolutional(4, readout="flatten"), "ntk"),
    (Convolutional(3, readout=LocalAverage(1), bias_variance=0.1), "nngp"),
    (Convolutional(3, "abs", readout="flatten", padding="circular"), "ntk"),
    (Convolutional(3, "leaky_relu", filter_size=(1, 3), strides={2: 2}), "ntk"),
    (Convolutional(4, "step", readout="gap"), "nngp"),
    (Convolutional(3, "sign", readout="flatten", padding="valid"), "nngp"),
]


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize("distance", [0, 1e-12, 3e-8, 1e-6, 1e-3])
@pytest.mark.parametrize(("kernel", "kind"), IMAGES[:2])
def test_parallel_images_have_no_negative_eigenvalue(kernel, kind, distance, dtype):
    gram = kernel.gram(copies((3, 3, 2), distance).astype(dtype), kind=kind)
    assert least_eigenvalue(gram) > -4 * np.finfo(dtype).eps


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("distance", [0, 1e-12, 3e-8, 1e-6, 1e-3])
@pytest.mark.parametrize(("kernel", "kind"), IMAGES[2:])
def test_nor_have_they_in_other_networks(kernel, kind, distance, dtype):
    gram = kernel.gram(copies((5, 5, 2), distance).astype(dtype), kind=kind)
    assert least_eigenvalue(gram) > -4 * np.finfo(dtype).eps


@pytest.mark.slow
def test_average_pooling_is_as_stated():
    kernel = Convolutional(4, readout="flatten", pooling={1: 3})
    scaled, near = (least_eigenvalue(kernel.gram(copies((3, 3, 2), d))) for d in (0, 3e-8))
    assert scaled > -4 * EPSILON
    assert near > -1e-9


def exact_ntk(depth, bias, x, z):
    """The recursion of the ReLU in mpmath."""
    dot = lambda a, b: mpmath.fsum(p * q for p, q in zip(a, b, strict=True))
    var_x, var_z, sigma = (dot(*pair) + bias for pair in ((x, x), (z, z), (x, z)))
    theta = sigma
    for _ in range(depth - 1):
        root = mpmath.sqrt(var_x * var_z)
        t = mpmath.acos(sigma / root)
        sigma = root * (mpmath.sin(t) + (mpmath.pi - t) * mpmath.cos(t)) / mpmath.pi + bias
        theta = theta * (1 - t / mpmath.pi) + sigma
        var_x, var_z = var_x + bias, var_z + bias
    return theta


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("distance", [1e-13, 1e-10, 1e-8, 1e-6, 1e-4, 1e-1])
def test_kernels_of_nearly_parallel_inputs_and_their_slopes_are_exact(distance, bias):
    generator = np.random.default_rng(1)
    x, d, direction = generator.standard_normal((3, 6))
    z = 3 * (x + distance * d)
    kernel = FullyConnected(4, weight_variance=2.0, bias_variance=bias)
    found, slope = jax.value_and_grad(lambda z: kernel.pair(x, z))(jnp.asarray(z))
    with mpmath.workdps(60):
        exact = lambda a: [mpmath.mpf(float(value)) for value in a]
        beta, toward = mpmath.mpf(bias), exact(direction)
        along = lambda s: exact_ntk(
            4, beta, exact(x), [p + s * q for p, q in zip(exact(z), toward, strict=True)]
        )
        truth, rate = along(0), mpmath.diff(along, 0, h=mpmath.mpf("1e-25"))
        assert abs(float(found) / truth - 1) < 32 * EPSILON
        # the direction of an angle of size t is known up to eps / t
        assert abs(float(slope @ direction) - rate) < (1e-13 + EPSILON / distance) * 20 * abs(x @ x)


def exact_cntk(depth, x, z):
    """CNTK-GAP of the ReLU with all layers trained, in mpmath."""
    side = range(len(x))
    places = list(itertools.product(side, side))
    shifts = list(itertools.product((-1, 0, 1), repeat=2))

    def box(values):
        moved = lambda p, a: (p[0] + a[0], p[1] + a[1])
        at = lambda p, q: values.get((p, q), 0)
        return {
            (p, q): mpmath.fsum(at(moved(p, a), moved(q, a)) for a in shifts)
            for p, q in itertools.product(places, places)
        }

    def moments(sigma, own_x, own_z):
        kappa, kappa_dot = {}, {}
        for p, q in sigma:
            root = mpmath.sqrt(own_x[p, p] * own_z[q, q])
            t = mpmath.acos(min(sigma[p, q] / root, mpmath.mpf(1)))
            kappa[p, q] = root * (mpmath.sin(t) + (mpmath.pi - t) * mpmath.cos(t)) / mpmath.pi / 9
            kappa_dot[p, q] = (1 - t / mpmath.pi) / 9
        return kappa, kappa_dot

    dot = lambda a, b: mpmath.fsum(u * v for u, v in zip(a, b, strict=True))
    products = lambda a, b: {
        (p, q): dot(a[p[0]][p[1]], b[q[0]][q[1]]) for p, q in itertools.product(places, places)
    }
    sigma, own_x, own_z = (box(products(a, b)) for a, b in ((x, z), (x, x), (z, z)))
    theta = sigma
    for layer in range(1, depth):
        kappa, kappa_dot = moments(sigma, own_x, own_z)
        theta = {pair: kappa_dot[pair] * theta[pair] + kappa[pair] for pair in sigma}
        if layer < depth - 1:
            own_x, own_z = (box(moments(own, own, own)[0]) for own in (own_x, own_z))
            sigma, theta = box(kappa), box(theta)
    return mpmath.fsum(theta.values()) / len(places) ** 2


@pytest.mark.parametrize(
    "distance",
    [pytest.param(d, marks=pytest.mark.slow) for d in (1e-13, 1e-10, 1e-6)] + [3e-8, 1e-2],
)
def test_kernels_of_nearly_parallel_images_and_their_slopes_are_exact(distance):
    x, d, direction = np.random.default_rng(1).standard_normal((3, 2, 2, 2))
    z = 3 * (x + distance * d)
    kernel = Convolutional(4, train=[1, 2, 3, 4])
    found, slope = jax.value_and_grad(lambda z: kernel.pair(x, z))(jnp.asarray(z))
    with mpmath.workdps(40):
        exact = np.vectorize(mpmath.mpf, otypes=[object])
        along = lambda s: exact_cntk(4, exact(x), exact(z) + s * exact(direction))
        truth, rate = along(0), mpmath.diff(along, 0, h=mpmath.mpf("1e-20"))
        assert abs(float(found) / truth - 1) < 32 * EPSILON
        bound = (1e-13 + EPSILON / distance) * 20 * float(truth)
        assert abs(float(jnp.vdot(slope, direction)) - rate) < bound
