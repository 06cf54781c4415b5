"""What is trained: data and a loss of the end-to-end matrix."""

from flowkit.problems.completion import (
    AbstractProblem as AbstractProblem,
    MatrixCompletion as MatrixCompletion,
)
from flowkit.problems.gaussian_sensing import GaussianSensing as GaussianSensing
from flowkit.problems.sensing import MatrixSensing as MatrixSensing
from flowkit.problems.weighted import WeightedCompletion as WeightedCompletion
