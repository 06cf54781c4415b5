"""Claims about finite networks: the wider, the closer to their kernel, drawn and trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from flowkit import regression
from flowkit.agreement import fitted_order
from flowkit.claim import Claim, Curves, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import ModelFlow
from flowkit.kernels import Convolutional, FullyConnected, empirical
from flowkit.networks import ConvolutionalNetwork, FullyConnectedNetwork

DEPTH = 3
INPUTS, FEATURES = 5, 4  # unit vectors in general position
WIDTHS = (64, 192, 576)
IMAGES, IMAGE_SHAPE = 3, (3, 3, 2)
CHANNELS = (24, 72, 216)
DRAWS = 64  # over which errors are averaged; their slope is left with a deviation of about 0.05
SLOPE, SLOPE_TOLERANCE = -0.5, 0.1
WORST_KERNEL_ERROR = 0.2  # relative, at the largest width

TRAINED_WIDTHS = (32, 96, 288)
TRAINED_DRAWS = 16
TARGETS = (1.0, -1.0, 1.0, -1.0)  # at the unit vectors of the axes, which no mode leaves behind
HELD_OUT_POINTS = 4
EARLY_TIMES = (0.3, 1.0)  # flow time of 1/2 the sum of squares; half is learnt at the first
DECAYED = 10.0  # the flow ends at 10 / (smallest eigenvalue)
RTOL = 1e-4
STEEPEST, FLATTEST = -0.8, -0.3  # of the error of outputs against width, in logarithms
WORST_OUTPUT_ERROR = 0.1  # of outputs of order one, at the largest width

Kernel = FullyConnected | Convolutional
Ensemble = PyTree  # a network whose weights have a leading axis of draws
Outputs = Float[Array, "time draws points"]


@dataclass(frozen=True)
class Family:
    """Networks by width, the exact kernel of their limit, and inputs to compare them at."""

    kernel: Kernel
    make: Callable[[int, PRNGKeyArray], Any]
    widths: Sequence[int]
    inputs: Float[Array, "inputs ..."]


def finite_width_claims() -> tuple[Claim, ...]:
    """Drawn networks have the exact kernel, and trained ones its regression, as they widen."""
    return (
        Claim(
            name="wide networks have the exact kernel",
            statement="The tangent kernel of a random network converges to the exact NTK or CNTK, "
            "with an error that falls as one over the root of the width.",
            source="arXiv:1904.11955, Theorem 3.1 (proved with the rate width^(-1/4))",
            check=_check_kernels,
        ),
        Claim(
            name="a trained wide network is kernel regression",
            statement="Trained by gradient flow, all layers of it, a network predicts held-out "
            "points as kernel regression with the exact NTK does, the closer the wider it is.",
            source="arXiv:1904.11955, Theorem 3.2",
            check=_check_training,
        ),
    )


def fully_connected() -> Family:
    """Networks of three layers at unit vectors."""
    return Family(
        FullyConnected(DEPTH),
        lambda width, key: FullyConnectedNetwork(DEPTH, width, FEATURES, key=key),
        WIDTHS,
        _unit_vectors(INPUTS),
    )


def convolutional() -> Family:
    """CNTK-GAP networks of three layers, of which the middle one is trained, at small images."""
    return Family(
        Convolutional(DEPTH),
        lambda width, key: ConvolutionalNetwork(DEPTH, width, IMAGE_SHAPE, key=key),
        CHANNELS,
        jax.random.normal(jax.random.key(0), (IMAGES, *IMAGE_SHAPE)),
    )


def _unit_vectors(count: int) -> Float[Array, "count features"]:
    x = jax.random.normal(jax.random.key(0), (count, FEATURES))
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _check_kernels() -> Verdict:
    families = {"fully connected": fully_connected(), "CNTK-GAP": convolutional()}
    errors = {name: kernel_errors(family) for name, family in families.items()}
    slopes = {n: fitted_order(families[n].widths, e) for n, e in errors.items()}
    last = {name: error[-1] for name, error in errors.items()}
    return Verdict(
        passed=all(abs(slope - SLOPE) <= SLOPE_TOLERANCE for slope in slopes.values())
        and max(last.values()) <= WORST_KERNEL_ERROR,
        kind="measured",
        measured="; ".join(
            f"{n}: slope {slopes[n]:.2f}, error {last[n]:.3f} at width {families[n].widths[-1]}"
            for n in families
        ),
        expected=f"slope {SLOPE} +- {SLOPE_TOLERANCE}, relative error at most "
        f"{WORST_KERNEL_ERROR} at the largest width",
        numbers={f"slope, {name}": slope for name, slope in slopes.items()}
        | {
            f"error, {name}, width {width}": error
            for name, family in families.items()
            for width, error in zip(family.widths, errors[name], strict=True)
        },
        charts=(_kernel_chart(families, errors),),
    )


def kernel_errors(family: Family) -> list[float]:
    """For each width the relative error of the Gram matrix, root mean square over networks."""
    exact = family.kernel.gram(family.inputs)
    errors = []
    for width in family.widths:
        draw = jax.jit(lambda key, width=width: family.make(width, key))
        keys = jax.random.split(jax.random.key(1), DRAWS)
        found = (empirical(_apply, draw(key), family.inputs) for key in keys)
        squares = [jnp.sum((gram - exact) ** 2) / jnp.sum(exact**2) for gram in found]
        errors.append(float(jnp.sqrt(jnp.stack(squares).mean())))
    return errors


def _apply(network: Callable, x: Float[Array, "batch ..."]) -> Float[Array, "batch outputs"]:
    return network(x)


def _kernel_chart(families: dict[str, Family], errors: dict[str, list[float]]) -> Curves:
    widths, first = families["fully connected"].widths, errors["fully connected"][0]
    return Curves(
        title=f"Tangent kernels of random networks, depth {DEPTH}",
        x_label="width or channels",
        y_label="relative error of the Gram matrix",
        lines={"width^(-1/2)": (widths, [first * (w / widths[0]) ** SLOPE for w in widths])},
        points={name: (families[name].widths, error) for name, error in errors.items()},
        log_x=True,
        log_y=True,
        caption=f"Circles: root mean square over {DRAWS} networks, against the exact kernel.",
    )


def _check_training() -> Verdict:
    x, gram = _training_data()
    errors, own_errors = zip(
        *(output_errors(_ensemble(width), x, gram) for width in TRAINED_WIDTHS), strict=True
    )
    slope, own_slope = (fitted_order(TRAINED_WIDTHS, e) for e in (errors, own_errors))
    return Verdict(
        passed=STEEPEST <= slope <= FLATTEST and errors[-1] <= WORST_OUTPUT_ERROR,
        kind="measured",
        measured=f"slope {slope:.2f}, error {errors[-1]:.3f} at width {TRAINED_WIDTHS[-1]}; "
        f"against regression with each network's own kernel slope {own_slope:.2f}, error "
        f"{own_errors[-1]:.3f}",
        expected=f"slope between {STEEPEST} and {FLATTEST}, error at most {WORST_OUTPUT_ERROR} at "
        "the largest width",
        numbers={"slope": slope, "slope, own kernel": own_slope}
        | {f"error, width {w}": e for w, e in zip(TRAINED_WIDTHS, errors, strict=True)}
        | {
            f"error, own kernel, width {w}": e
            for w, e in zip(TRAINED_WIDTHS, own_errors, strict=True)
        },
        charts=(_training_chart(errors, own_errors),),
    )


def _training_data() -> tuple[Float[Array, "points features"], Float[Array, "points points"]]:
    """Training points, then held-out points, and the exact kernel between all of them."""
    x = jnp.concatenate([jnp.eye(FEATURES), _unit_vectors(HELD_OUT_POINTS)])
    return x, FullyConnected(DEPTH).gram(x)


def _ensemble(width: int) -> Ensemble:
    draw = lambda key: FullyConnectedNetwork(DEPTH, width, FEATURES, key=key)
    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(2), TRAINED_DRAWS))


def output_errors(
    networks: Ensemble, x: Float[Array, "points features"], gram: Float[Array, "points points"]
) -> tuple[float, float]:
    """How far trained networks are from kernel regression at held-out points.

    Args:
        networks: Networks to be trained, each from its own start.
        x: Training points, then held-out points.
        gram: The exact kernel between all of them.

    Returns:
        Root mean squares over networks and points: against the exact kernel, at the worst time;
        and against each network's own kernel at the start, at the end of the flow.
    """
    n = len(TARGETS)
    slowest = float(jnp.linalg.eigvalsh(gram[:n, :n])[0])
    ts = np.array([0.0, *EARLY_TIMES, DECAYED / slowest])
    found = _train(networks, x, ts)
    exact = _regressed(found[0], gram, ts)
    own = _regressed_by_own(networks, found[0], x)
    gaps = found[:, :, n:] - exact
    mean = lambda gap: jnp.sqrt(jnp.mean(gap**2, axis=(-2, -1)))
    return float(mean(gaps).max()), float(mean(found[-1, :, n:] - own))


def _train(
    networks: Ensemble, x: Float[Array, "points features"], ts: Float[np.ndarray, " time"]
) -> Outputs:
    """Outputs at all points and times under gradient flow of 1/2 the sum of squares."""
    points, targets = x[: len(TARGETS)], jnp.asarray(TARGETS)
    loss = lambda networks: jnp.sum((_outputs(networks, points) - targets[None]) ** 2) / 2
    outputs = lambda networks: _outputs(networks, x)
    flow = integrate(ModelFlow(loss), networks, ts, observables={"outputs": outputs}, rtol=RTOL)
    if not flow.result.successful:
        raise ArithmeticError(f"The integration failed: {flow.result.reason}.")
    return jnp.asarray(flow.observables["outputs"])


def _outputs(
    networks: Ensemble, x: Float[Array, "points features"]
) -> Float[Array, "draws points"]:
    return jax.vmap(lambda network: network(x)[:, 0])(networks)


def _regressed(
    start: Float[Array, "draws points"],
    gram: Float[Array, "points points"],
    ts: Float[np.ndarray, " time"],
) -> Float[Array, "time draws held_out"]:
    """Kernel regression at held-out points, at each time and, for the last, in the limit."""
    n = len(TARGETS)
    targets = jnp.tile(jnp.asarray(TARGETS)[:, None], (1, len(start)))
    model = regression.fit(gram[:n, :n], targets, start=start[:, :n].T)
    times = (*(float(t) for t in ts[:-1]), jnp.inf)
    predict = lambda t: model.predict_at(gram[n:, :n], t, start=start[:, n:].T).T
    return jnp.stack([predict(t) for t in times])


def _regressed_by_own(
    networks: Ensemble, start: Float[Array, "draws points"], x: Float[Array, "points features"]
) -> Float[Array, "draws held_out"]:
    """The limit of kernel regression with each network's kernel before it is trained."""
    n = len(TARGETS)
    own = lambda i: empirical(_apply, jax.tree.map(lambda leaf: leaf[i], networks), x)
    grams = jnp.stack([own(i) for i in range(len(start))])
    missing = jnp.asarray(TARGETS)[None] - start[:, :n]
    learnt = jnp.linalg.solve(grams[:, :n, :n], missing[..., None])
    return start[:, n:] + (grams[:, n:, :n] @ learnt)[..., 0]


def _training_chart(errors: Sequence[float], own_errors: Sequence[float]) -> Curves:
    widths = TRAINED_WIDTHS
    lines = {
        f"width^({power:g})": (widths, [e[0] * (w / widths[0]) ** power for w in widths])
        for power, e in ((SLOPE, errors), (2 * SLOPE, own_errors))
    }
    return Curves(
        title=f"Trained networks of depth {DEPTH} against kernel regression",
        x_label="width",
        y_label="error of held-out outputs",
        lines=lines,
        points={
            "the exact kernel": (widths, errors),
            "the network's own kernel": (widths, own_errors),
        },
        log_x=True,
        log_y=True,
        caption=f"Root mean square over {TRAINED_DRAWS} networks, each trained by gradient flow.",
    )
