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
from flowkit.trajectory import Trajectory

SCALE, TAIL_LOSS, MOST_STEPS = 1e-3, 1e-8, 450
RTOL, DRIFT_PER_RTOL = 1e-6, 10
TINY_SCALE, TINY_LOSS, TINY_RTOL, MOST_TINY_STEPS = 1e-9, 1e-4, 1e-4, 3000
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
            name="a tiny start is left",
            statement="From a product of scale 1e-9, where the flow rests at a saddle and then "
            "turns stiff, it is followed until the modes are learnt.",
            source="arXiv:1905.13655 (tiny initialisations); RKC as above",
            check=_check_tiny_start,
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
    trajectory = _completed(SCALE, TAIL_LOSS, RTOL)
    drift = conserved_drift(trajectory) if trajectory.result.successful else np.inf
    return Verdict(
        passed=_reached(trajectory, MOST_STEPS) and drift <= DRIFT_PER_RTOL * RTOL,
        kind="measured",
        measured=f"{_described(trajectory)}, drift {drift:.1e}",
        expected=f"at most {MOST_STEPS} steps, drift at most {DRIFT_PER_RTOL} rtol = "
        f"{DRIFT_PER_RTOL * RTOL:.0e}",
        numbers=_counts(trajectory) | {"drift": drift},
    )


def _check_tiny_start() -> Verdict:
    trajectory = _completed(TINY_SCALE, TINY_LOSS, TINY_RTOL)
    return Verdict(
        passed=_reached(trajectory, MOST_TINY_STEPS),
        kind="measured",
        measured=_described(trajectory),
        expected=f"at most {MOST_TINY_STEPS} steps",
        numbers=_counts(trajectory),
    )


def _completed(scale: float, loss: float, rtol: float) -> Trajectory:
    """The completion of `depth recovers low rank` at depth 3, from a scale to a train loss."""
    left, right, entries, start = jax.random.split(jax.random.key(0), 4)
    target = jax.random.normal(left, (100, 5)) @ jax.random.normal(right, (5, 100))
    target = 100 * target / jnp.linalg.norm(target)
    problem = MatrixCompletion.from_matrix(target, observed=2000, key=entries)
    return integrate(
        FactorFlow(problem),
        initial.gaussian(problem, 3, scale, key=start),
        np.concatenate([[0.0], np.geomspace(1e2, 1e7, 26)]),
        until=until.train_loss(loss),
        rtol=rtol,
    )


def _reached(trajectory: Trajectory, most_steps: int) -> bool:
    steps = trajectory.stats["num_accepted_steps"]
    fell = trajectory.result.reason.startswith("train loss fell")
    return trajectory.result.successful and fell and steps <= most_steps


def _described(trajectory: Trajectory) -> str:
    phases = ", ".join(
        f"{phase['num_accepted_steps']} {phase['solver']}" for phase in trajectory.stats["phases"]
    )
    steps = trajectory.stats["num_accepted_steps"]
    return f"{trajectory.result.reason} in {steps} steps ({phases})"


def _counts(trajectory: Trajectory) -> dict[str, int | float]:
    return {
        "accepted steps": trajectory.stats["num_accepted_steps"],
        "evaluations": trajectory.stats["num_evaluations"],
        "flow time": trajectory.final_time,
    }


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
