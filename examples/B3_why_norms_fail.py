"""Why norms fail: a flow that drives every norm to infinity, and one that prefers rank to norm."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import flowkit as fk
from flowkit.claim import Curves, Panels
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "why_norms_fail.png"
SCALES = (1e-1, 1e-2, 1e-4, 1e-6, 1e-9, 1e-12)
R = 3.0


def main(figure: Path = FIGURE) -> None:
    """Print and draw what happens to an unobserved entry, and to the nuclear norm."""
    jax.config.update("jax_enable_x64", True)
    chart = Panels(
        title="No norm is what a small start makes small",
        panels=(divergence(), greed()),
        columns=2,
        caption="Left: Razin and Cohen 2020. Right: Li, Luo and Lyu 2021.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


def divergence() -> Curves:
    """Complete [[*, 1], [1, 0]]: as the loss falls, the free entry grows and the rank nears one.

    From a positive determinant the product keeps one: it cannot be [[w, 1], [1, 0]], whose
    determinant is -1, and reaches loss zero at infinity only.
    """
    target = np.array([[np.nan, 1.0], [1.0, 0.0]])
    problem = fk.MatrixCompletion.from_matrix(target, observed=~np.isnan(target))
    trajectory = fk.integrate(
        fk.FactorFlow(problem),
        fk.initial.identity(problem, depth=2, scale=1e-3),
        np.concatenate([[0.0], np.geomspace(0.1, 1e6, 200)]),
        until=fk.until.train_loss(1e-4),
        observables={
            "train loss": fk.observables.LossOf(problem),
            "unobserved entry": lambda y: jnp.abs(fk.observables.end_to_end(y)[0, 0]),
            "effective rank": fk.observables.effective_rank,
        },
        rtol=1e-9,
    )
    seen = {name: np.asarray(values)[1:] for name, values in trajectory.observables.items()}
    for name, values in seen.items():
        print(f"{name}: {values[0]:.3g} at the start, {values[-1]:.3g} at the end")
    return Curves(
        title="[[*, 1], [1, 0]]: every norm diverges",
        x_label="flow time",
        y_label="size",
        lines={name: (trajectory.ts[1:], values) for name, values in seen.items()},
        log_x=True,
        log_y=True,
    )


def greed() -> Curves:
    """Complete a symmetric 4 x 4 matrix from three entries: 1, R and R.

    The least nuclear norm is 4 R; rank one, by the sixteen entries that then follow, has 2 + 2 R^2.
    The smaller the start, the nearer the flow comes to rank one, at the cost of the norm.
    """
    target = np.full((4, 4), np.nan)
    for row, column, value in ((0, 2, 1.0), (0, 3, R), (1, 2, R)):
        target[row, column] = target[column, row] = value
    problem = fk.MatrixCompletion.from_matrix(target, observed=~np.isnan(target))
    norms = []
    for scale in SCALES:
        trajectory = fk.integrate(
            fk.FactorFlow(problem),
            fk.initial.identity(problem, depth=2, scale=scale),
            [0.0, 1e6],
            until=fk.until.train_loss(1e-10),
            rtol=1e-7,
        )
        norms.append(float(fk.observables.nuclear_norm(trajectory.final)))
        rank = float(fk.observables.effective_rank(trajectory.final))
        print(f"scale {scale:.0e}: nuclear norm {norms[-1]:.2f}, effective rank {rank:.2f}")
    flat = lambda value: (SCALES, [value] * len(SCALES))
    return Curves(
        title="Rank comes before norm",
        x_label="scale of the product at the start",
        y_label="nuclear norm",
        lines={
            "nuclear norm": (SCALES, norms),
            "least nuclear norm": flat(4 * R),
            "rank one": flat(2 + 2 * R**2),
        },
        references=("least nuclear norm", "rank one"),
        log_x=True,
        reverse_x=True,
    )


if __name__ == "__main__":
    main()
