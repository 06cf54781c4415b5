"""The claims on finite networks hold, and fail where scale, depth, clock or start are changed.

With fewer networks and widths than in the catalogue, under the same bounds.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from flowkit.claims import finite_width as claims
from flowkit.fields import ModelFlow
from flowkit.kernels import Convolutional, FullyConnected
from flowkit.networks import ConvolutionalNetwork, FullyConnectedNetwork


@pytest.fixture(autouse=True)
def _fewer(monkeypatch):
    monkeypatch.setattr(claims, "WIDTHS", (64, 576))
    monkeypatch.setattr(claims, "CHANNELS", (24, 216))
    monkeypatch.setattr(claims, "DRAWS", 24)
    monkeypatch.setattr(claims, "TRAINED_WIDTHS", (32, 288))
    monkeypatch.setattr(claims, "TRAINED_DRAWS", 8)


class Standard(eqx.Module):
    """The same functions at the start, with the scale in the weights: gradients grow with width."""

    weights: tuple

    def __init__(self, depth, width, inputs, *, key):
        first, *others = FullyConnectedNetwork(depth, width, inputs, key=key).weights
        self.weights = (first, *((2 / width) ** 0.5 * W for W in others))

    def __call__(self, x):
        *hidden, last = self.weights
        for W in hidden:
            x = jax.nn.relu(x @ W.T)
        return x @ last.T


def without_c(*arguments, **options):
    network = FullyConnectedNetwork(*arguments, **options)
    object.__setattr__(network, "scale", 1.0)
    return network


def trained_ends(*arguments, **options):
    return ConvolutionalNetwork(*arguments, train_ends=True, **options)


def deeper(depth):
    return FullyConnected(depth + 1)


def flattened(depth):
    return Convolutional(depth, readout="flatten")


KERNEL_MUTANTS = {
    "nothing": None,
    "networks without c": ("FullyConnectedNetwork", without_c),
    "standard parametrization": ("FullyConnectedNetwork", Standard),
    "a deeper kernel": ("FullyConnected", deeper),
    "trained ends": ("ConvolutionalNetwork", trained_ends),
    "another read-out": ("Convolutional", flattened),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", KERNEL_MUTANTS.values(), ids=KERNEL_MUTANTS)
def test_the_kernel_claim_fails_under(mutant, monkeypatch):
    if mutant is not None:
        monkeypatch.setattr(claims, *mutant)
    verdict = claims._check_kernels()
    assert verdict.passed == (mutant is None), verdict.measured


def at_rest(networks, x, ts):
    """No training at all."""
    return jnp.stack([claims._outputs(networks, x)] * len(ts))


def doubled(loss):
    return ModelFlow(lambda networks: 2 * loss(networks))


def from_zero(start, gram, ts, right=claims._regressed):
    return right(jnp.zeros_like(start), gram, ts)


TRAINING_MUTANTS = {
    "nothing": None,
    "twice the loss": ("ModelFlow", doubled),
    "no training": ("_train", at_rest),
    "a start at zero": ("_regressed", from_zero),
    "a deeper kernel": ("FullyConnected", deeper),
    "standard parametrization": ("FullyConnectedNetwork", Standard),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", TRAINING_MUTANTS.values(), ids=TRAINING_MUTANTS)
def test_the_training_claim_fails_under(mutant, monkeypatch):
    if mutant is not None:
        monkeypatch.setattr(claims, *mutant)
    verdict = claims._check_training()
    assert verdict.passed == (mutant is None), verdict.measured
