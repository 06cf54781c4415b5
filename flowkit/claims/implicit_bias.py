"""Claims about what a small start leads to, where norms say otherwise."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowkit import initial, until
from flowkit.claim import Claim, Curves, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow, SpectralFlow
from flowkit.observables import end_to_end, log_abs_det, nuclear_norm
from flowkit.problems import MatrixCompletion
from flowkit.spectrum import Spectrum
from flowkit.trajectory import Trajectory

START = 1e-3  # of the product, times the identity
OBSERVED = 3  # entries: flowkit's loss is a mean over them, the theorem's half their sum
PARTED = 0.4  # half sum of squares by which the equal singular values of the start have parted
TIMES = 240  # at which the flow is recorded from there on
LATEST = 1e9  # of flow time, by which they part
LONGER = 1e9  # times that: when the flow has ended
HALF_SUM = 1e-4  # half the sum of squares at which the unobserved entry is read
ENTRY, ENTRY_TOLERANCE = 70.7, 0.5
LOG_DET, LOG_DET_TOLERANCE = -2525.0, 1.0
RANK_ONE_ENTRY = 3.0  # R of the greedy example
SCALES = (1e-1, 1e-2, 1e-4, 1e-6)
NUCLEAR_NORMS = (12.01, 12.14, 12.84, 13.89)
DEEP_SCALES = (1e-12, 1e-24, 1e-48, 1e-96)  # on the way to the limit 2 + 2 R^2
NORM_TOLERANCE = 0.01
LONGEST = 1e12  # of flow time


def implicit_bias_claims() -> tuple[Claim, ...]:
    """A flow that drives every norm to infinity, and one that prefers rank to norm."""
    return (
        Claim(
            name="norms may all diverge",
            statement="Completing [[*, 1], [1, 0]] from a start of positive determinant, the "
            "unobserved entry grows without bound as the loss falls, and the rank approaches one.",
            source="Razin, Cohen 2020, arXiv:2005.06398, Theorem 1",
            check=_check_divergence,
        ),
        Claim(
            name="rank before norm",
            statement="The smaller the start, the larger the nuclear norm of the completion: from "
            "4 R, its minimum, towards 2 + 2 R^2, that of the rank-one completion.",
            source="Li, Luo, Lyu 2021, arXiv:2012.09839, greedy low-rank learning",
            check=_check_greedy,
        ),
    )


def unbounded_entry() -> MatrixCompletion:
    """The completion of [[*, 1], [1, 0]], whose entry grows without bound."""
    target = np.array([[np.nan, 1.0], [1.0, 0.0]])
    return MatrixCompletion.from_matrix(target, observed=~np.isnan(target))


def greedy_example() -> MatrixCompletion:
    """The symmetric 4 x 4 completion whose rank-one solution has a large nuclear norm."""
    target = np.full((4, 4), np.nan)
    for row, col, value in ((0, 2, 1.0), (0, 3, RANK_ONE_ENTRY), (1, 2, RANK_ONE_ENTRY)):
        target[row, col] = target[col, row] = value
    return MatrixCompletion.from_matrix(target, observed=~np.isnan(target))


def diverging_flow(
    depth: int, scale: float, least: float, observables: Mapping[str, Callable[[Any], Any]]
) -> Trajectory:
    """The flow on `unbounded_entry` from a multiple of the identity, as its norms grow.

    It is followed in its singular basis, with logarithms for singular values, as the determinant
    soon is far below the smallest number.

    Args:
        depth: The number of factors.
        scale: Scale of the start, a product of positive determinant.
        least: Half the sum of squares over the observed entries at which the flow ends.
        observables: What is recorded.

    Returns:
        The flow from where the singular values have parted, of states `Spectrum`.

    Raises:
        ArithmeticError: The integration failed, or did not come so far.
    """
    problem = unbounded_entry()
    parted = succeeded(
        integrate(
            FactorFlow(problem),
            initial.identity(problem, depth, scale),
            [0.0, LATEST],
            until=until.train_loss(2 * PARTED / OBSERVED),
            rtol=1e-9,
        )
    )
    times = parted.final_time * np.geomspace(1.0, LONGER, TIMES)
    trajectory = succeeded(
        integrate(
            SpectralFlow(problem, depth),
            Spectrum.of(end_to_end(parted.final)),
            times,
            until=until.train_loss(2 * least / OBSERVED),
            rtol=1e-8,
            observables=observables,
        )
    )
    if trajectory.final_time >= times[-1]:
        raise ArithmeticError(f"Half the sum of squares did not fall to {least:g} in time.")
    return trajectory


def unbounded_size(product: Any) -> Float[Array, ""]:
    """Size of the unobserved entry of `unbounded_entry`."""
    return jnp.abs(end_to_end(product)[0, 0])


def _check_divergence() -> Verdict:
    observables = {"entry": unbounded_size, "log det": log_abs_det}
    trajectory = diverging_flow(2, START, HALF_SUM, observables)
    entry = float(unbounded_size(trajectory.final))
    log_det = float(log_abs_det(trajectory.final))
    return Verdict(
        passed=abs(entry - ENTRY) <= ENTRY_TOLERANCE
        and abs(log_det - LOG_DET) <= LOG_DET_TOLERANCE,
        kind="measured",
        measured=f"entry {entry:.2f}, log |det| {log_det:.1f} where half the sum of squares is "
        f"{HALF_SUM:g}",
        expected=f"{ENTRY} +- {ENTRY_TOLERANCE}, {LOG_DET:g} +- {LOG_DET_TOLERANCE:g}",
        numbers={
            "entry": entry,
            "log |det W|": log_det,
            "flow time": trajectory.final_time,
            "accepted steps": trajectory.stats["num_accepted_steps"],
        },
        charts=(_divergence_chart(trajectory),),
    )


def _divergence_chart(trajectory: Trajectory) -> Curves:
    entry, log_det = (np.asarray(trajectory.observables[name]) for name in ("entry", "log det"))
    return Curves(
        title="An unobserved entry that grows without bound",
        x_label="flow time",
        y_label="size",
        lines={"|w_11|": (trajectory.ts, entry), "-log |det W|": (trajectory.ts, -log_det)},
        log_x=True,
        log_y=True,
        caption="Completion of [[*, 1], [1, 0]] at depth 2 from 1e-3 I. The determinant is "
        "followed by the logarithms of the singular values, far below the smallest number.",
    )


def _check_greedy() -> Verdict:
    norms = {scale: _greedy_norm(scale) for scale in (*SCALES, *DEEP_SCALES)}
    known = [norms[scale] for scale in SCALES]
    rising = np.diff([norms[scale] for scale in (*SCALES, *DEEP_SCALES)])
    limit = 2 + 2 * RANK_ONE_ENTRY**2
    last = norms[DEEP_SCALES[-1]]
    return Verdict(
        passed=bool(np.allclose(known, NUCLEAR_NORMS, rtol=0, atol=NORM_TOLERANCE))
        and bool((rising > 0).all())
        and last < limit,
        kind="measured",
        measured="nuclear norm "
        + ", ".join(f"{norm:.2f}" for norm in known)
        + f" at scale {SCALES[0]:g} to {SCALES[-1]:g}, {last:.2f} at {DEEP_SCALES[-1]:g}",
        expected=", ".join(f"{norm}" for norm in NUCLEAR_NORMS)
        + f" +- {NORM_TOLERANCE}; rising, below {limit:g}",
        numbers={f"nuclear norm, scale {scale:g}": norm for scale, norm in norms.items()},
        charts=(_greedy_chart(norms, limit),),
    )


def _greedy_norm(scale: float) -> float:
    return float(nuclear_norm(greedy_limit(2, scale).final))


def greedy_limit(depth: int, scale: float) -> Trajectory:
    """Where the flow of the greedy example comes to rest, from factors scale^(1/N) I."""
    problem = greedy_example()
    trajectory = integrate(
        FactorFlow(problem),
        initial.identity(problem, depth, scale),
        [0.0, LONGEST],
        until=until.train_loss(1e-12),
        rtol=1e-8,
    )
    return succeeded(trajectory)


def _greedy_chart(norms: dict[float, float], limit: float) -> Curves:
    scales = list(norms)
    flat = lambda value: (scales, [value] * len(scales))
    return Curves(
        title="Nuclear norm of the completion, by the scale of the start",
        x_label="scale of the product at the start",
        y_label="nuclear norm",
        lines={
            "minimum 4 R": flat(4 * RANK_ONE_ENTRY),
            "rank one, 2 + 2 R^2": flat(limit),
            "flow": (scales, list(norms.values())),
        },
        log_x=True,
        caption="Symmetric 4 x 4, R = 3, depth 2. The approach to rank one is slow.",
    )


def succeeded(trajectory: Trajectory) -> Trajectory:
    """The trajectory, or an ArithmeticError with the reason for which it failed."""
    if not trajectory.result.successful:
        raise ArithmeticError(f"The integration failed: {trajectory.result.reason}.")
    return trajectory
