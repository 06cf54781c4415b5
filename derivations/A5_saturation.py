"""Saturation: why depth starves the weaker of two singular values that share a measurement.

Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655. Read from top to bottom: each step states
an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic import singular_value_flow
from flowkit.symbolic.saturation import (
    PUBLISHED_LIMITS,
    PUBLISHED_RATIO,
    PUBLISHED_START,
    RATIO,
    STRONG,
    STRONG_START,
    WEAK,
    WEAK_START,
    two_coordinates,
)


def main() -> None:
    """Eliminate the time from two singular value flows, and follow the path to its end."""
    # 1. One measurement <A, W> = y of a product whose singular vectors stand still: both gradients
    #    g_r = <G, u_r v_r^T> and g_q are the residual times a constant, so that g_r = a g_q at all
    #    times. Let r be the weaker direction, a < 1. Dividing the two flows
    #    ds/dt = -N s^{2-2/N} g removes the residual and the time:
    #        ds_r/ds_q = a (s_r/s_q)^{2-2/N}.
    N = sp.Symbol("N", integer=True, positive=True)
    law = singular_value_flow(N)
    (s,), (g,), (rate,) = law.state, law.data, law.rates
    quotient = rate.subs({s: WEAK, g: RATIO * g}, simultaneous=True) / rate.subs(s, STRONG)
    general = two_coordinates(N)
    assert sp.simplify(sp.powdenest(quotient) - general.slope) == 0
    print(r"\frac{d s_r}{d s_q} =", sp.latex(general.slope))

    # 2. The equation separates. One factor moves both values along a straight line, two factors
    #    along a power: s_r falls behind s_q, but grows without end.
    start = {WEAK_START: 1, STRONG_START: 1}
    assert two_coordinates(1).value.subs(start) == sp.expand(RATIO * (STRONG - 1) + 1)
    assert two_coordinates(2).value.subs(start) == STRONG**RATIO
    assert two_coordinates(1).limit == two_coordinates(2).limit == sp.oo

    # 3. From three factors on the powers s^{-(N-2)/N} are what is linearly related: with
    #    p = (N-2)/N, s_r^{-p} = a s_q^{-p} + c. The path solves the equation for every depth.
    for depth in (1, 2, 3, 4, N):
        assert all(claim.check().passed for claim in two_coordinates(depth).claims)
    print("s_r =", sp.latex(general.value))

    # 4. As s_q grows its power vanishes, and s_r tends to c^{-1/p}. From equal starts s_0 that is
    #    s_0 (1 - a)^{-N/(N-2)}: a multiple of the start, however large the measured y is.
    s_0 = sp.Symbol("s_0", positive=True)
    for depth in (3, 4, 5):
        limit = two_coordinates(depth).limit.subs({WEAK_START: s_0, STRONG_START: s_0})
        stated = s_0 * (1 - RATIO) ** sp.Rational(-depth, depth - 2)
        assert sp.simplify(sp.powdenest((limit / stated).subs(RATIO, PUBLISHED_RATIO))) == 1

    # 5. In numbers: from 0.1 at a = 0.6 the weak value stops at 1.5625 for three factors and at
    #    0.625 for four. Depth prefers few large singular values to many small ones.
    at = {WEAK_START: PUBLISHED_START, STRONG_START: PUBLISHED_START, RATIO: PUBLISHED_RATIO}
    for depth, published in PUBLISHED_LIMITS.items():
        limit = two_coordinates(depth).limit.subs(at)
        assert limit == published
        print(rf"s_r \to {sp.latex(limit)} \quad (N = {depth})")


if __name__ == "__main__":
    main()
