"""The kernel of a GPU's warps: interpreted, next to the tiles of the cores; lowered for CUDA."""

import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from flowkit.kernels import Convolutional, LocalAverage
from flowkit.kernels.checks import KINDS
from flowkit.kernels.tiles import eligibility, probing, registration, tiled_gram, tiled_pairs
from flowkit.kernels.tiles.gram import block_of

WIDE = dict(filter_size=(11, 7), train_ends=True)
NETWORKS = {
    "gap": dict(depth=4),
    "flatten, all layers trained": dict(depth=3, readout="flatten", train_ends=True),
    "depth 2": dict(depth=2, train_ends=True),
    "local averages": dict(depth=3, readout=LocalAverage(1)),
    "circular": dict(depth=3, readout=LocalAverage(2), padding="circular"),
    "5 x 3": dict(depth=3, filter_size=(5, 3)),
    "filters beyond the image": dict(depth=2, **WIDE),
    "filters beyond the image, circular": dict(depth=2, padding="circular", **WIDE),
    "biases, some layers": dict(depth=5, bias_variance=0.2, train=[2, 4], train_biases=[1, 5]),
    "leaky": dict(depth=3, activation="leaky_relu"),
    "absolute": dict(depth=3, activation="abs", bias_variance=0.1),
    "erf": dict(depth=3, activation="erf", bias_variance=0.1),
    "gelu": dict(depth=3, activation="gelu"),
}
QUICK = ("biases, some layers",)


def images(count, seed=0, shape=(5, 4, 2)):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def cpu():
    return jax.devices("cpu")[0]


def cases():
    slow = lambda name: () if name in QUICK else (pytest.mark.slow,)
    return [pytest.param(value, marks=slow(name), id=name) for name, value in NETWORKS.items()]


@pytest.mark.parametrize("options", cases())
def test_warps_agree_with_the_cores(options):
    kernel, x, z = Convolutional(**options), images(2), images(9, seed=1)
    expected = tiled_gram(kernel, x, z, kind="both")
    assert error(tiled_gram(kernel, x, z, kind="both", device=cpu()), expected) < 1e-13


@pytest.mark.parametrize("name", ["gap", pytest.param("gelu", marks=pytest.mark.slow)])
def test_single_precision_is_near(name):
    kernel, x = Convolutional(**NETWORKS[name]), images(7)
    found = tiled_gram(kernel, x.astype("float32"), kind="both", device=cpu())
    assert found.dtype == np.float32
    assert error(found, tiled_gram(kernel, x, kind="both")) < 5e-7


