"""The convolutional tangent kernel: a sum over equal shifts, derived from one layer.

Arora, Du, Hu, Li, Salakhutdinov, Wang 2019, arXiv:1904.11955, sections 3 and 4. The
network is infinitely wide, with standard normal weights, zero padding and stride one.
"""

import itertools

import sympy as sp

from flowkit.symbolic import cntk_recursion, dual, ntk_recursion
from flowkit.symbolic.kernel_recursions import normalise
from flowkit.symbolic.layer_step import SCALE, induction_step


def main() -> None:
    """Derive the step of a layer, and carry it to images of two and of four pixels."""
    # 1. A layer z = sqrt(c/d) sum_i w_i s(g_i) has two kinds of parameters. The gradient with
    #    respect to its own weights is sqrt(c/d) s(g_i); all earlier parameters are reached by the
    #    chain rule, through sqrt(c/d) w_i s'(g_i) grad g_i. The inner product of the gradients at
    #    two inputs is averaged over the weights, where E[w_i w_j] is 1 or 0, and over the units,
    #        Theta_{h+1} = c E[s s] + c E[s' s'] Theta_h.
    step = induction_step()
    (kappa,), (slope,), (theta,) = step.expectations, step.slopes, step.tangents
    assert sp.expand(step.covariance - SCALE * kappa) == 0
    assert sp.expand(step.tangent - SCALE * (kappa + slope * theta)) == 0
    print(r"\Sigma =", sp.latex(step.covariance))
    print(r"\Theta =", sp.latex(step.tangent))

    # 2. The number of units plays no part: with three of them the average is the same.
    assert induction_step(1, 3) == step

    # 3. For the ReLU both expectations are known in closed form, and c = 1 / E[s^2] = 2. From
    #    Sigma_0 = Theta_0 = <x, x'> the recursion unrolls to a sum over the layers,
    #        Theta_L = sum_{h=1..L+1} Sigma_{h-1} Sigma'_h .. Sigma'_L.
    recursion = ntk_recursion(3)
    assert all(claim.check().passed for claim in recursion.claims)
    assert normalise(dual("relu")).scale == 2
    print(r"\Theta_2 =", sp.latex(sp.expand(recursion.unrolled)))

    # 4. On the unit sphere the kernel of an input with itself is the number of weight layers, and
    #    that of two orthogonal inputs begins at 1/pi.
    for depth in (1, 2, 3, 4):
        assert recursion_on_sphere(depth, 1) == depth
    assert recursion_on_sphere(2, 0) == 1 / sp.pi
    print(r"\Theta_1(x \perp x') =", sp.latex(recursion_on_sphere(2, 0)))

    # 5. A convolution has one weight w_{a,i} for each shift a of the filter and each channel i, and
    #    z(p) = sqrt(c / (q^2 d)) sum_{a,i} w_{a,i} s(g_i(p + a)). Two different weights average to
    #    zero, so that only pairs of positions with EQUAL shifts are left of the double sum. In one
    #    dimension, with a filter of three entries:
    convolution = induction_step(3)
    terms = zip(convolution.expectations, convolution.slopes, convolution.tangents, strict=True)
    published = SCALE / 3 * sum(kappa + slope * theta for kappa, slope, theta in terms)
    assert sp.expand(convolution.tangent - published) == 0
    print(r"\Theta =", sp.latex(convolution.tangent))

    # 6. Filters of one entry never mix positions: the kernel of two images is the fully connected
    #    one of each pair of pixels. The claim proves it for two pixels with two symbolic channels,
    #    for both read-outs: CNTK-V, the sum over equal positions with all layers trained, and
    #    CNTK-GAP, the mean over all pairs with the first and the last layer fixed.
    for readout, depth in itertools.product(("flatten", "gap"), (2, 3)):
        variant = cntk_recursion(depth, readout=readout, filter_size=1)
        assert all(claim.check().passed for claim in variant.claims)

    # 7. With 3 x 3 filters the positions do mix. On an image of one pixel all shifts but zero leave
    #    the image, and every layer divides by q^2 = 9 once: two weight layers of CNTK-V have
    #        k = (Sigma'_1 Sigma_0 + Sigma_1) / 9 = 2 x x' / 9 for positive pixels.
    x, z = sp.symbols("x z", positive=True)
    kernel, _ = cntk_recursion(2, readout="flatten").evaluate([[[x]]], [[[z]]])
    assert sp.simplify(kernel - 2 * x * z / 9) == 0
    print("k(x, z) =", sp.latex(sp.simplify(kernel)))

    # 8. On 2 x 2 images of rational pixels the recursion gives closed forms. One of CNTK-GAP at
    #    depth 2 is zero: between two fixed layers nothing is left to train. At depth 3 one
    #    convolution is trained.
    first, second = ([[[sp.Rational(n, 2)] for n in row] for row in rows] for rows in IMAGES)
    assert cntk_recursion(2).evaluate(first, second)[0] == 0
    value, _ = cntk_recursion(3).evaluate(first, second)
    mirrored, _ = cntk_recursion(3).evaluate(second, first)
    assert abs(sp.N(value - mirrored, 30)) < sp.Rational(1, 10**25)
    print("k =", sp.N(value, 12))


IMAGES = (((1, 2), (-1, 3)), ((2, -1), (1, 1)))


def recursion_on_sphere(depth: int, correlation: int) -> sp.Expr:
    """The NTK of two unit inputs."""
    ntk, _ = ntk_recursion(depth).evaluate(1, 1, correlation)
    return ntk


if __name__ == "__main__":
    main()
