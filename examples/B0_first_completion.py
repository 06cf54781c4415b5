"""First completion: a matrix of rank three from 30 % of its entries, one mode after another."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Heatmaps
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "first_completion.png"
SIZE, OBSERVED = 60, 0.3


def landscape() -> np.ndarray:
    """Three smooth patterns, each a column times a row, of falling strength."""
    x = np.linspace(0, 1, SIZE)
    hill, wave, ripple = np.sin(np.pi * x), np.sin(2 * np.pi * x), np.sin(5 * np.pi * x)
    return 3 * np.outer(hill, hill) + 2 * np.outer(wave, wave) + np.outer(ripple, ripple)


def main(figure: Path = FIGURE) -> None:
    """Print error and effective rank along the flow, and draw three of its states."""
    jax.config.update("jax_enable_x64", True)

    # What is to be found, and the entries that are shown to the flow.
    target = landscape()
    problem = fk.MatrixCompletion.from_matrix(target, observed=OBSERVED, key=jax.random.key(0))

    # W = W_3 W_2 W_1 from a small random start, nothing said about its rank: hidden layers are 60
    # wide. Gradient flow on the mean of squares over observed entries, to a loss of 1e-6.
    start = fk.initial.gaussian(problem, depth=3, scale=1e-4, key=jax.random.key(1))
    trajectory = fk.integrate(
        fk.FactorFlow(problem),
        start,
        np.concatenate([[0.0], np.geomspace(1, 1e6, 200)]),
        until=fk.until.train_loss(1e-6),
        rtol=1e-4,
    )

    # Modes are learnt one after another. Two states on the way: the last ones before the second
    # and the third singular value reach a tenth of what they are in the truth.
    products = jax.vmap(fk.observables.end_to_end)(trajectory.states)
    final = fk.observables.end_to_end(trajectory.final)
    states = [*zip(trajectory.ts, products, strict=True), (trajectory.final_time, final)]
    values, truth = (np.linalg.svd(np.asarray(W), compute_uv=False) for W in (products, target))
    chosen = [int(np.argmax(values[:, k] > 0.1 * truth[k])) - 1 for k in (1, 2)] + [-1]
    matrices = {
        "truth": target,
        f"observed ({100 * OBSERVED:g} %)": np.where(problem.mask, target, np.nan),
    }
    held_out = problem.held_out(target)
    for modes, (time, product) in enumerate((states[i] for i in chosen), 1):
        error = float(held_out.loss(product)) ** 0.5
        rank = float(fk.observables.effective_rank(product))
        print(f"t = {time:.0f}: effective rank {rank:.2f}, held-out RMSE {error:.1e}")
        matrices[f"t = {time:.0f}: {modes} mode{'s' if modes > 1 else ''}"] = np.asarray(product)

    chart = Heatmaps(
        title="A depth-3 factorization completes a matrix of rank three, one mode after another",
        x_label="column",
        y_label="row",
        matrices=matrices,
        colour_label="entry",
        caption="Nothing says that the rank is low: a deep factorization from a small start finds "
        "strong modes first, and stops at as many as the entries need.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
