"""What depth does to the exact kernel of an infinitely wide ReLU network."""

from pathlib import Path

import jax
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "kernel_by_depth.png"
DEPTHS = (2, 3, 5, 9, 17)


def main(figure: Path = FIGURE) -> None:
    """Draw the NTK of two unit vectors by the angle between them, at several depths."""
    jax.config.update("jax_enable_x64", True)
    degrees = np.linspace(0, 180, 181)
    angles = np.radians(degrees)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lines = {}
    for depth in DEPTHS:
        kernel = fk.kernels.FullyConnected(depth)
        values = np.asarray(kernel.gram(circle, circle[:1]))[:, 0] / depth
        lines[f"depth {depth}"] = (degrees, values)
        print(f"depth {depth}: {values[90]:.3f} at a right angle, {values[180]:.3f} opposite")

    chart = Curves(
        title="The NTK of unit inputs, divided by its value at equal inputs",
        x_label="angle between the inputs (degrees)",
        y_label="NTK / depth",
        lines=lines,
        caption="The deeper the network, the smaller the angles that its kernel tells apart.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
