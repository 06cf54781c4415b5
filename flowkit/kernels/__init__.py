"""The kernel room: exact tangent and Gaussian-process kernels of infinitely wide networks.

Conventions. With s the activation, c = 1 / E[s(x)^2] of a standard normal x, d features or
channels, N units or channels of a hidden layer, q^2 the area of a filter and P positions before
the read-out, a unit of each layer sums its inputs with weights of variance

    convention             first layer           further layers     read-out
    "arora", dense         1                     sw / N             sw / N
    "arora", conv          1                     sw / (q^2 N)       sw / (q^2 N)
    "neural-tangents"      sw / d, / (q^2 d)     sw / (q^2 N)       sw / N (gap), sw / (P N)

where sw is `weight_variance` (c where omitted), plus a bias of variance `bias_variance`. "arora" is
the scale of arXiv:1904.11955, and that of its authors' program: no 1 / q^2 in the first layer, but
one at the end; "flatten" is a sum. Without biases its kernels are, for the ReLU, those of
"neural-tangents" times d / sw (dense), d / sw ("gap") or d P / sw ("flatten").

Parametrizations. "ntk": parameters N(0, 1), their deviations as factors in the forward pass
(arXiv:1806.07572). "standard": parameters drawn with these deviations and used as they are; the
tangent kernel of a layer then counts its N inputs, and its biases with 1. That is the improved
standard parametrization of arXiv:2001.07301 with `width` N (s = 1 there): a limit of networks of
s N units for s to infinity, whose NNGP is the same.

Rows of this table are checked by tests/kernels/test_conventions.py against a plain transcription,
and the convention "neural-tangents" against the values of that library. NTK, ReLU, depth 3, at the
unit vectors (1, 0, 0) and (0.6, 0.8, 0) or at two images of 2 x 2 x 2:

    A  arXiv:1904.11955, section 3: FullyConnected(3)                                    1.544416
    B  neural_tangents.stax.Dense with W_std^2 = 2, b_std^2 = 0.5                        3.744670
    C  arXiv:1806.07572: W_std = 1 and b_std = beta = 0.1 in the same convention         0.153994
    D  B in standard parametrization, width 64                                          74.703268
    E  CNTK-V, arXiv:1904.11955, section 4: Convolutional(3, readout="flatten")          0.562734
    F  CNTK-GAP, the same paper and its authors' program: Convolutional(3)               0.019581
    G  stax.Conv, GlobalAvgPool, Dense with W_std^2 = 2, b_std = None                    0.123340
    H  stax.Conv, Flatten, Dense with W_std^2 = 2, b_std = None                          0.140684

Cost. Gram matrices and diagonals of `Convolutional` without strides, pooling and "valid" padding,
wrapped or not, go through `flowkit.kernels.tiles` where the images are numbers in the memory of a
CPU and many or large enough: an order of magnitude faster, on all cores, and with float32 images
nearer to float64. What JAX traces, for a gradient or in a compiled function, and all other kernels
keep the maths of one pair.
"""

from flowkit.kernels.base import (
    AbstractKernel as AbstractKernel,
    AbstractPairKernel as AbstractPairKernel,
)
from flowkit.kernels.convolutional import Convolutional as Convolutional
from flowkit.kernels.duals import expectation as expectation
from flowkit.kernels.finite_width import empirical as empirical
from flowkit.kernels.fully_connected import FullyConnected as FullyConnected
from flowkit.kernels.readouts import LocalAverage as LocalAverage
from flowkit.kernels.tiles import registration as registration
from flowkit.kernels.wrappers import FlipAveraged as FlipAveraged, UnitDiagonal as UnitDiagonal
