"""Claims about stiff flows: what the tail of training costs, and what it conserves."""

import jax
import jax.numpy as jnp
import numpy as np

from flowkit import initial, until
from flowkit.agreement import compare, conserved_drift
from flowkit.claim import Claim, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow, KernelFlow
from flowkit.problems import MatrixCompletion

TAIL_LOSS, MOST_STEPS = 1e-8, 450
RTOL, DRIFT_PER_RTOL = 1e-6, 10
POINTS, CONDITION = 200, 1e6
KERNEL_RTOL, MOST_PRODUCTS = 1e-3, 20_000


def stiffness_claims() -> tuple[Claim, ...]:
    """The default policy in the tail of training, and a kernel flow known by products only."""
    return (
        Claim(
            name="the tail of training is cheap",
            statement="At depth 3 the flow is followed to a train loss of 1e-8 in few steps, and "
            "conserves balancedness all the way.",
            source="Sommeijer, Shampine, Verwer 1998 (RKC)",
            check=_check_tail,
        ),
        Claim(
            name="kernel flow by products",
            statement="At condition number 1e6 kernel flow is followed to 10 / lambda_min with few "
            "kernel-vector products.",
            source="arXiv:1904.11955, Lemma 3.1; Abdulle 2002 (stability polynomials)",
            check=_check_products,
        ),
    )


def _check_tail() -> Verdict:
    left, right, entries, start = jax.random.split(jax.random.key(0), 4)
    target = jax.random.normal(left, (100, 5)) @ jax.random.normal(right, (5, 100))
    target = 100 * target / jnp.linalg.norm(target)
    problem = MatrixCompletion.from_matrix(target, observed=2000, key=entries)
    trajectory = integrate(
        FactorFlow(problem),
        initial.gaussian(problem, 3, 1e-3, key=start),
        np.concatenate([[0.0], np.geomspace(1e2, 1e7, 26)]),
        until=until.train_loss(TAIL_LOSS),
        rtol=RTOL,
    )
    drift = conserved_drift(trajectory) if trajectory.result.successful else np.inf
    steps = trajectory.stats["num_accepted_steps"]
    phases = trajectory.stats["phases"]
    return Verdict(
        passed=trajectory.result.successful
        and steps <= MOST_STEPS
        and drift <= DRIFT_PER_RTOL * RTOL,
        kind="measured",
        measured=f"{trajectory.result.reason} in {steps} steps ("
        + ", ".join(f"{phase['num_accepted_steps']} {phase['solver']}" for phase in phases)
        + f"), drift {drift:.1e}",
        expected=f"at most {MOST_STEPS} steps, drift at most {DRIFT_PER_RTOL} rtol = "
        f"{DRIFT_PER_RTOL * RTOL:.0e}",
        numbers={
            "accepted steps": steps,
            "evaluations": trajectory.stats["num_evaluations"],
            "flow time": trajectory.final_time,
            "drift": drift,
        },
    )


def _check_products() -> Verdict:
    gram, targets = _ill_conditioned()
    ts = np.concatenate([[0.0], np.geomspace(10.0, 10 * CONDITION, 13)])
    start = jnp.zeros_like(targets)
    by_products = KernelFlow(jax.tree_util.Partial(jnp.matmul, gram), targets)
    stepped = integrate(by_products, start, ts, rtol=KERNEL_RTOL)
    error = compare(stepped, integrate(KernelFlow(gram, targets), start, ts)).relative
    products = stepped.stats["num_evaluations"]
    return Verdict(
        passed=products <= MOST_PRODUCTS and error <= KERNEL_RTOL,
        kind="measured",
        measured=f"{products:,} products, error {error:.1e}",
        expected=f"at most {MOST_PRODUCTS:,} products, error at most rtol = {KERNEL_RTOL:g}",
        numbers={
            "products": products,
            "largest relative error": error,
            "spectral radius times time": 10 * CONDITION,
        },
    )


def _ill_conditioned() -> tuple[jax.Array, jax.Array]:
    """A kernel with eigenvalues from 1 / CONDITION to 1, and targets in general position."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(POINTS, POINTS)))
    gram = (Q * np.geomspace(1 / CONDITION, 1.0, POINTS)) @ Q.T
    return jnp.asarray((gram + gram.T) / 2), jnp.asarray(rng.normal(size=(POINTS, 1)))
