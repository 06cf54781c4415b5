"""The exact solution of lambda-balanced two-layer networks, and how closely a solve meets it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import expm

from flowkit.agreement import fitted_order
from flowkit.claim import Claim, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow
from flowkit.problems import MatrixCompletion

OUT, HIDDEN, IN = 4, 3, 3
BALANCES = (0.3, -0.3)  # lambda, of either sign
TIMES = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0])  # flow time of 1/2 the sum of squares
RTOLS = (1e-4, 1e-6, 1e-8)  # below, the interpolation at the saved times shows
ERROR_PER_RTOL = 5
SLOPE, SLOPE_TOLERANCE = 1.0, 0.1  # of the error against rtol, in logarithms

Matrix = Float[np.ndarray, "_rows _cols"]


def two_layer_claims() -> tuple[Claim, ...]:
    """Two layers that are not balanced, but off by a multiple of the identity."""
    return (
        Claim(
            name="lambda-balanced closed form",
            statement="Where W_2^T W_2 - W_1 W_1^T = lambda I, two layers follow a matrix Riccati "
            "equation in closed form, and solves meet it in proportion to their tolerance.",
            source="Braun et al. 2022; Domine et al. 2024, arXiv:2409.14623",
            check=_check_balances,
        ),
    )


def _check_balances() -> Verdict:
    errors = {(balance, rtol): _error(balance, rtol) for balance in BALANCES for rtol in RTOLS}
    worst = max(error / rtol for (_, rtol), error in errors.items())
    slopes = [
        fitted_order(RTOLS, [errors[balance, rtol] for rtol in RTOLS]) for balance in BALANCES
    ]
    return Verdict(
        passed=worst <= ERROR_PER_RTOL
        and all(abs(slope - SLOPE) <= SLOPE_TOLERANCE for slope in slopes),
        kind="measured",
        measured=f"at most {worst:.1f} rtol for rtol {RTOLS[0]:.0e} to {RTOLS[-1]:.0e}, slopes "
        + " and ".join(f"{slope:.2f}" for slope in slopes),
        expected=f"at most {ERROR_PER_RTOL} rtol, slope {SLOPE:g} +- {SLOPE_TOLERANCE:g}",
        numbers={f"error, lambda {b:g}, rtol {r:g}": error for (b, r), error in errors.items()},
    )


def _error(balance: float, rtol: float) -> float:
    """The largest relative distance of Q Q^T, Q = [W_1^T; W_2], from the closed form."""
    target, factors = _start(balance)
    problem = MatrixCompletion.from_matrix(target, observed=np.ones(target.shape, bool))
    slowed = TIMES * target.size / 2  # the mean of squares, against 1/2 the sum
    trajectory = integrate(FactorFlow(problem), factors, slowed, rtol=rtol)
    if not trajectory.result.successful:
        raise ArithmeticError(f"The integration failed: {trajectory.result.reason}.")
    errors = []
    for time, W_1, W_2 in zip(TIMES, *trajectory.states, strict=True):
        stated = closed_form(_stacked(factors), target, balance, time)
        found = _stacked((W_1, W_2))
        errors.append(np.linalg.norm(found @ found.T - stated) / np.linalg.norm(stated))
    return float(max(errors))


def _start(balance: float) -> tuple[Matrix, tuple[Array, Array]]:
    """A target in general position, and small random factors of the given lambda."""
    target, W_1, frame = (
        jax.random.normal(key, shape)
        for key, shape in zip(
            jax.random.split(jax.random.key(0), 3),
            ((OUT, IN), (HIDDEN, IN), (OUT, HIDDEN)),
            strict=True,
        )
    )
    W_1 = W_1 if balance < 0 else 0.1 * W_1  # W_1 W_1^T + lambda I has to be positive definite
    values, vectors = jnp.linalg.eigh(W_1 @ W_1.T + balance * jnp.eye(HIDDEN))
    W_2 = jnp.linalg.qr(frame)[0] @ (vectors * jnp.sqrt(values)[None, :]) @ vectors.T
    return np.asarray(target), (W_1, W_2)


def _stacked(factors: tuple[Array | np.ndarray, Array | np.ndarray]) -> Matrix:
    W_1, W_2 = map(np.asarray, factors)
    return np.concatenate([W_1.T, W_2])


def closed_form(Q: Matrix, target: Matrix, balance: float, time: float) -> Matrix:
    """Q Q^T after a flow time of 1/2 the sum of squares, whitened inputs.

    With F = [[-lambda/2 I, S^T], [S, lambda/2 I]] it is
    e^{Ft} Q [I + Q^T (e^{2Ft} - I) F^{-1} Q / 2]^{-1} Q^T e^{Ft}.

    Args:
        Q: [W_1^T; W_2] at the start.
        target: The matrix S.
        balance: lambda; not zero where S is not square, as F is singular then.
        time: Flow time t.

    Returns:
        Q Q^T at that time.

    Source:
        arXiv:2409.14623.
    """
    out, columns = target.shape
    lower, upper = -balance / 2 * np.eye(columns), balance / 2 * np.eye(out)
    F = np.block([[lower, target.T], [target, upper]])
    grown = expm(F * time)
    integral = np.linalg.solve(F, grown @ grown - np.eye(out + columns)) / 2
    inner = np.eye(Q.shape[1]) + Q.T @ integral @ Q
    return grown @ Q @ np.linalg.solve(inner, Q.T @ grown)
