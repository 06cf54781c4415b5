"""Training an infinitely wide convolutional network: its outputs at every time, in closed form."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "kernel_flow.png"
IMAGES = 60  # for training, and as many for testing


def main(figure: Path = FIGURE) -> None:
    """Draw the classification error on training and test images along kernel gradient flow."""
    jax.config.update("jax_enable_x64", True)
    images, labels = fk.datasets.digits()
    train, test = fk.datasets.split(len(labels), IMAGES, IMAGES, key=jax.random.key(0))
    lines = {}
    for readout, name in (("gap", "CNTK-GAP"), ("flatten", "CNTK-V")):
        kernel = fk.kernels.Convolutional(3, readout=readout)
        gram = kernel.gram(images[train])
        test_gram = kernel.gram(images[test], images[train])
        flow = fk.regression.fit(gram, np.eye(10)[labels[train]] - 0.1)
        scaled = np.geomspace(0.1, 1e6, 60)
        ts = scaled / float(flow.eigenvalues[-1])  # the slowest and the fastest mode differ
        errors = {
            "training": [_error(flow.train_at(t), labels[train]) for t in ts],
            "test": [_error(flow.predict_at(test_gram, t), labels[test]) for t in ts],
        }
        for which, values in errors.items():
            lines[f"{name}, {which}"] = (scaled, values)
        print(f"{name}: test error {errors['test'][-1]:.1f} % at the end of training")

    chart = Curves(
        title=f"Digits: gradient flow of infinitely wide CNNs, {IMAGES} training images",
        x_label="flow time x largest eigenvalue of the kernel matrix (1/2 sum of squares)",
        y_label="misclassified (%)",
        lines=lines,
        log_x=True,
        least_y=-2.0,
        caption="Depth 3. The flow is solved exactly in the eigenbasis of the kernel matrix.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


def _error(outputs, labels):
    return 100 * np.mean(np.asarray(outputs).argmax(1) != labels)


if __name__ == "__main__":
    main()