def error(found, expected):
    """Relative to the largest entry of each kind."""
    return np.max(np.abs(found - expected) / np.abs(expected).max(axis=(1, 2), keepdims=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone_and_pairs_agree_too(kind):
    kernel, x = Convolutional(3), images(9)
    expected = tiled_gram(kernel, x, kind=kind)
    np.testing.assert_allclose(tiled_gram(kernel, x, kind=kind, device=cpu()), expected, rtol=1e-13)
    pairs = tiled_pairs(kernel, x, x[::-1], kind=kind, device=cpu())
    np.testing.assert_allclose(pairs, np.diag(expected[:, ::-1]), rtol=1e-13)


@pytest.mark.slow
def test_equal_near_and_empty_images_are_resolved_in_float32():
    x = images(3, shape=(6, 6, 1))
    near = x[:1] * (1 + 1e-4 * images(1, seed=2, shape=(6, 6, 1)))
    x = np.concatenate([x, x[:1], 3 * x[:1], near, 0 * x[:1]]).astype("float32")
    expected = tiled_gram(Convolutional(6), x.astype(float))
    found = tiled_gram(Convolutional(6), x, device=cpu())
    np.testing.assert_allclose(found, expected, rtol=5e-7, atol=1e-30)


LOWERED = {
    "gap": (dict(depth=11), (32, 32, 3)),
    "small images": (dict(depth=5, padding="circular"), (8, 8, 1)),
    "sides that are no powers of two": (dict(depth=5, filter_size=(5, 3)), (28, 20, 1)),
    "gelu": (dict(depth=3, activation="gelu"), (32, 32, 3)),
}


@pytest.mark.parametrize(("options", "shape"), LOWERED.values(), ids=LOWERED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_lowers_for_cuda_without_a_gpu(options, shape, dtype):
    block, _ = block_of(Convolutional(**options), shape, dtype, cpu(), tangent=True)
    program = eligibility.lowered(replace(block, interpreted=False), shape, rows=4, lanes=8)
    assert "xla.gpu.triton" in program
    assert "shfl.sync.idx.b32" in program


CUDA = "PJRT C API\ncuda 13000"
X = sp.Symbol("x", real=True)
REFUSED = {
    "large images": (dict(), (64, 32, 3), CUDA, "64 x 32"),
    "another maker": (dict(), (32, 32, 3), "PJRT C API\nrocm 60300", "rocm"),
    "quadrature": (dict(activation="tanh"), (32, 32, 3), CUDA, "moments of tanh"),
    "mixed types": (dict(activation=X + sp.erf(X)), (8, 8, 1), CUDA, "cannot lower the moments"),
}


@pytest.mark.parametrize(("options", "shape", "platform", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_warps_cannot_do_has_a_reason(options, shape, platform, reason):
    found = eligibility.why_not_warps(Convolutional(3, **options), shape, "float32", platform)
    assert reason in found


def test_the_published_kernel_has_no_reason_against_it():
    for dtype in ("float32", "float64"):
        assert eligibility.why_not_warps(Convolutional(11), (32, 32, 3), dtype, CUDA) is None


def test_without_pallas_for_triton_that_is_the_reason(monkeypatch):
    monkeypatch.setattr(eligibility, "triton", None)
    found = eligibility.why_not_warps(Convolutional(11), (32, 32, 3), "float32", CUDA)
    assert "Pallas" in found


def test_a_refused_kernel_takes_the_general_path_and_says_why(monkeypatch, caplog, taken):
    """On a CPU that passes for a GPU."""
    monkeypatch.setattr(registration, "_is_cpu", lambda device: False)
    monkeypatch.setattr(registration, "why_not_warps", lambda *arguments: "of a reason")
    x = jnp.asarray(images(3, shape=(3, 3, 1)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            registration.fast_gram(Convolutional(2), x, x, "ntk", symmetric=True)
    assert not taken
    assert caplog.text.count("general path") == 1
    assert "of a reason" in caplog.text


@pytest.fixture
def accepted(monkeypatch):
    """A CPU that passes for a GPU, on which no program has been probed."""
    monkeypatch.setattr(registration, "_is_cpu", lambda device: False)
    monkeypatch.setattr(registration, "why_not_warps", lambda *arguments: None)
    monkeypatch.setattr(probing, "_verdicts", {})
    registration._say.cache_clear()


def test_an_accepted_kernel_goes_to_the_gpu_and_is_probed_once(monkeypatch, accepted, taken):
    kernel, x = Convolutional(2, train_ends=True), jnp.asarray(images(2, shape=(3, 3, 1)))
    found = registration.fast_gram(kernel, x, x, "ntk", symmetric=True)
    assert taken[0]["device"] == cpu()
    np.testing.assert_allclose(found, tiled_gram(kernel, np.asarray(x)), rtol=1e-13)
    monkeypatch.setattr(registration, "_values_of", None)
    assert registration.fast_gram(kernel, x, x, "ntk", symmetric=True) is not None


@pytest.mark.parametrize(
    ("name", "place"), [("tiled_gram", 0), ("tiled_gram", 9), ("tiled_pairs", 5)]
)
def test_a_gpu_that_computes_something_else_is_found_out(
    name, place, monkeypatch, caplog, accepted
):
    """In one of the places that share a warp values are off by a hundredth."""
    kernel = Convolutional(2, train_ends=True)
    x, calls = jnp.asarray(images(64, shape=(3, 3, 1))), []
    right = {"tiled_gram": tiled_gram, "tiled_pairs": tiled_pairs}[name]

    def wrong(*arguments, device, **options):
        calls.append(device)
        found = right(*arguments, **options)
        return found * np.where(np.arange(64) % (32 // 3) == place, 1.01, 1.0)

    monkeypatch.setattr(registration, "LEAST_WORK", 0)
    monkeypatch.setattr(registration, name, wrong)
    run = {
        "tiled_gram": lambda: registration.fast_gram(kernel, x, x, "ntk", symmetric=True),
        "tiled_pairs": lambda: registration.fast_pairs(kernel, x, x, "ntk"),
    }[name]
    with caplog.at_level(logging.WARNING):
        assert run() is None
        assert run() is None
    assert len(calls) == 1
    assert "values were wrong" in caplog.text


def _program():
    return probing.Program.of(
        Convolutional(2), jnp.asarray(images(2, shape=(3, 3, 1))), "both", cpu(), paired=False
    )


def test_values_beyond_the_numbers_give_no_verdict(accepted):
    assert _program().judge(np.full((2, 4), np.nan), np.full((2, 4), np.inf)) is None
    assert not _program().is_probed


@pytest.mark.parametrize(("kind", "place"), [(0, 0), (1, 1)])
def test_a_small_value_is_judged_by_its_own_size(kind, place, accepted):
    """Beside infinite ones, and beside one that is twenty times larger or of the larger kind."""
    expected = np.array([[1.0, 20.0, np.inf], [1e-4, 2e-3, 1e-4]])
    found = expected.copy()
    assert _program().judge(found, expected) is None
    found[kind, place] *= 1 + 1e-5
    assert "wrong by 0.001 %" in _program().judge(found, expected)
    assert "0.001 %" in _program().verdict


def test_probes_fill_a_warp_and_are_not_mirrored():
    rows, columns = probing.places(100, 64)
    assert list(columns) == list(range(32))
    assert np.all(rows <= columns)
    assert len(set(zip(rows, columns, strict=True))) == 32
    rows, columns = probing.places(1, 3)
    assert (list(rows), list(columns)) == ([0, 0, 0], [0, 1, 2])
