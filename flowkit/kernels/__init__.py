"""The kernel room: exact tangent and Gaussian-process kernels of infinitely wide networks."""

from flowkit.kernels.base import AbstractKernel as AbstractKernel
from flowkit.kernels.base import AbstractPairKernel as AbstractPairKernel
from flowkit.kernels.convolutional import Convolutional as Convolutional
from flowkit.kernels.duals import expectation as expectation
from flowkit.kernels.finite_width import empirical as empirical
from flowkit.kernels.fully_connected import FullyConnected as FullyConnected
from flowkit.kernels.readouts import LocalAverage as LocalAverage
from flowkit.kernels.wrappers import FlipAveraged as FlipAveraged, UnitDiagonal as UnitDiagonal
