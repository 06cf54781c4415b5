"""Claims about deep linear factorizations: conservation, the product's flow, its spectrum."""

from collections.abc import Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowkit import initial
from flowkit.agreement import compare
from flowkit.claim import Claim, Curves, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import EndToEndFlow, FactorFlow
from flowkit.lowering import lower
from flowkit.observables import end_to_end, singular_values
from flowkit.problems import MatrixCompletion
from flowkit.symbolic import (
    end_to_end_flow,
    factor_flow,
    mode_solution,
    singular_value_flow,
)

PROOF_DEPTHS = (2, 3, 4, 5)
DEPTHS, QUICK_DEPTHS = (2, 3, 4), (3,)
MODE_DEPTHS, QUICK_MODE_DEPTHS, CHART_DEPTH = (1, 2, 3), (2, 3), 3
TIGHT = 1e-10  # rtol of the solves whose error is measured
ERROR_PER_RTOL = 20  # global error allowed per unit of rtol: the errors of many steps add up


def factorization_claims(*, quick: bool) -> tuple[Claim, ...]:
    """Balancedness, the end-to-end flow, the singular-value law and the one-mode solutions."""
    depths = QUICK_DEPTHS if quick else DEPTHS
    return (
        Claim(
            name="balancedness",
            statement="W_{j+1}^T W_{j+1} - W_j W_j^T is constant along the flow, for any loss.",
            source="arXiv:1802.06509, Theorem 1",
            check=lambda: _all_proved(factor_flow(depth).claims for depth in PROOF_DEPTHS),
            formulas=factor_flow(3).mathml(),
        ),
        Claim(
            name="end-to-end flow, proof",
            statement="On balanced factors the product rule reduces to the end-to-end flow.",
            source="arXiv:1802.06509, Theorem 1",
            check=lambda: _all_proved(end_to_end_flow(depth).claims for depth in PROOF_DEPTHS),
            formulas=end_to_end_flow(3).mathml(),
        ),
        Claim(
            name="end-to-end flow, integrated",
            statement="The integrated end-to-end flow is the product of the integrated factors.",
            source="arXiv:1802.06509, Theorem 1",
            check=lambda: _check_end_to_end(depths),
        ),
        Claim(
            name="singular-value law",
            statement="ds/dt = -N (s^2)^{1-1/N} <G, u v^T> along the flow of balanced factors.",
            source="arXiv:1905.13655, Theorem 3",
            check=lambda: _check_singular_values(depths),
            formulas=singular_value_flow(3).mathml(),
        ),
        Claim(
            name="one-mode closed forms",
            statement="Each mode follows its closed form, from below and from above its target.",
            source="arXiv:1312.6120 (depth 2); arXiv:1905.13655, Theorem 3, integrated",
            check=lambda: _check_modes(QUICK_MODE_DEPTHS if quick else MODE_DEPTHS),
            formulas=tuple(f for n in (2, 3) for f in mode_solution(n).claims[-1].formulas),
        ),
    )


def _all_proved(families: Iterable[tuple[Claim, ...]]) -> Verdict:
    verdicts = [claim.check() for claims in families for claim in claims]
    proved = sum(verdict.passed for verdict in verdicts)
    return Verdict(
        passed=proved == len(verdicts),
        kind="proved",
        measured=f"{proved} of {len(verdicts)} identities exact, depths {PROOF_DEPTHS[0]} to "
        f"{PROOF_DEPTHS[-1]}, symbolic sizes",
        expected="all exact",
        numbers={"identities": len(verdicts), "proved": proved},
    )


def _random_completion() -> MatrixCompletion:
    """A small rectangular problem in general position: rank 3, three fifths observed."""
    left, right, entries = jax.random.split(jax.random.key(0), 3)
    target = jax.random.normal(left, (9, 3)) @ jax.random.normal(right, (3, 7))
    return MatrixCompletion.from_matrix(target, observed=0.6, key=entries)


def _check_end_to_end(depths: tuple[int, ...]) -> Verdict:
    problem, ts = _random_completion(), np.linspace(0.0, 30.0, 31)
    errors = {}
    for depth in depths:
        factors = initial.balanced(problem, depth, 0.5, key=jax.random.key(depth))
        by_factors = integrate(FactorFlow(problem), factors, ts, rtol=TIGHT)
        by_product = integrate(EndToEndFlow(problem, depth), end_to_end(factors), ts, rtol=TIGHT)
        agreement = compare(by_factors, by_product, of=end_to_end)
        errors[f"relative error, depth {depth}"] = agreement.relative
    return _below(errors, ERROR_PER_RTOL * TIGHT)


