"""What is trained: data and a loss of the end-to-end matrix."""

from flowkit.problems.completion import AbstractProblem as AbstractProblem
from flowkit.problems.completion import MatrixCompletion as MatrixCompletion
