"""What every baseline returns: a matrix, facts of its fit, and a certificate if it has one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from flowkit.problems import MatrixCompletion

Matrix = Float[np.ndarray, "out in"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """A proof, by weak duality, of how far a convex objective is above its minimum at most.

    Attributes:
        primal: The objective at the matrix, which satisfies every constraint.
        dual: A lower bound of the minimum: the dual objective at `multipliers`.
        multipliers: A point that is feasible for the dual, one number per observation.
    """

    primal: float
    dual: float
    multipliers: Float[np.ndarray, " observed"] = field(repr=False)

    @property
    def gap(self) -> float:
        """The duality gap: the objective is above its minimum by this much at most."""
        return self.primal - self.dual

    @property
    def relative_gap(self) -> float:
        """The gap in units of the objective; zero where both are zero."""
        return self.gap / abs(self.primal) if self.gap else 0.0


@dataclass(frozen=True, eq=False)
class Completed:
    """A completed matrix.

    Attributes:
        matrix: The estimate of every entry, observed ones included, in the units of the values.
        facts: What the fit was and did, by name; the docstring of each method lists them.
        certificate: How far from optimal the matrix is at most, of a convex method.
    """

    matrix: Matrix = field(repr=False)
    facts: Mapping[str, float | int | str]
    certificate: Certificate | None = None


def observed_in(problem: MatrixCompletion) -> tuple[Bool[np.ndarray, "out in"], Matrix]:
    """Where a problem is observed, and its values there, in float64, with zeros elsewhere."""
    if not isinstance(problem, MatrixCompletion):
        raise ValueError(
            f"Argument `problem` must be a MatrixCompletion, but it is a "
            f"`{type(problem).__name__}`."
        )
    values = np.zeros(problem.shape)
    values[np.asarray(problem.rows), np.asarray(problem.cols)] = np.asarray(problem.values)
    return problem.mask, values


def check_positive(**numbers: float | int) -> None:
    """Refuse, by name, a number that is not positive and finite."""
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"Argument `{name}` must be positive and finite, but it is {value!r}.")
