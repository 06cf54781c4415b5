"""The convolutional kernels: the authors' program, its numbers, and wide random networks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels import Convolutional

ROUNDING = 1e-12  # relative; sums of some hundred terms, and arccos near 1
PUBLISHED_PROGRAM = 1e-9  # its input is rounded to float32, which another FFT may round otherwise
STANDARD_ERRORS = 4


def images(count, shape, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def plain_kernel(x, z, depth, *, readout, train_ends, size=3, first_area=1):
    """The authors' CNTK.py position by position, for any shape; returns NTK and NNGP."""
    height, width, _ = x.shape
    places = list(itertools.product(range(height), range(width)))
    pairs = list(itertools.product(places, places))
    shifts = list(itertools.product(range(-(size // 2), size // 2 + 1), repeat=2))

    def box(values):
        moved = lambda p, a: (p[0] + a[0], p[1] + a[1])
        return {
            (p, q): sum(values.get((moved(p, a), moved(q, a)), 0.0) for a in shifts)
            for p, q in pairs
        }

    def first_layer(a, b):
        products = box({(p, q): float(a[p] @ b[q]) for p, q in pairs})
        return {pair: value / first_area for pair, value in products.items()}

    def activate(sigma, xx, zz):
        k, k_dot = {}, {}
        for p, q in pairs:
            scale = np.sqrt(xx[p, p] * zz[q, q])
            rho = min(max(sigma[p, q] / scale, -1.0), 1.0)
            angle = np.pi - np.arccos(rho)
            k[p, q] = scale * (rho * angle + np.sqrt(1 - rho**2)) / (size**2 * np.pi)
            k_dot[p, q] = angle / (size**2 * np.pi)
        return k, k_dot

    xx, zz, sigma = first_layer(x, x), first_layer(z, z), first_layer(x, z)
    theta, k = {pair: train_ends * sigma[pair] for pair in pairs}, {}
    for layer in range(1, depth):
        k, k_dot = activate(sigma, xx, zz)
        theta = {pair: k_dot[pair] * theta[pair] + k[pair] for pair in pairs}
        if layer < depth - 1:
            theta, sigma = box(theta), box(k)
            xx, zz = box(activate(xx, xx, xx)[0]), box(activate(zz, zz, zz)[0])
    if not train_ends:
        theta = {pair: theta[pair] - k[pair] for pair in pairs}
    if readout == "gap":
        return np.mean(list(theta.values())), np.mean(list(k.values()))
    return sum(theta[p, p] for p in places), sum(k[p, p] for p in places)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("train_ends", [True, False])
@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_gram_agrees_with_the_authors_program(readout, train_ends, depth):
    x = images(2, (4, 3, 2))
    options = {"readout": readout, "train_ends": train_ends}
    kernel = Convolutional(depth, **options)
    expected = np.array([[plain_kernel(a, b, depth, **options) for b in x] for a in x])
    scale = ROUNDING * np.abs(expected).max()
    found = np.stack(kernel.grams(x), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=scale)


@pytest.mark.parametrize("size", [1, 5])
def test_gram_agrees_for_other_filter_sizes(size):
    x, z = images(2, (3, 4, 3))
    options = {"readout": "flatten", "train_ends": True}
    expected, _ = plain_kernel(x, z, 3, size=size, **options)
    value = Convolutional(3, filter_size=size, **options).pair(x, z)
    np.testing.assert_allclose(value, expected, rtol=ROUNDING)


def test_a_filter_area_at_the_first_layer_would_be_seen():
    x, z = images(2, (4, 3, 2))
    options = {"readout": "gap", "train_ends": False}
    wrong, _ = plain_kernel(x, z, 3, first_area=9, **options)
    assert abs(Convolutional(3, **options).pair(x, z) / wrong - 1) > 1


def test_defaults_are_the_published_kernels():
    x, z = images(2, (3, 3, 2))
    gap, flatten = Convolutional(3), Convolutional(3, readout="flatten")
    assert (gap.readout, gap.train_ends) == ("gap", False)
    assert flatten.train_ends is True
    assert gap.pair(x, z) == Convolutional(3, readout="gap", train_ends=False).pair(x, z)
    assert Convolutional(3, train_ends=True).train_ends is True


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("train_ends", [True, False])
def test_the_trace_of_identical_images_needs_no_arc_cosine(train_ends, depth):
    x = images(1, (4, 5, 3))[0]
    shifts = list(itertools.product((-1, 0, 1), repeat=2))
    moved = lambda v: [np.roll(np.pad(v, 1), shift, (0, 1))[1:-1, 1:-1] for shift in shifts]
    box = lambda v: np.sum(moved(v), axis=0)
    variance = box((x**2).sum(-1))
    theta, k = train_ends * variance, variance
    for layer in range(1, depth):  # at correlation 1 both K and K' are 1 / 9 of what comes in
        k, theta = variance / 9, theta / 9
        if layer < depth - 1:
            theta, variance = box(theta + k), box(k)
    expected = (theta + train_ends * k).sum()
    kernel = Convolutional(depth, readout="flatten", train_ends=train_ends)
    np.testing.assert_allclose(kernel.pair(x, x), expected, rtol=ROUNDING)
    np.testing.assert_allclose(kernel.pair(x, x, kind="nngp"), k.sum(), rtol=ROUNDING)


def smooth_images():
    """Four seeded 8 x 8 images with correlated pixels and channels, rounded to float32."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((4, 3, 8, 8))
    frequency = np.fft.fftfreq(8)
    radius = np.sqrt(frequency[:, None] ** 2 + frequency[None] ** 2)
    x = np.fft.ifft2(np.fft.fft2(x) / (0.03 + radius) ** 1.3).real
    x = 0.5 * x + x.mean(1, keepdims=True)
    x = x / x.std((1, 2, 3), keepdims=True) * generator.uniform(0.6, 1.4, (4, 1, 1, 1))
    x = x + generator.normal(0, 0.5, (4, 1, 1, 1))
    return x.astype(np.float32).astype(float).transpose(0, 2, 3, 1)


DEPTH_11 = {  # the authors' program in float64 on these images, pairs (0, 1) and (2, 3)
    ("gap", True): (4.374092547381809, 5.228718590533825),
    ("flatten", True): (584.5909344155255, 600.5438138299128),
    ("gap", False): (2.9166031475473106, 3.3469507835318297),
    ("flatten", False): (451.0194069394586, 440.2887922813527),
}


@pytest.mark.parametrize("options", DEPTH_11, ids=str)
def test_depth_11_gives_the_numbers_of_the_authors_program(options):
    readout, train_ends = options
    x = smooth_images()
    kernel = Convolutional(11, readout=readout, train_ends=train_ends)
    values = [kernel.pair(x[0], x[1]), kernel.pair(x[2], x[3])]
    np.testing.assert_allclose(values, DEPTH_11[options], rtol=PUBLISHED_PROGRAM)


def random_network(weights, x, readout):
    """Depth 3 in the authors' parametrization: the factor sqrt(2 / 9 width) follows the ReLU."""
    hidden = x
    for filters in weights[:2]:
        channels = filters.shape[-1]
        hidden = jax.lax.conv_general_dilated(
            hidden[None], filters, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )[0]
        hidden = jax.nn.relu(hidden) * (2 / (9 * channels)) ** 0.5
    features = hidden.mean((0, 1)) if readout == "gap" else hidden
    return jnp.vdot(weights[2], features)


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_wide_random_networks_have_these_kernels_on_average(readout):
    width, networks = 96, 200
    x, z = jnp.asarray(images(2, (3, 2, 2)))
    last = (width,) if readout == "gap" else (3, 2, width)
    shapes = ((3, 3, 2, width), (3, 3, width, width), last)

    def sample(key):
        keys = jax.random.split(key, 3)
        weights = [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]
        value_x, slope_x = jax.value_and_grad(random_network)(weights, x, readout)
        value_z, slope_z = jax.value_and_grad(random_network)(weights, z, readout)
        first, middle, last = (jnp.vdot(a, b) for a, b in zip(slope_x, slope_z, strict=True))
        return jnp.stack([first + middle + last, middle, value_x * value_z])

    samples = jax.lax.map(sample, jax.random.split(jax.random.key(0), networks))
    trained, fixed = (Convolutional(3, readout=readout, train_ends=e) for e in (True, False))
    values = [trained.pair(x, z), fixed.pair(x, z), fixed.pair(x, z, kind="nngp")]
    errors = samples.std(0) / networks**0.5
    assert jnp.all(jnp.abs(samples.mean(0) - jnp.stack(values)) < STANDARD_ERRORS * errors)
    assert jnp.all(errors[:2] < 0.05 * jnp.stack(values[:2]))  # a lost constant would be seen


def test_depth_2_without_ends_has_nothing_to_train():
    assert jnp.all(Convolutional(2).gram(images(2, (3, 3, 1))) == 0)


BAD = {
    "too shallow": (dict(depth=1), "`depth` must be an integer of at least 2, but it is `1`"),
    "boolean depth": (dict(depth=True), "`depth` must be an integer"),
    "even filter": (dict(depth=3, filter_size=2), "`filter_size` must be odd, but it is `2`"),
    "no filter": (dict(depth=3, filter_size=0), "`filter_size` must be an integer of at least 1"),
    "readout": (
        dict(depth=3, readout="max"),
        r"`readout` must be `gap`, `flatten` or a `LocalAverage`, .* `'max'`",
    ),
    "activation": (
        dict(depth=3, activation="tangent"),
        "`activation` must be one of .* `'tangent'`",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Convolutional(**arguments)
