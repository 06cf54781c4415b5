"""Gradient flow of every factor of a product."""

import itertools
from typing import ClassVar, final

import numpy as np
from jaxtyping import PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.lowering import lower
from flowkit.observables import end_to_end
from flowkit.problems import AbstractProblem
from flowkit.symbolic import factor_flow
from flowkit.trajectory import FLOW_TIME


@final
class FactorFlow(AbstractVectorField):
    """Gradient flow of every factor: dW_j/dt = -d(loss of W_N ... W_1)/dW_j.

    The state is the tuple (W_1, .., W_N); its length is the depth. Integrates the lowered
    `symbolic.factor_flow`, with G the gradient of the problem's loss at the product. Time is flow
    time under the problem's own loss convention (a mean of squares for completion).

    Source:
        arXiv:1802.06509, Theorem 1. Checked by tests/test_fields.py.
    """

    problem: AbstractProblem
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        check_problem(self.problem)

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        names = [f"W_{j}" for j in range(1, len(y) + 1)]
        gradient = self.problem.gradient(end_to_end(y))
        state = dict(zip(names, y, strict=True))
        rates = lower(factor_flow(len(y)))(t, state, {"G": gradient})
        return tuple(rates[name] for name in names)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(end_to_end(y))

    def check(self, y0: PyTree) -> None:
        check_factors(self.problem, y0)


def check_problem(problem: object) -> None:
    """Refuse what is no problem, such as a bare matrix."""
    if not isinstance(problem, AbstractProblem):
        raise ValueError(
            f"Argument `problem` must be a problem such as MatrixCompletion, but it is a "
            f"`{type(problem).__name__}`."
        )


def check_factors(problem: AbstractProblem, factors: PyTree) -> None:
    """Refuse factors that do not multiply to a matrix of the problem's shape."""
    if not isinstance(factors, tuple) or not factors or any(np.ndim(W) != 2 for W in factors):
        raise ValueError(
            f"Argument `y0` must be a tuple of at least one matrix (W_1, .., W_N), but it is "
            f"{describe(factors)}."
        )
    shapes = [np.shape(W) for W in factors]
    chained = all(b[1] == a[0] for a, b in itertools.pairwise(shapes))
    if not chained or (shapes[-1][0], shapes[0][1]) != problem.shape:
        raise ValueError(
            f"Argument `y0` must hold factors whose product W_N ... W_1 has shape "
            f"{problem.shape}, but their shapes are {shapes}."
        )
