"""A loss of your own: derive its flow, prove a law of it, integrate it, hold it to descent."""

from pathlib import Path

import jax
import numpy as np
import optax
import sympy as sp
from sympy import MatrixSymbol, Trace

import flowkit as fk
from flowkit.claim import Curves, Panels
from flowkit.report.figures import draw

FIGURE = Path(__file__).parent / "figures" / "autoencoder.png"
RATES = [0.1 / 2**k for k in range(5)]
TIME = 4.0
DECAY = 0.1


def derived() -> fk.symbolic.Derivation:
    """The flow of a linear autoencoder with weight decay (Kunin et al. 2019, arXiv:1901.08168)."""
    n, k, samples = sp.symbols("n k samples", integer=True, positive=True)
    encoder, decoder = MatrixSymbol("A", k, n), MatrixSymbol("B", n, k)
    X, decay = MatrixSymbol("X", n, samples), sp.Symbol("lambda", positive=True)
    missed = X - decoder * encoder * X
    penalty = Trace(encoder.T * encoder) + Trace(decoder.T * decoder)
    loss = Trace(missed.T * missed) / 2 + decay * penalty / 2
    flow = fk.symbolic.derive(loss, [encoder, decoder])

    imbalance = encoder * encoder.T - decoder.T * decoder
    rate = fk.symbolic.rate_along(imbalance, dict(zip(flow.state, flow.rates, strict=True)))
    left = fk.symbolic.expand(rate + 2 * decay * imbalance)
    print(f"d(A A^T - B^T B)/dt + 2 lambda (A A^T - B^T B) = {left}")
    return flow


def main(figure: Path = FIGURE) -> None:
    """Integrate the flow, compare its law with what was proved, and descent with its flows."""
    jax.config.update("jax_enable_x64", True)
    flow, rng = derived(), np.random.default_rng(0)
    X = np.diag([1.0, 0.8, 0.6, 0.3]) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    start = {"A": 0.5 * rng.normal(size=(2, 4)), "B": 0.5 * rng.normal(size=(4, 2))}
    data = {"X": X, "lambda": DECAY}
    field = fk.DerivedFlow(flow, data)

    imbalance = lambda y: ((y["A"] @ y["A"].T - y["B"].T @ y["B"]) ** 2).sum() ** 0.5
    ts = np.linspace(0, 40, 41)
    path = fk.integrate(field, start, ts, observables={"imbalance": imbalance}, rtol=1e-8)
    imbalances = np.asarray(path.observables["imbalance"])
    law = float(imbalance(start)) * np.exp(-2 * DECAY * ts)
    worst = np.abs(imbalances / law - 1).max()
    print(f"|A A^T - B^T B| falls as exp(-2 lambda t) to {worst:.1e} of itself, up to t = 40")

    flows = {"gradient flow": lambda rate: field}
    modified = fk.symbolic.modified_flow(flow, 1)
    flows["modified flow"] = lambda rate: fk.DerivedFlow(modified, data | {"eta": rate})
    lines = {}
    for name, of in flows.items():
        errors = [distance(of(rate), start, rate) for rate in RATES]
        order = fk.fitted_order(RATES, errors)
        print(f"descent stays with its {name} to the power {order:.2f} of the learning rate")
        lines[f"{name} ({order:.2f})"] = (np.asarray(RATES), np.asarray(errors))
    figure.parent.mkdir(exist_ok=True)
    figure.write_bytes(draw(drawn(ts, imbalances, law, lines)))


def distance(field: fk.DerivedFlow, start: dict, rate: float) -> float:
    """The relative distance of descent from a flow at equal times, where it is largest."""
    steps = round(TIME / rate)
    descent = fk.descend(
        field.loss, start, optax.sgd(rate), steps, learning_rate=rate, save_every=steps // 8
    )
    return fk.compare(descent, fk.integrate(field, start, descent.ts, rtol=1e-10)).relative


def drawn(ts: np.ndarray, imbalance: np.ndarray, law: np.ndarray, orders: dict) -> Panels:
    """The law next to what was integrated, and the orders."""
    return Panels(
        title="A linear autoencoder with weight decay: derived, integrated, trained",
        panels=(
            Curves(
                title="what weight decay does to balancedness",
                x_label="flow time",
                y_label="norm of A A^T - B^T B",
                lines={"integrated": (ts, imbalance), "exp(-2 lambda t), proved": (ts, law)},
                references=("exp(-2 lambda t), proved",),
                log_y=True,
            ),
            Curves(
                title="descent and its flows (order)",
                x_label="learning rate",
                y_label="largest relative distance",
                lines=orders,
                log_x=True,
                log_y=True,
            ),
        ),
        columns=2,
        caption="Four inputs, two hidden units, lambda = 0.1. The flow, its modified flow and the "
        "law are derived from one line of SymPy.",
    )


if __name__ == "__main__":
    main()
