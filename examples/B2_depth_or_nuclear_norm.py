"""Depth or nuclear norm: what a deep factorization makes small is not the norm but the rank."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves, Panels
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "depth_or_nuclear_norm.png"
SIZE, RANK, OBSERVED = 40, 2, 400
DEPTHS, SCALES = (2, 3), (1.0, 1e-1, 1e-2, 1e-3)
REFERENCES = ("truth", "least nuclear norm")


def main(figure: Path = FIGURE) -> None:
    """Print and draw error, nuclear norm and effective rank, by depth and scale of the start."""
    jax.config.update("jax_enable_x64", True)
    left, right = (jax.random.normal(jax.random.key(k), (SIZE, RANK)) for k in (0, 1))
    target = np.asarray(left @ right.T)
    problem = fk.MatrixCompletion.from_matrix(target, observed=OBSERVED, key=jax.random.key(2))
    error = fk.observables.LossOf(problem.held_out(target))
    measures = {
        "held-out mean square": error,
        "nuclear norm": fk.observables.nuclear_norm,
        "effective rank": fk.observables.effective_rank,
    }

    # The convex rival: of all matrices that meet the observations, the one of least nuclear norm.
    # Its certificate says how far above the true minimum it can be at most.
    convex = fk.baselines.minimum_nuclear_norm(problem, solver="splitting", tolerance=1e-5)
    print(f"least nuclear norm: relative duality gap {convex.certificate.relative_gap:.0e}")

    # The flow, from random starts of each scale, to a train loss of 1e-5.
    def make(depth, scale):
        start = fk.initial.gaussian(problem, depth, scale, key=jax.random.key(3))
        return fk.FactorFlow(problem), start

    found = fk.sweep(
        make,
        {"depth": list(DEPTHS), "scale": list(SCALES)},
        [0.0, 1e9],
        observables=measures,
        until=fk.until.train_loss(1e-5),
        rtol=1e-4,
    )
    panels = []
    for name, measure in measures.items():
        known = {
            "truth": float(measure(target)),
            "least nuclear norm": float(measure(convex.matrix)),
        }
        lines = {
            f"depth {depth}": (SCALES, found[f"final_{name}"].sel(depth=depth).values)
            for depth in DEPTHS
        }
        for label, (_, values) in lines.items():
            print(f"{name}, {label}: {', '.join(f'{value:.3g}' for value in values)}")
        for label, value in known.items():
            print(f"{name}, {label}: {value:.3g}")
            if value > 1e-9:  # the truth has no error
                lines[label] = (SCALES, np.full(len(SCALES), value))
        panels.append(
            Curves(
                title=name,
                x_label="scale of the product at the start",
                y_label=name,
                lines=lines,
                references=tuple(label for label in REFERENCES if label in lines),
                log_x=True,
                log_y=measure is error,
                reverse_x=True,
            )
        )
    chart = Panels(
        title=f"Completion, {SIZE} x {SIZE}, rank {RANK}, {OBSERVED} entries observed",
        panels=tuple(panels),
        columns=3,
        caption="The matrix of least nuclear norm has a smaller norm than the truth and a larger "
        "rank. A deep factorization from a small start finds the rank, and with it the truth.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
