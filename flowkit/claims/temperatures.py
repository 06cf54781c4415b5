"""The Seattle temperatures as a completion problem in standard units."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flowkit.datasets import seattle_temperatures
from flowkit.problems import MatrixCompletion

OBSERVED = 0.3


@dataclass(frozen=True)
class StandardisedProblem:
    """One random split, its values centred and scaled by the observed mean and deviation.

    Attributes:
        problem: The observed entries in standard units.
        held_out: The other known entries in standard units.
        raw: The observed entries in degrees Fahrenheit.
        mean: Mean of the observed entries, in degrees.
        deviation: Standard deviation of the observed entries, in degrees.
    """

    problem: MatrixCompletion
    held_out: MatrixCompletion
    raw: MatrixCompletion
    mean: float
    deviation: float

    def rmse(self, completed: Float[Array, "out in"]) -> float:
        """Root mean square error of a matrix in standard units, in degrees, on held-out entries."""
        return self.deviation * float(jnp.sqrt(self.held_out.loss(completed)))

    def rmse_of_degrees(self, completed: Float[np.ndarray, "out in"]) -> float:
        """The same of a matrix in degrees."""
        return self.rmse(jnp.asarray((completed - self.mean) / self.deviation))

    def train_loss(self, degrees: float) -> float:
        """The mean of squares, in standard units, of a training error in degrees."""
        return (degrees / self.deviation) ** 2


def standardised(seed: int) -> StandardisedProblem:
    """Observe 30 % of the known temperatures, drawn by `seed`."""
    target = seattle_temperatures()
    raw = MatrixCompletion.from_matrix(target, observed=OBSERVED, key=jax.random.key(seed))
    mean, deviation = float(jnp.mean(raw.values)), float(jnp.std(raw.values))
    standard = (target - mean) / deviation
    problem = MatrixCompletion.from_matrix(standard, observed=raw.mask)
    return StandardisedProblem(problem, problem.held_out(standard), raw, mean, deviation)
