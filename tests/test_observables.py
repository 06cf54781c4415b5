"""Observables of the product agree with their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest
from systems import random_factors

from flowkit.observables import effective_rank, end_to_end, nuclear_norm, singular_values


def test_the_product_is_taken_in_order():
    W_1, W_2, W_3 = random_factors((4, 3, 2, 5))
    np.testing.assert_allclose(end_to_end((W_1, W_2, W_3)), W_3 @ W_2 @ W_1, rtol=1e-13)
    assert end_to_end(W_1) is W_1


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_effective_rank_of_equal_singular_values_is_the_rank(rank):
    assert float(effective_rank(jnp.eye(4)[:, :rank])) == pytest.approx(rank)


def test_effective_rank_is_the_exponential_entropy():
    shares = np.array([0.5, 0.3, 0.2])
    entropy = -np.sum(shares * np.log(shares))
    assert float(effective_rank(jnp.diag(7 * jnp.asarray(shares)))) == pytest.approx(
        np.exp(entropy)
    )


def test_the_zero_matrix_has_no_rank():
    assert float(effective_rank(jnp.zeros((3, 2)))) == 0


def test_nuclear_norm_sums_the_singular_values():
    (W,) = random_factors((4, 6))
    assert float(nuclear_norm(W)) == pytest.approx(np.linalg.norm(np.asarray(W), "nuc"))
    np.testing.assert_allclose(singular_values(W), np.linalg.svd(W, compute_uv=False))
