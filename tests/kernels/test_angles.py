"""Angles are exact to rounding, so Gram matrices of parallel inputs are positive semidefinite."""

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
KINKED = ["relu", "leaky_relu", "abs", sp.Max(0, sp.Symbol("x", real=True)) * 3]
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
        sine2, cosine = float(mpmath.sin(exact) ** 2), float(mpmath.cos(exact))
    one = jnp.asarray(1.0)
    moments = (4 * one, one / 4, jnp.asarray(cosine))
    found = angles.after_activation(activation, jnp.asarray(sine2), moments)
    assert abs(jnp.sqrt(found) - float(truth)) < 8 * EPSILON


@pytest.mark.parametrize("t", [1e-9, 1e-5, 0.7, 1.6, 3.0])
@pytest.mark.parametrize("activation", KINKED, ids=str)
def test_its_slopes_are_those_of_the_formula(activation, t):
    plain = lambda sine, c: sine - abs(c) * jnp.arctan2(sine, abs(c))
    c, step = np.cos(t), 1e-5

    def value(t):
        sine2, moments = jnp.sin(t) ** 2, (jnp.asarray(2.0), jnp.asarray(0.5), jnp.cos(t))
        return angles.after_activation(activation, sine2, moments)

    t, sine = jnp.asarray(t), np.sin(t)
    slopes = jax.grad(angles._excess, (0, 1))(jnp.asarray(sine**2), jnp.asarray(c))
    if t > 0.1:
        by_root, by_cosine = jax.grad(plain, (0, 1))(sine, c)
        np.testing.assert_allclose(slopes, (by_root / (2 * sine), by_cosine), rtol=1e-12)
        difference = (value(t + step) - value(t - step)) / (2 * step)
        assert abs(jax.grad(value)(t) - difference) < 1e-8  # step^2 and rounding over the step
    else:  # of t^3 / 3 by t^2, and by t of t^2 less terms of third order
        np.testing.assert_allclose(slopes[0], t / 2, rtol=1e-9)
        assert abs(jax.grad(value)(t) - 2 * t) < 2 * t**2


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
        sine2 = jnp.asarray(float(mpmath.sin(exact) ** 2))
    found = angles.after_bias(sine2, moments, jnp.asarray(weight), jnp.asarray(bias))
    assert abs(jnp.sqrt(found) - float(truth)) < 8 * EPSILON


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


@pytest.mark.parametrize("distance", [0, 1e-12])
@pytest.mark.parametrize("readout", ["gap", "flatten", LocalAverage(1)], ids=str)
def test_scaled_images_have_no_negative_eigenvalue(readout, distance):
    kernel = Convolutional(3, readout=readout, train=[1, 2, 3])
    x = copies((3, 3, 2), distance)
    assert least_eigenvalue(kernel.gram(x)) > -4 * EPSILON


@pytest.mark.slow
def test_images_nearly_parallel_are_as_stated():
    x = copies((3, 3, 2), 3e-8)
    assert least_eigenvalue(Convolutional(4, readout="flatten").gram(x)) > -1e-9


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
