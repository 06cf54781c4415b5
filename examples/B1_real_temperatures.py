"""Complete a year of hourly temperatures from 30 % of them, at depths 1, 2 and 3."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Heatmaps
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "temperatures.png"
TRAIN_RMSE = 0.1  # degrees Fahrenheit, the resolution of the data


def main(figure: Path = FIGURE) -> None:
    """Print the held-out error at each depth and draw the completed matrices."""
    jax.config.update("jax_enable_x64", True)

    # A row for each day of the year, a column for each hour; three entries in ten are observed.
    target = fk.datasets.seattle_temperatures()
    observed = fk.MatrixCompletion.from_matrix(target, observed=0.3, key=jax.random.key(0))
    mean, deviation = float(observed.values.mean()), float(observed.values.std())

    # In standard units a scale of the start means the same whatever is measured.
    standard = (target - mean) / deviation
    problem = fk.MatrixCompletion.from_matrix(standard, observed=observed.mask)
    held_out = problem.held_out(standard)
    matrices = {"truth": target, "observed (30 %)": np.where(observed.mask, target, np.nan)}

    # One flow, one start, one end of training; only the number of factors differs. Depth 1 moves
    # observed entries alone. (`fk.estimators.DeepMatrixFactorization` takes off the mean of each
    # hour and stops by held-out entries; `flowkit reproduce temperatures` compares it with others.)
    for depth in (1, 2, 3):
        trajectory = fk.integrate(
            fk.FactorFlow(problem),
            fk.initial.gaussian(problem, depth, scale=1e-3, key=jax.random.key(0)),
            [0, 1e7],
            until=fk.until.train_loss((TRAIN_RMSE / deviation) ** 2),
            solver=fk.dynamics.RKC2(),  # the tail of training is stiff
            rtol=1e-3,
        )
        product = fk.observables.end_to_end(trajectory.final)
        rmse = deviation * float(held_out.loss(product)) ** 0.5
        print(f"depth {depth}: held-out RMSE {rmse:.2f} F ({trajectory.result.reason})")
        matrices[f"depth {depth}: {rmse:.2f} F"] = mean + deviation * np.asarray(product)

    chart = Heatmaps(
        title="A year of hourly temperatures, completed by gradient flow; held-out RMSE",
        x_label="hour",
        y_label="day of the year",
        matrices=matrices,
        colour_label="degrees Fahrenheit",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
