"""Initial factors have the shapes, the scale and the balance that they promise."""

import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

from flowkit import initial
from flowkit.observables import balance, end_to_end, singular_values

RANDOM = (initial.gaussian, initial.balanced, initial.orthogonal)


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("width", [None, 2, 9])
def test_factors_multiply_to_the_problems_shape(make, depth, width, key):
    problem = completion((6, 4))
    factors = make(problem, depth, 0.1, width=width, key=key)
    assert len(factors) == depth
    assert end_to_end(factors).shape == problem.shape
    if depth > 1 and make is not initial.balanced:
        assert factors[0].shape[0] == (width or 4)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("width", [None, 2])
def test_balanced_factors_are_balanced(depth, width, key):
    factors = initial.balanced(completion((6, 4)), depth, 0.3, width=width, key=key)
    assert max(float(jnp.abs(law).max()) for law in balance(factors)) < 1e-14


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scale_is_that_of_the_product(depth, key):
    """Deviation scale / sqrt(rows) of the product's entries; 3 % is four standard errors here."""
    problem = completion((200, 200))
    for make, tolerance in ((initial.gaussian, 0.1), (initial.balanced, 0.03)):
        product = end_to_end(make(problem, depth, 1e-3, key=key))
        assert float(jnp.std(product)) * 200**0.5 == pytest.approx(1e-3, rel=tolerance)


@pytest.mark.parametrize("depth", [1, 3])
def test_identity_and_orthogonal_products_have_equal_singular_values(depth, key):
    problem = completion((4, 4))
    for factors in (
        initial.identity(problem, depth, 0.01),
        initial.orthogonal(problem, depth, 0.01, key=key),
    ):
        np.testing.assert_allclose(singular_values(factors), 0.01, rtol=1e-12)


BAD = {
    "depth": (0, 0.1, None),
    "scale": (2, 0.0, None),
    "infinite scale": (2, float("inf"), None),
    "width": (2, 0.1, 0),
}


@pytest.mark.parametrize("make", RANDOM)
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_by_name(make, name, key):
    depth, scale, width = BAD[name]
    with pytest.raises(ValueError, match=f"`{name.split()[-1]}` must be"):
        make(completion(), depth, scale, width=width, key=key)
