"""Claims about infinitely wide networks: their training is kernel regression, on real images."""

from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from sklearn.linear_model import RidgeClassifierCV

from flowkit import regression
from flowkit.agreement import fitted_order
from flowkit.claim import Claim, Curves, Verdict
from flowkit.datasets import digits
from flowkit.dynamics import RKC2, integrate
from flowkit.fields import KernelFlow
from flowkit.kernels import Convolutional, FullyConnected
from flowkit.symbolic import kernel_flow
from flowkit.trajectory import Trajectory

IMAGES, QUICK_IMAGES = 200, 80  # for training, and as many held out
DEPTH = 3
CLASSES = 10
LABEL_OFFSET = -0.1  # labels are e_c - 0.1, as published
TOLERANCES = (1e-4, 1e-6, 1e-8)
WORST_ERROR = 1e-5  # of the outputs, which are of order one, at the tightest tolerance
LEAST_ORDER = 0.5  # a second-order method with an error estimate of order three gives 2/3
DECAYED = 20.0  # the flow runs to 20 / (smallest eigenvalue): e^-20 is left of the slowest mode


Grams = tuple[Float[Array, "train train"], Float[Array, "test train"]]


@dataclass(frozen=True)
class _Digits:
    """Training and held-out digits, disjoint and drawn at random."""

    images: Float[np.ndarray, "train height width channels"]
    labels: Int[np.ndarray, " train"]
    test_images: Float[np.ndarray, "test height width channels"]
    test_labels: Int[np.ndarray, " test"]

    @property
    def targets(self) -> Float[Array, "train classes"]:
        return jnp.asarray(np.eye(CLASSES)[self.labels] + LABEL_OFFSET)


class _Study:
    """Images and the kernels between them, each computed once for both claims."""

    def __init__(self, data: _Digits):
        self.data = data

    @cached_property
    def pooled(self) -> Grams:
        return self.grams(Convolutional(DEPTH))

    @cached_property
    def flattened(self) -> Grams:
        return self.grams(Convolutional(DEPTH, readout="flatten"))

    @cached_property
    def fully_connected(self) -> Grams:
        data = self.data
        flat, test_flat = (x.reshape(len(x), -1) for x in (data.images, data.test_images))
        kernel = FullyConnected(DEPTH)
        return kernel.gram(flat), kernel.gram(test_flat, flat)

    def grams(self, kernel: Convolutional) -> Grams:
        images, test_images = self.data.images, self.data.test_images
        return kernel.gram(images), kernel.gram(test_images, images)


def kernel_claims(*, quick: bool) -> tuple[Claim, ...]:
    """Kernel flow is kernel regression with the exact CNTK, and generalises."""
    study = _Study(_draw(QUICK_IMAGES if quick else IMAGES))
    return (
        Claim(
            name="kernel flow is kernel regression",
            statement="The integrated flow of an infinitely wide convolutional network's outputs "
            "is exact CNTK regression, at every time and in the limit, on held-out images too.",
            source="arXiv:1904.11955, Lemma 3.1 and Theorem 3.2",
            check=lambda: _check_flow(study),
            formulas=kernel_flow().mathml(),
        ),
        Claim(
            name="accuracy on held-out images",
            statement="Regression with the exact CNTK classifies held-out digits better than a "
            "linear classifier does.",
            source="method: arXiv:1904.11955; data: scikit-learn's digits",
            check=lambda: _check_accuracy(study),
        ),
    )


def _draw(count: int) -> _Digits:
    images, labels = digits()
    order = np.asarray(jax.random.permutation(jax.random.key(0), len(labels)))
    train, test = order[:count], order[count : 2 * count]
    return _Digits(images[train], labels[train], images[test], labels[test])


def _check_flow(study: _Study) -> Verdict:
    data, (gram, test_gram) = study.data, study.pooled
    exact = regression.fit(gram, data.targets)
    smallest, largest = (float(exact.eigenvalues[i]) for i in (0, -1))
    ts = np.concatenate([[0.0], np.geomspace(0.1 / largest, DECAYED / smallest, 25)])

    field = KernelFlow(gram, data.targets, test_gram)
    start = (jnp.zeros_like(data.targets), jnp.zeros((len(data.test_labels), CLASSES)))
    flows = [integrate(field, start, ts, solver=RKC2(), rtol=rtol) for rtol in TOLERANCES]
    errors = [_worst_error(flow, exact, test_gram) for flow in flows]
    order = fitted_order(TOLERANCES, errors)
    limit = float(jnp.abs(flows[-1].final[1] - exact.predict(test_gram)).max())
    return Verdict(
        passed=errors[-1] <= WORST_ERROR and order >= LEAST_ORDER and limit <= WORST_ERROR,
        kind="measured",
        measured=f"worst output error {errors[-1]:.1e} over all times, {limit:.1e} at the end, "
        f"falling as rtol^{order:.2f}",
        expected=f"at most {WORST_ERROR:.0e} at rtol {TOLERANCES[-1]:.0e}, falling at least as "
        f"rtol^{LEAST_ORDER}",
        numbers={
            "training images": len(data.labels),
            "condition number": largest / smallest,
            "order in rtol": order,
            "error in the limit": limit,
            **{f"worst error, rtol {r:.0e}": e for r, e in zip(TOLERANCES, errors, strict=True)},
            **{
                f"kernel products, rtol {r:.0e}": flow.stats["num_evaluations"]
                for r, flow in zip(TOLERANCES, flows, strict=True)
            },
        },
        charts=(_flow_chart(data, flows[-1], exact, test_gram),),
    )


