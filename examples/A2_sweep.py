"""Sweep a completion over depths, scales and seeds, and draw what the start decides."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "sweep.png"
SIZE, RANK, OBSERVED = 30, 2, 300


def main(figure: Path = FIGURE, store: Path | None = None) -> None:
    """Train to the same loss from every start; `store` keeps the points, so that a kill costs one.

    The result is an xarray Dataset: `means` below is a line of its arithmetic.
    """
    jax.config.update("jax_enable_x64", True)
    left, right = (jax.random.normal(jax.random.key(k), (SIZE, RANK)) for k in (0, 1))
    target = np.asarray(left @ right.T)
    problem = fk.MatrixCompletion.from_matrix(target, observed=OBSERVED, key=jax.random.key(2))
    held_out = fk.observables.LossOf(problem.held_out(target))

    def make(depth, scale, seed):
        start = fk.initial.gaussian(problem, depth, scale, key=jax.random.key(seed))
        return fk.FactorFlow(problem), start

    found = fk.sweep(
        make,
        {"depth": [2, 3], "scale": [1.0, 1e-1, 1e-2, 1e-3, 1e-4], "seed": range(3)},
        [0.0, 1e9],
        observables={"held out": held_out, "rank": fk.observables.effective_rank},
        until=fk.until.train_loss(1e-5),
        rtol=1e-4,
        store=store,
    )
    means = np.exp(np.log(found["final_held out"]).mean("seed"))
    print(found)
    for depth in found.depth.values:
        errors = ", ".join(f"{error:.1e}" for error in means.sel(depth=depth).values)
        print(f"depth {depth}: held-out error {errors} at scale 1 to 1e-4")

    chart = Curves(
        title="Completion at a train loss of 1e-5, by the scale of the start",
        x_label="scale of the product at the start",
        y_label="held-out mean square",
        lines={f"depth {d}": (found.scale.values, means.sel(depth=d).values) for d in (2, 3)},
        points={
            f"depth {d}, each seed": (
                np.repeat(found.scale.values, found.seed.size),
                found["final_held out"].sel(depth=d).values.ravel(),
            )
            for d in (2, 3)
        },
        log_x=True,
        log_y=True,
        caption="Rank 2, 30 x 30, a third observed. Lines: geometric mean of three seeds.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
