"""Minimax polynomials for the duals of a kink, by Remez' exchange at 40 digits.

With v = 1 - cos t for the angle t of two variables, 0 <= t <= pi / 2,

    angle:   p(v) = t / (pi sqrt(v)),
    excess:  q(v) = (sin t - t cos t) / (pi v^(3/2)),

are smooth on [0, 1]. The fits keep the largest errors of sqrt(v) p(v), and of q(v) times v^(3/2) +
1e-3, least; no term of order one cancels in either however small v is.

Source: tests/kernels/test_tiles_polynomials.py holds them against mpmath.
"""

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Coefficients = tuple[float, ...]

SINGLE_ANGLE = (
    0.45015809256866646,
    0.037516138975097445,
    0.00840164210099131,
    0.002738599542932706,
    0.00016568633220626487,
    0.0014665522990519638,
    -0.0009055492259177641,
    0.0004588334361089283,
)
SINGLE_EXCESS = (
    0.3001039765203099,
    0.015027000437349345,
    0.0022978076378591876,
    0.0008358112671503306,
    -0.0001777766983618783,
    0.00022305894486600276,
)
DOUBLE_ANGLE = (
    0.45015815807855325,
    0.03751317983975786,
    0.008440465475594796,
    0.0025120428545039484,
    0.0008548011795967185,
    0.00031461543513327427,
    0.00012286742302246965,
    4.470335885033153e-05,
    3.740600112151157e-05,
    -3.9754949430095624e-05,
    0.0001044017117447802,
    -0.000153056263978481,
    0.00017396119712402493,
    -0.00013775604543144634,
    7.465268444091585e-05,
    -2.4549539790818016e-05,
    3.861559186565802e-06,
)
DOUBLE_EXCESS = (
    0.3001054387190358,
    0.015005271935772457,
    0.0024115615744572656,
    0.0005582314538663021,
    0.00015542273995319442,
    4.836435053357271e-05,
    1.659297283495604e-05,
    4.494805310549169e-06,
    5.7479456603915915e-06,
    -6.376237905608859e-06,
    1.0461338101663576e-05,
    -9.802648263824954e-06,
    6.523718065047396e-06,
    -2.531570856225082e-06,
    4.850872244559667e-07,
)


def angle_and_excess(dtype: DTypeLike) -> tuple[Coefficients, Coefficients]:
    """The coefficients of p and q for a type of numbers, constant term first."""
    if np.dtype(dtype) == np.float64:
        return DOUBLE_ANGLE, DOUBLE_EXCESS
    return SINGLE_ANGLE, SINGLE_EXCESS


def polynomial(coefficients: Coefficients, v: Float[Array, "..."]) -> Float[Array, "..."]:
    """The value by Horner's rule."""
    total = coefficients[-1] * v + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total = total * v + coefficient
    return total
