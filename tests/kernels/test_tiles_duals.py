"""The duals of tiles against those of single pairs, at variances of any size."""

import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.kernels.tiles.activations import KinkDual, LoweredDual, SmoothDual, tile_dual
from flowkit.lowering import lower
from flowkit.symbolic import dual

ROUNDING = 1e-9  # relative; gaps down to 1e-3 of both variances, and the sixth power of a root

FORMS = {
    "relu": KinkDual,
    "leaky_relu": KinkDual,
    "abs": KinkDual,
    "erf": SmoothDual,
    "gelu": SmoothDual,
    "tanh": LoweredDual,
}


def moments():
    generator = np.random.default_rng(0)
    var_x, var_z = 10.0 ** generator.uniform(-6, 6, (2, 200))
    correlation = generator.uniform(-0.999, 0.999, 200)
    return [jnp.asarray(a) for a in (var_x, var_z, correlation * np.sqrt(var_x * var_z))]


@pytest.mark.parametrize("name", FORMS)
def test_activations_take_their_fastest_form(name):
    assert type(tile_dual(name)) is FORMS[name]


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "erf", "gelu"])
def test_moments_are_those_of_single_pairs(name):
    var_x, var_z, cov = moments()
    tile = tile_dual(name)
    inside = jnp.ones(200, bool)[:, None, None]
    as_tile = lambda a: a[:, None, None]
    norms = [tile.norms(as_tile(var)) for var in (var_x, var_z)]
    _, m, k = tile(*norms, as_tile(cov), inside, first=True)
    expected = lower(dual(name))(var_x, var_z, cov)
    if name in ("relu", "abs"):  # after an activation covariances have a sign, and need none
        again, *values = tile(*norms, as_tile(abs(cov)), inside, first=False)
        np.testing.assert_allclose(again[:, 0, 0], abs(cov), rtol=ROUNDING)
        positive = (cov > 0)[:, None, None]
        for later, at_first in zip(values, (m, k), strict=True):
            np.testing.assert_allclose(later[positive], at_first[positive], rtol=ROUNDING)
    for found, exact in zip((m, k), expected, strict=True):
        np.testing.assert_allclose(tile.factor * found[:, 0, 0], exact, rtol=ROUNDING)
    own = tile.factor * tile.variance(var_x)
    np.testing.assert_allclose(own, lower(dual(name))(var_x, var_x, var_x)[0], rtol=1e-12)


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_left_outside_the_mask(name):
    tile = tile_dual(name)
    some, none = jnp.full((1, 1, 1), 0.5), jnp.zeros((1, 1, 1))
    outside = jnp.zeros((1, 1, 1), bool)
    _, m, k = tile(tile.norms(some), tile.norms(none), 0.2 + none, outside, first=True)
    assert m[0, 0, 0] == 0
    assert tile.back(k, some, outside)[0, 0, 0] == 0
