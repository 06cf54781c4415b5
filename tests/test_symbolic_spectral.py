"""The flow of singular vectors is the published one, and solves the flow of the matrix."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from systems import completion

from flowkit import EndToEndFlow, lower
from flowkit.symbolic import end_to_end_flow
from flowkit.symbolic.spectral import reassembly_claim, scaling_claim, singular_vector_flow

N = sp.Symbol("N", integer=True, positive=True)
DEPTHS = (1, 2, 3, 4)


@pytest.mark.parametrize("depth", [*DEPTHS, N])
def test_the_rates_are_the_published_law(depth):
    """F_rq = 1/((s_q^2)^{1/N} - (s_r^2)^{1/N}); beside the basis (S^2)^{1/2-1/N}."""
    flow = singular_vector_flow(depth)
    s_r, s_q, M_rq, M_qr, M_xq, M_qy = flow.data
    power = sp.Integer(1) / depth
    F = 1 / ((s_q**2) ** power - (s_r**2) ** power)
    beside = (s_q**2) ** (sp.Rational(1, 2) - power)
    stated = (
        -F * (M_rq * s_q + s_r * M_qr),
        -F * (M_qr * s_q + s_r * M_rq),
        -beside * M_xq,
        -beside * M_qy,
    )
    for rate, law in zip(flow.rates, stated, strict=True):
        assert sp.simplify(rate - law) == 0


@pytest.mark.parametrize("depth", [*DEPTHS, N])
def test_every_claim_is_proved(depth):
    verdicts = [claim.check() for claim in singular_vector_flow(depth).claims]
    assert len(verdicts) == (1 if depth is N else 2)
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize("which", range(4))
def test_the_reassembly_fails_for_a_wrong_rate(which):
    flow = singular_vector_flow(3)
    rates = [2 * rate if i == which else rate for i, rate in enumerate(flow.rates)]
    wrong = dataclasses.replace(flow, rates=tuple(rates))
    assert not reassembly_claim(wrong, end_to_end_flow(3)).check().passed
    assert not reassembly_claim(flow, end_to_end_flow(2)).check().passed


def test_the_scaling_fails_for_another_power():
    assert not scaling_claim(singular_vector_flow(3), 4).check().passed


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_lowered_rates_turn_the_vectors_of_the_integrated_matrix(depth):
    """Against a central difference of NumPy's singular vectors; its error is the step squared."""
    rng, h = np.random.default_rng(depth), 1e-5
    problem = completion((4, 3))
    Q, P = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (4, 3))
    s = np.array([1.6, 1.0, 0.5])
    W = Q[:, :3] * s @ P.T
    moved = np.asarray(eqx.filter_jit(EndToEndFlow(problem, depth))(0.0, jnp.asarray(W)))
    turned = [np.linalg.svd(W + step * moved)[0] for step in (h, -h)]
    forward, backward = (U * np.sign(np.sum(U * Q, axis=0)) for U in turned)
    measured = Q.T @ (forward - backward) / (2 * h)

    M = Q.T @ np.asarray(problem.gradient(jnp.asarray(W))) @ P
    zero = dict.fromkeys(("u_rq", "v_rq", "u_xq", "v_yq"), 0.0)
    data = {"s_r": s[0], "s_q": s[1], "M_rq": M[0, 1], "M_qr": M[1, 0]}
    data |= {"M_xq": M[3, 1], "M_qy": 0.0}
    rates = lower(singular_vector_flow(depth))(0.0, zero, data)
    assert float(rates["u_rq"]) == pytest.approx(measured[0, 1], rel=1e-7)
    assert float(rates["u_xq"]) == pytest.approx(measured[3, 1], rel=1e-7)


@pytest.mark.parametrize("depth", [0, -1, 2.0, True, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        singular_vector_flow(depth)