def _worst_error(
    flow: Trajectory, exact: regression.KernelRegression, test_gram: Float[Array, "test train"]
) -> float:
    """The largest deviation of any output, training or test, at any saved time."""
    if not flow.result.successful:
        raise ArithmeticError(f"The integration failed: {flow.result.reason}.")
    train, test = flow.states
    exact_train, exact_test = _solved(exact, test_gram, jnp.asarray(flow.ts))
    return float(jnp.maximum(jnp.abs(train - exact_train).max(), jnp.abs(test - exact_test).max()))


@eqx.filter_jit
def _solved(
    exact: regression.KernelRegression,
    test_gram: Float[Array, "test train"],
    ts: Float[Array, " time"],
) -> tuple[Float[Array, "time train classes"], Float[Array, "time test classes"]]:
    """Training and test outputs in closed form at all times."""
    predict = lambda t: exact.predict_at(test_gram, t)
    return jax.lax.map(exact.train_at, ts), jax.lax.map(predict, ts)


def _flow_chart(
    data: _Digits,
    flow: Trajectory,
    exact: regression.KernelRegression,
    test_gram: Float[Array, "test train"],
) -> Curves:
    ts = flow.ts[1:]
    train, test = (np.asarray(outputs)[1:] for outputs in flow.states)
    _, solved = _solved(exact, test_gram, jnp.asarray(ts))
    test_targets = np.eye(CLASSES)[data.test_labels] + LABEL_OFFSET
    mean_square = lambda outputs, targets: np.mean((outputs - targets) ** 2, axis=(1, 2))
    return Curves(
        title=f"Training an infinitely wide CNN (CNTK-GAP, depth {DEPTH}) on digits",
        x_label="flow time (1/2 sum of squares)",
        y_label="mean squared error",
        lines={
            "training, integrated": (ts, mean_square(train, np.asarray(data.targets))),
            "held out, integrated": (ts, mean_square(test, test_targets)),
        },
        points={"held out, exact regression": (ts, mean_square(np.asarray(solved), test_targets))},
        log_x=True,
        log_y=True,
        least_y=1e-5,
        caption="Lines: the kernel flow integrated by Diffrax. Circles: the closed form.",
    )


def _check_accuracy(study: _Study) -> Verdict:
    data = study.data
    grams = {
        f"CNTK-GAP, depth {DEPTH}": study.pooled,
        f"CNTK-V, depth {DEPTH}": study.flattened,
        f"fully connected NTK, depth {DEPTH}": study.fully_connected,
    }
    correct = {}
    for name, (gram, test_gram) in grams.items():
        predicted = regression.fit(gram, data.targets).predict(test_gram)
        correct[name] = np.asarray(predicted.argmax(1)) == data.test_labels
    flat, test_flat = (x.reshape(len(x), -1) for x in (data.images, data.test_images))
    linear = RidgeClassifierCV(alphas=np.geomspace(1e-3, 1e3, 13)).fit(flat, data.labels)
    correct["linear ridge"] = linear.predict(test_flat) == data.test_labels
    gap, reference = correct[f"CNTK-GAP, depth {DEPTH}"], correct["linear ridge"]
    gain, gain_error = _mean_and_error(gap.astype(float) - reference)
    return Verdict(
        passed=gain > 2 * gain_error,
        kind="measured",
        measured="; ".join(f"{name} {_percent(hits)}" for name, hits in correct.items())
        + f"; {len(gap)} training and held-out images",
        expected="CNTK-GAP above linear ridge by more than 2 standard errors (paired)",
        numbers={name: float(hits.mean()) for name, hits in correct.items()}
        | {"gain over linear ridge": gain, "its standard error": gain_error},
    )


def _percent(hits: Bool[np.ndarray, " test"]) -> str:
    mean, error = _mean_and_error(hits.astype(float))
    return f"{100 * mean:.1f} +- {100 * error:.1f} %"


def _mean_and_error(values: Float[np.ndarray, " test"]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
