"""Ridge and early stopping of kernel regression with wrong labels: two ways to say no in time."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "ridge_or_early_stopping.png"
TRAIN, TEST, WRONG = 300, 700, 0.6


def main(figure: Path = FIGURE) -> None:
    """Draw the test error by the ridge, and by the inverse of the time at which training stops."""
    jax.config.update("jax_enable_x64", True)
    images, labels = fk.datasets.digits()
    images = images.reshape(len(images), -1)
    train, test = fk.datasets.split(len(labels), TRAIN, TEST, key=jax.random.key(0))
    kernel = fk.kernels.FullyConnected(3)
    gram, test_gram = kernel.gram(images[train]), kernel.gram(images[test], images[train])

    rng = np.random.default_rng(0)
    given = np.where(rng.random(TRAIN) < WRONG, rng.integers(0, 10, TRAIN), labels[train])
    targets, truth = np.eye(10)[given], np.eye(10)[labels[test]]
    mean_square = lambda outputs: float(np.mean((np.asarray(outputs) - truth) ** 2))
    flow = fk.regression.fit(gram, targets)
    strengths = np.geomspace(1e-2, 1e3, 50)
    ridge = [
        mean_square(fk.regression.fit(gram, targets, ridge=r).predict(test_gram)) for r in strengths
    ]
    stopped = [mean_square(flow.predict_at(test_gram, 1 / r)) for r in strengths]
    for name, errors in (("ridge", ridge), ("early stopping", stopped)):
        best = int(np.argmin(errors))
        print(f"{name}: least test error {errors[best]:.4f} at {strengths[best]:.2g}")

    chart = Curves(
        title=f"Digits, {100 * WRONG:g} % of {TRAIN} labels drawn at random: NTK of depth 3",
        x_label="ridge, or 1 / flow time (1/2 sum of squares)",
        y_label="mean squared error, true labels",
        lines={
            "ridge, at the end of training": (strengths, ridge),
            "no ridge, stopped": (strengths, stopped),
            "no ridge, at the end of training": (
                strengths[[0, -1]],
                [mean_square(flow.predict(test_gram))] * 2,
            ),
        },
        log_x=True,
        log_y=True,
        caption="Stopping at time t acts on the modes of the kernel much as a ridge of 1 / t does.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
