"""Claims about completion: depth recovers what shallow factorizations and means do not."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from flowkit import baselines, initial, until
from flowkit.claim import Chart, Claim, Curves, Heatmaps, Series, Verdict
from flowkit.claims.temperatures import StandardisedProblem, standardised
from flowkit.datasets import low_rank, seattle_temperatures
from flowkit.dynamics import RKC2, integrate
from flowkit.fields import FactorFlow
from flowkit.observables import LossOf, effective_rank, end_to_end
from flowkit.problems import MatrixCompletion
from flowkit.trajectory import Trajectory

SCALE = 1e-3  # of the product at the start: small enough that depth decides
TRAIN_RMSE = 0.1  # degrees Fahrenheit at which training stops; the data are given to 0.1
TAIL_RTOL = 1e-3  # RKC2; crossing times are right to 0.5 %, held-out errors to 0.1 %
SPLITS, QUICK_SPLITS = 5, 1
DEPTHS, QUICK_DEPTHS = (1, 2, 3), (1, 3)
SYNTHETIC_SIZE, SYNTHETIC_RANK, SYNTHETIC_OBSERVED, SYNTHETIC_LOSS = 100, 5, 2000, 1e-6


def completion_claims(*, quick: bool) -> tuple[Claim, ...]:
    """Depth against error on a synthetic low-rank matrix and on the Seattle temperatures."""
    return (
        Claim(
            name="depth recovers low rank",
            statement="From 2,000 of 10,000 entries of a rank-5 matrix, depth 3 recovers it and "
            "depth 2 does not.",
            source="arXiv:1905.13655, Figure 1",
            check=_check_synthetic,
        ),
        Claim(
            name="completion of real temperatures",
            statement="From 30 % of a year of hourly temperatures (NOAA's hourly normals of "
            "Seattle), depth 3 halves the held-out error of row-plus-column means at least.",
            source="method: arXiv:1905.13655; data: NOAA, public domain",
            check=lambda: (
                _check_temperatures(QUICK_SPLITS, QUICK_DEPTHS)
                if quick
                else _check_temperatures(SPLITS, DEPTHS)
            ),
        ),
    )


def _check_synthetic() -> Verdict:
    target, entries, start = low_rank(SYNTHETIC_SIZE, SYNTHETIC_RANK, key=jax.random.key(0))
    problem = MatrixCompletion.from_matrix(target, observed=SYNTHETIC_OBSERVED, key=entries)
    rank_of = jax.jit(effective_rank)
    numbers = {"effective rank, truth": float(rank_of(target))}
    errors = {}
    for depth in (2, 3):
        factors = initial.gaussian(problem, depth, SCALE, key=start)
        trajectory = integrate(
            FactorFlow(problem), factors, [0.0, 1e6], until=until.train_loss(SYNTHETIC_LOSS)
        )
        _require_success(trajectory)
        product = end_to_end(trajectory.final)
        errors[depth] = float(jnp.mean((product - target) ** 2))
        numbers[f"reconstruction error, depth {depth}"] = errors[depth]
        numbers[f"effective rank, depth {depth}"] = float(rank_of(product))
        numbers[f"accepted steps, depth {depth}"] = trajectory.stats["num_accepted_steps"]
    return Verdict(
        passed=errors[3] < 1e-3 and errors[2] >= 30 * errors[3],
        kind="measured",
        measured=f"error {errors[3]:.1e} at depth 3, {errors[2] / errors[3]:,.0f} times that at "
        f"depth 2",
        expected="below 1e-3 at depth 3, at least 30 times that at depth 2",
        numbers=numbers,
    )


def _require_success(trajectory: Trajectory) -> None:
    if not trajectory.result.successful:
        raise ArithmeticError(f"The integration failed: {trajectory.result.reason}.")


def _complete(split: StandardisedProblem, depth: int) -> Trajectory:
    """Train to `TRAIN_RMSE` degrees; records the train and held-out error along the way."""
    factors = initial.gaussian(split.problem, depth, SCALE, key=jax.random.key(0))
    trajectory = integrate(
        FactorFlow(split.problem),
        factors,
        np.concatenate([[0.0], np.geomspace(1.0, 1e7, 561)]),
        until=until.train_loss(split.train_loss(TRAIN_RMSE)),
        solver=RKC2(),
        rtol=TAIL_RTOL,
        observables=_losses(split),
    )
    _require_success(trajectory)
    return trajectory


def _losses(split: StandardisedProblem) -> dict[str, LossOf]:
    return {"train": LossOf(split.problem), "held out": LossOf(split.held_out)}


def _check_temperatures(splits: int, depths: tuple[int, ...]) -> Verdict:
    first = standardised(seed=0)
    trajectories = {depth: _complete(first, depth) for depth in depths}
    rows = [_one_split(seed) for seed in range(splits)]
    by_depth = {
        f"depth {depth}, split 0": first.rmse(end_to_end(trajectory.final))
        for depth, trajectory in trajectories.items()
    }
    numbers = by_depth | {
        f"{name}, split {i}": row[name] for i, row in enumerate(rows) for name in row
    }
    ratios = [row["depth 3"] / row["row-plus-column means"] for row in rows]
    span = lambda name: f"{min(r[name] for r in rows):.2f} to {max(r[name] for r in rows):.2f}"
    return Verdict(
        passed=max(ratios) <= 0.5,
        kind="measured",
        measured=f"held-out RMSE {', '.join(f'{error:.2f}' for error in by_depth.values())} F at "
        f"depths {', '.join(map(str, depths))} on split 0; over all {splits} splits, paired: "
        f"{span('depth 3')} at depth 3, {span('row-plus-column means')} by means "
        f"(ratio {max(ratios):.2f} at worst), "
        f"{span('least squares with offsets')} by tuned alternating least squares",
        expected="ratio to row-plus-column means at most 0.5 on every split",
        numbers=numbers,
        charts=(_error_chart(first, trajectories), _matrix_chart(first, trajectories)),
    )


def _one_split(seed: int) -> dict[str, float]:
    """Held-out errors in degrees of the flow and of the baselines, on one split."""
    split = standardised(seed)
    least_squares = baselines.tuned_alternating_least_squares(split.raw, key=jax.random.key(seed))
    return {
        "depth 3": split.rmse(end_to_end(_complete(split, 3).final)),
        "row-plus-column means": split.rmse_of_degrees(
            baselines.row_plus_column_means(split.raw).matrix
        ),
        "row-plus-column effects": split.rmse_of_degrees(
            baselines.row_plus_column_effects(split.raw).matrix
        ),
        "least squares with offsets": split.rmse_of_degrees(least_squares.matrix),
        "its rank": float(least_squares.facts["rank"]),
        "its ridge": float(least_squares.facts["ridge"]),
    }


def _error_chart(split: StandardisedProblem, trajectories: dict[int, Trajectory]) -> Chart:
    lines: dict[str, Series] = {
        f"depth {depth}": (
            _rmse_along(trajectory, split, "train"),
            _rmse_along(trajectory, split, "held out"),
        )
        for depth, trajectory in trajectories.items()
    }
    means = split.rmse_of_degrees(baselines.row_plus_column_means(split.raw).matrix)
    lines["row-plus-column means"] = ([TRAIN_RMSE, split.deviation], [means, means])
    return Curves(
        title="Error on held-out hours as training proceeds",
        x_label="training RMSE (F)",
        y_label="held-out RMSE (F)",
        lines=lines,
        log_x=True,
        log_y=True,
        reverse_x=True,
        caption="Depth 1 fits the observed hours and learns nothing about the others; deeper "
        "factorizations find one mode after another, and depth 3 ends lowest.",
    )


def _rmse_along(
    trajectory: Trajectory, split: StandardisedProblem, name: str
) -> Float[np.ndarray, " time"]:
    """A recorded loss as an error in degrees, with that of the final state at its end."""
    last = _losses(split)[name](trajectory.final)
    return split.deviation * np.sqrt(np.append(trajectory.observables[name], last))


def _matrix_chart(split: StandardisedProblem, trajectories: dict[int, Trajectory]) -> Chart:
    degrees = lambda product: split.mean + split.deviation * np.asarray(product)
    observed = np.where(split.raw.mask, seattle_temperatures(), np.nan)
    matrices = {
        "truth": seattle_temperatures(),
        "observed": observed,
        **{f"depth {depth}": degrees(end_to_end(t.final)) for depth, t in trajectories.items()},
    }
    return Heatmaps(
        title="A year of hourly temperatures, completed from 30 %",
        x_label="hour",
        y_label="day of the year",
        matrices=matrices,
        colour_label="degrees Fahrenheit",
        caption="Hourly climate normals of Seattle (NOAA).",
    )