def _check_singular_values(depths: tuple[int, ...]) -> Verdict:
    problem, ts = _random_completion(), np.linspace(0.0, 30.0, 31)
    errors = {}
    for depth in depths:
        factors = initial.balanced(problem, depth, 0.5, key=jax.random.key(depth))
        field = FactorFlow(problem)
        trajectory = integrate(field, factors, ts, rtol=TIGHT)
        observed = jax.lax.map(partial(_spectrum_rate, field), trajectory.states)
        stated = jax.lax.map(partial(_stated_rate, problem, depth), trajectory.states)
        scale = jnp.max(jnp.abs(observed))
        errors[f"relative error, depth {depth}"] = float(
            jnp.max(jnp.abs(observed - stated)) / scale
        )
    return _below(errors, ERROR_PER_RTOL * TIGHT)


def _spectrum_rate(field: FactorFlow, factors: tuple[Array, ...]) -> Float[Array, " rank"]:
    """Rate of the singular values by differentiating the decomposition along the flow."""
    _, rate = jax.jvp(singular_values, (factors,), (field(0.0, factors),))
    return rate


def _stated_rate(
    problem: MatrixCompletion, depth: int, factors: tuple[Array, ...]
) -> Float[Array, " rank"]:
    """The same by the law, with the lowered derivation."""
    product = end_to_end(factors)
    U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
    projected = jnp.diagonal(U.T @ problem.gradient(product) @ Vt.T)
    law = lower(singular_value_flow(depth))
    return jax.vmap(lambda s, g: law(0.0, {"s": s}, {"g": g})["s"])(s, projected)


MODES = (3.0, 2.0, 1.0, 0.05)  # the last lies below the common start, so it falls
START = 0.1
MODE_TIMES = np.linspace(0.0, 6.0, 241)  # flow time of 1/2 the square


def _check_modes(depths: tuple[int, ...]) -> Verdict:
    errors, charts = {}, ()
    for depth in depths:
        integrated, closed = _modes_along(depth)
        errors[f"relative error, depth {depth}"] = float(np.abs(integrated - closed).max()) / max(
            MODES
        )
        if depth == CHART_DEPTH:
            charts = (_mode_chart(depth, integrated, closed),)
    return _below(errors, ERROR_PER_RTOL * TIGHT, charts)


def _modes_along(depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Modes of a fully observed matrix along its factor flow, and their closed forms."""
    modes = modes_along(depth, START, MODES, MODE_TIMES)
    solution = lower(mode_solution(depth))
    times, targets = jnp.asarray(MODE_TIMES)[:, None], jnp.array(MODES)[None, :]
    return modes, np.asarray(jax.jit(solution)(times, jnp.array(START), targets))


def modes_along(
    depth: int,
    start: float,
    targets: Sequence[float],
    times: Float[np.ndarray, " time"],
) -> Float[np.ndarray, "time modes"]:
    """Modes of a fully observed matrix along its factor flow, from aligned factors.

    The loss is a mean over m entries, which slows the flow of 1/2 the sum of squares by 2/m.

    Args:
        depth: The number of factors.
        start: Every mode at the first time.
        targets: The matrix's singular values, at most five.
        times: In the clock of 1/2 the sum of squares.

    Returns:
        <u_r, W v_r> by time and mode.
    """
    count = len(targets)
    U, V = (
        jnp.linalg.qr(jax.random.normal(jax.random.key(size), (size, count)))[0] for size in (6, 5)
    )
    problem = MatrixCompletion.from_matrix(
        (U * jnp.array(targets)[None, :]) @ V.T, observed=np.ones((6, 5), bool)
    )
    root = start ** (1 / depth)
    factors = (root * V.T, *[root * jnp.eye(count)] * (depth - 2), root * U)
    factors = (start * U @ V.T,) if depth == 1 else factors
    slowed = times * problem.values.size / 2
    trajectory = integrate(FactorFlow(problem), factors, slowed, rtol=TIGHT)
    modes = jax.lax.map(lambda state: jnp.diagonal(U.T @ end_to_end(state) @ V), trajectory.states)
    return np.asarray(modes)


def _mode_chart(depth: int, integrated: np.ndarray, closed: np.ndarray) -> Curves:
    thinned = slice(None, None, 12)
    return Curves(
        title=f"Modes of a depth-{depth} factorization",
        x_label="flow time (1/2 sum of squares)",
        y_label="singular value",
        lines={f"target {S:g}": (MODE_TIMES, integrated[:, i]) for i, S in enumerate(MODES)},
        points={
            "closed form": (np.tile(MODE_TIMES[thinned], len(MODES)), closed[thinned].T.ravel())
        },
        caption="Lines: integrated factor flow. Dots: closed form. Strong modes are learnt first; "
        "the one that starts above its target falls.",
    )


def _below(errors: dict[str, float], bound: float, charts: tuple[Curves, ...] = ()) -> Verdict:
    worst = max(errors.values())
    return Verdict(
        passed=bool(worst <= bound),
        kind="measured",
        measured=f"worst relative error {worst:.1e}",
        expected=f"at most {bound:.0e}, at rtol {TIGHT:.0e}",
        numbers=errors,
        charts=charts,
    )
