"""Accuracy by the number of training images, for three exact kernels on digits."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "learning_curve.png"
SIZES, TEST, DRAWS = (10, 20, 40, 80), 80, 10


def main(figure: Path = FIGURE) -> None:
    """Draw learning curves: means over random training sets, equally many of each class."""
    jax.config.update("jax_enable_x64", True)
    images, labels = fk.datasets.digits()
    pool, test = fk.datasets.split(len(labels), 160, TEST, key=jax.random.key(0))
    flat = images.reshape(len(images), -1)
    kernels = {
        "CNTK-GAP, depth 3": (fk.kernels.Convolutional(3), images),
        "NTK, depth 3": (fk.kernels.FullyConnected(3), flat),
        "linear": (fk.kernels.FullyConnected(1), flat),
    }
    lines, intervals = {}, {}
    for name, (kernel, inputs) in kernels.items():
        gram = kernel.gram(inputs[pool])
        test_gram = kernel.gram(inputs[test], inputs[pool])
        percent = np.array(
            [
                [_accuracy(gram, test_gram, labels[pool], labels[test], n, draw) for n in SIZES]
                for draw in range(DRAWS)
            ]
        )
        mean, error = percent.mean(0), percent.std(0, ddof=1) / np.sqrt(DRAWS)
        lines[name] = (SIZES, mean)
        intervals[name] = (SIZES, mean - 2 * error, mean + 2 * error)
        print(f"{name}: {', '.join(f'{m:.1f} %' for m in mean)} at n = {SIZES}")

    chart = Curves(
        title=f"Digits: kernel regression on n images, {TEST} test images",
        x_label="training images n, equally many of each class",
        y_label="accuracy (%)",
        lines=lines,
        intervals=intervals,
        log_x=True,
        caption=f"Means of {DRAWS} random training sets, with two standard errors. The linear "
        "kernel has 64 features: interpolation is worst where n comes near them.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


def _accuracy(gram, test_gram, labels, test_labels, n, draw):
    """Percent of the test images that regression on n images of the pool classifies."""
    chosen = fk.datasets.equal_per_class(labels, n // 10, key=jax.random.key(draw))
    targets = np.eye(10)[labels[chosen]] - 0.1
    fitted = fk.regression.fit(gram[np.ix_(chosen, chosen)], targets)
    predicted = np.asarray(fitted.predict(test_gram[:, chosen])).argmax(1)
    return 100 * np.mean(predicted == test_labels)


if __name__ == "__main__":
    main()
