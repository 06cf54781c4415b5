"""What descent and Adam follow: each of their flows is approached at its order."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import flowkit as fk
from flowkit.claim import Curves
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "orders.png"
RATES = [0.1 / 2**k for k in range(5)]
TIME = 2.0


def loss(y):
    """A well with a curved floor: the third derivatives that a quadratic would lack."""
    return 0.5 * (y[0] - 1) ** 2 + (y[1] - y[0] ** 2) ** 2


def main(figure: Path = FIGURE) -> None:
    """Measure the distance of training from its flow at five learning rates, and fit its order."""
    jax.config.update("jax_enable_x64", True)
    start = jnp.array([-0.5, 0.5])
    studies = {
        "descent, gradient flow": {},
        "descent, modified flow of order 1": {"modified": 1},
        "descent, modified flow of order 2": {"modified": 2},
        "Adam, Adam's flow": {"rule": fk.rules.Adam(a1=1.0, a2=1.0, eps=1.0)},
    }
    lines = {}
    for name, options in studies.items():
        study = fk.study_order(loss, start, RATES, TIME, **options)
        print(f"{name}: error falls with the learning rate to the power {study.slope:.2f}")
        lines[f"{name} ({study.slope:.2f})"] = (np.asarray(RATES), study.errors)

    chart = Curves(
        title="Distance of training from the flow that it follows (fitted order)",
        x_label="learning rate",
        y_label="largest relative distance at equal times",
        lines=lines,
        log_x=True,
        log_y=True,
        caption="A curved well in two dimensions, flow time 2.",
    )
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(chart))


if __name__ == "__main__":
    main()
