"""Kernel flow ends in kernel regression: derived with a ridge, solved, and held against numbers."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import sympy as sp

from flowkit.lowering import lower
from flowkit.regression import fit
from flowkit.symbolic import kernel_solution, ridge_flow
from flowkit.symbolic.kernel_solution import DECAY, A, K, _derived_claim, k, solution_claims

ROUNDING = 1e-10  # relative; two inverses of a matrix of condition 100 in float64


def _passed(claims):
    return [claim.check().passed for claim in claims]


def test_every_claim_is_proved():
    verdicts = [claim.check() for one in (ridge_flow(), kernel_solution()) for claim in one.claims]
    assert len(verdicts) == 5
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_a_changed_sign_of_the_ridge_is_noticed():
    flow = ridge_flow()
    (rate,) = flow.rates
    (ridge,) = (symbol for symbol in flow.data if isinstance(symbol, sp.Symbol))
    changed = dataclasses.replace(flow, rates=(rate.subs(ridge, -ridge),))
    assert not _derived_claim(changed).check().passed


# What is changed -> which of the claims on weights, outputs, start and end still hold.
MUTATIONS = {
    "sign of the decay": (lambda x: x.subs(DECAY, -DECAY), [True, True, False, True]),
    "decay from the wrong side": (lambda x: x.subs(DECAY, DECAY.T), [False, False, True, True]),
    "power of the operator": (lambda x: x.subs(A.I, A), [False, False, True, False]),
}


@pytest.mark.parametrize(("mutate", "left"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_changed_solution_is_noticed(mutate, left):
    solution = kernel_solution()
    parts = {name: mutate(getattr(solution, name)) for name in ("weights", "train", "test")}
    assert _passed(solution_claims(dataclasses.replace(solution, **parts))) == left


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_changed_output_is_noticed(part):
    solution = kernel_solution()
    changed = getattr(solution, part).subs({K: -K, k: -k})
    weights, outputs, start, end = _passed(
        solution_claims(dataclasses.replace(solution, **{part: changed}))
    )
    assert weights
    assert start
    assert not outputs
    assert not end


@pytest.mark.parametrize("time", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_the_solution_is_what_the_numeric_room_predicts(time, ridge):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 9))
    gram, cross = features[:4] @ features[:4].T, features[4:] @ features[:4].T
    y, start, f_0 = (rng.standard_normal((rows, 2)) for rows in (4, 4, 1))
    operator = gram + ridge * np.eye(4)
    values = {"k": cross, "y": y, "u_0": start, "f_0": f_0, "A": operator}
    values["E"] = scipy.linalg.expm(-operator * time)
    test = kernel_solution().test.subs({"n": 4, "m": 1, "c": 2})
    numbers = {s: sp.Matrix(values[s.name]) for s in test.atoms(sp.MatrixSymbol)}
    exact = np.array(test.subs(numbers).doit(), dtype=float)
    predicted = fit(gram, y, ridge=ridge, start=start).predict_at(cross, time, start=f_0)
    np.testing.assert_allclose(exact, predicted, rtol=ROUNDING)


def test_the_lowered_ridge_flow_vanishes_at_ridge_regression():
    rng = np.random.default_rng(0)
    root, y = rng.standard_normal((4, 6)), rng.standard_normal((4, 2))
    data = {"K": root @ root.T, "y": y, "u_0": np.zeros((4, 2)), "r": 0.5}
    weights = np.linalg.solve(data["K"] + 0.5 * np.eye(4), y)
    (rate,) = lower(ridge_flow())(0.0, {"alpha": weights}, data).values()
    np.testing.assert_allclose(rate, 0, atol=ROUNDING)
