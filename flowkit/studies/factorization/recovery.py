"""How well a low-rank matrix is recovered: by a flow, or by the least nuclear norm."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowkit import initial, until
from flowkit.baselines import minimum_nuclear_norm
from flowkit.claims.implicit_bias import succeeded
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow
from flowkit.observables import effective_rank, end_to_end, nuclear_norm
from flowkit.problems import MatrixCompletion, MatrixSensing

TRAIN_LOSS = 1e-6  # at which training stops, as published
FOREVER = 1e9  # of flow time; the slowest runs take 1e6
SOURCE = "1905.13655"  # arXiv: the experiments on completion and sensing
WANTED = "wanted"  # where nothing is published: what this study asks of itself

Matrix = Float[Array | np.ndarray, "out in"]


def facts(product: Matrix, target: Matrix) -> dict[str, float]:
    """Error over all entries, nuclear norm and effective rank, the latter two of both matrices."""
    product, target = jnp.asarray(product), jnp.asarray(target)
    return {
        "error": float(jnp.mean((product - target) ** 2)),
        "nuclear_norm": float(nuclear_norm(product)),
        "effective_rank": float(effective_rank(product)),
        "true_nuclear_norm": float(nuclear_norm(target)),
        "true_effective_rank": float(effective_rank(target)),
    }


def recovered(
    problem: MatrixCompletion | MatrixSensing,
    target: Matrix,
    *,
    depth: int,
    scale: float,
    key: jax.Array,
) -> dict[str, float]:
    """Facts of the product where the flow from a Gaussian start reaches `TRAIN_LOSS`."""
    trajectory = integrate(
        FactorFlow(problem),
        initial.gaussian(problem, depth, scale, key=key),
        [0.0, FOREVER],
        until=until.train_loss(TRAIN_LOSS),
    )
    product = end_to_end(succeeded(trajectory).final)
    return facts(product, target) | {"flow_time": trajectory.final_time}


def least_nuclear_norm(
    problem: MatrixCompletion | MatrixSensing, target: Matrix
) -> dict[str, float]:
    """Facts of the matrix of least nuclear norm, with the relative gap of its certificate."""
    found = minimum_nuclear_norm(problem)
    if found.certificate is None:
        raise ArithmeticError("The least nuclear norm came without a certificate.")
    return facts(found.matrix, target) | {"relative_gap": found.certificate.relative_gap}


def values(parts: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One fact of each part."""
    return [part[name] for part in parts]


def ratios(parts: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """A fact of each part over that of the true matrix."""
    return [part[name] / part[f"true_{name}"] for part in parts]
