"""On random expressions, lowered gradient flows are minus automatic differentiation of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from expressions import ARGUMENTS, PARAMETERS, Generator, X, Y, point

from flowkit import lower
from flowkit.lowering import lower_expression
from flowkit.symbolic import adjoints, derive

CHUNKS, CHUNK = 11, 20
ROUNDING = 1e-10  # relative to the whole gradient; a few hundred operations of condition 1e3
FLOOR = 1e-3  # below it a gradient is the rounding of terms of order one that cancel


def relative_defect(loss, seed):
    """Distance of the lowered rates from minus `jax.grad` of the lowered loss."""
    arrays = [jnp.asarray(array) for array in point(seed)]
    parameters = [p for p in PARAMETERS if loss.has(p)]
    values = {s.name: array for s, array in zip(ARGUMENTS, arrays, strict=True)}
    rates = lower(derive(loss, parameters))(0.0, values, values)
    places = tuple(ARGUMENTS.index(p) for p in parameters)
    gradients = jax.grad(lower_expression(loss, ARGUMENTS), places)(*arrays)
    pairs = [(rates[p.name], g) for p, g in zip(parameters, gradients, strict=True)]
    assert all(jnp.shape(rate) == jnp.shape(g) for rate, g in pairs)
    norm = lambda parts: float(np.sqrt(sum(np.sum(np.square(part)) for part in parts)))
    return norm([rate + g for rate, g in pairs]) / max(norm(gradients), FLOOR)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_rates_are_minus_the_gradient(chunk):
    for seed in range(CHUNK * chunk, CHUNK * (chunk + 1)):
        loss = Generator(seed).loss()
        defect = relative_defect(loss, seed)
        assert defect < ROUNDING, f"seed {seed}: {loss}"


def test_every_rule_is_drawn():
    losses = [Generator(seed).loss() for seed in range(CHUNK * CHUNKS)]
    for kind in (*adjoints._SCALAR, *adjoints._MATRIX, sp.Pow, sp.Function, sp.OneMatrix):
        assert sum(loss.has(kind) for loss in losses) > 5, kind


SINGLE = {
    sp.Inverse: sp.Trace(sp.Inverse(Y) * X.T * X),
    sp.MatPow: sp.Trace(Y**3),
    sp.HadamardProduct: sp.Trace(sp.HadamardProduct(Y, Y.T) * X.T * X),
    sp.Transpose: sp.Trace(Y.T * Y * Y),
}


@pytest.mark.parametrize("kind", SINGLE, ids=lambda kind: kind.__name__)
def test_a_wrong_sign_in_a_rule_is_noticed(kind, monkeypatch):
    rule = adjoints._MATRIX[kind]
    assert relative_defect(SINGLE[kind], 0) < ROUNDING
    monkeypatch.setitem(adjoints._MATRIX, kind, lambda sweep, node, C: rule(sweep, node, -C))
    assert relative_defect(SINGLE[kind], 0) > FLOOR
