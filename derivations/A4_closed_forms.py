"""One mode in closed form: the time from s_0 to s at integer, real and infinite depth.

Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3, integrated; Saxe et al. 2014,
arXiv:1312.6120, for two layers. Read from top to bottom: each step states an equation, and asserts
it.
"""

import sympy as sp

from flowkit.symbolic import mode_solution, singular_value_flow
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.separation import START, TARGET, VALUE, same_side, slope

s, s_0, S, t = VALUE, START, TARGET, TIME


def main() -> None:
    """Integrate the flow of one mode, and follow the depth from 1 to infinity."""
    # 1. A singular value of the product of N balanced layers moves at -N (s^2)^{1-1/N} g, where g
    #    is the gradient along its singular vectors. Under the loss 1/2 (s - S)^2 the gradient is
    #    s - S, and the mode rises or falls to its target at the rate N s^{2-2/N} (S - s).
    N = sp.Symbol("N", positive=True)
    flow = singular_value_flow(N)
    (value,), (gradient,), (rate,) = flow.state, flow.data, flow.rates
    rate = rate.subs({gradient: s - S, value: s})
    assert sp.simplify(rate - N * s ** (2 - 2 / N) * (S - s)) == 0
    print(rf"\dot s = {sp.latex(rate)}")

    # 2. One layer decays exponentially, at the rate 1 whatever the target,
    assert sp.simplify(mode_solution(1).value - (S + (s_0 - S) * sp.exp(-t))) == 0

    # 3. and two layers follow Saxe's logistic curve: s_0 small is left at the rate 2 S.
    growth = sp.exp(2 * S * t)
    assert sp.simplify(mode_solution(2).value - S * growth / (growth - 1 + S / s_0)) == 0
    print("s_2(t) =", sp.latex(mode_solution(2).value))

    # 4. From three layers on s(t) is not elementary, but t(s) is. Its derivative is 1 / rate:
    for depth in (3, 4):
        solution = mode_solution(depth)
        assert solution.value is None
        assert sp.simplify(slope(solution.time) * rate.subs(N, depth) - 1) == 0

    #    at four layers, with roots a of s and b of S, it is the logarithm of (b + a) / (b - a)
    #    and a pole, 4 S^{3/2} t = ln((b + a) / (b - a)) - 2 b / a. Differences of times count.
    a, b = sp.sqrt(s), sp.sqrt(S)
    published = sp.log((b + a) / (b - a)) / (4 * S * b) - 1 / (2 * S * a)
    assert sp.simplify(sp.diff(published - same_side(mode_solution(4).time), s)) == 0

    # 5. For any other depth 1 / (S - s) is expanded in s/S below the target and in S/s above it.
    #    Each term is a power, and is integrated as one; the ratio of consecutive terms is
    #    rational in their index, so that their sum is a hypergeometric function by definition:
    #    s^{2/N-1} 2F1(1, 2/N-1; 2/N; s/S) / ((2-N) S) below, and above the target
    #    s^{2/N-2} 2F1(1, 2-2/N; 3-2/N; S/s) / (2 (N-1)).
    general = mode_solution(N)
    below, above = general.times
    gauss = lambda p, x: sp.hyper([1, p], [p + 1], x)
    rising = s ** (2 / N - 1) / ((2 - N) * S) * gauss(2 / N - 1, s / S)
    falling = s ** (2 / N - 2) / (2 * (N - 1)) * gauss(2 - 2 / N, S / s)
    for time, stated in ((below, rising), (above, falling)):
        assert sp.simplify(time - (stated - stated.subs(s, s_0))) == 0
        assert sp.simplify(slope(time) * rate - 1) == 0
        print("t =", sp.latex(stated), "+ C")

    # 6. At whole depths the series sums to the elementary times: at N = 4, where p = -1/2, to
    #    the logarithm and the pole of step 4.
    x = sp.Symbol("x", positive=True)  # sqrt(s / S) < 1
    summed = sp.hyperexpand(gauss(-sp.Rational(1, 2), x**2)).rewrite(sp.log)
    assert sp.expand(summed - (1 - x * (sp.log(1 + x) - sp.log(1 - x)) / 2)) == 0

    # 7. Deep layers move fast, each unit of t counting N. The limit of rate / N is s^2 (S - s): a
    #    polynomial, whose time is N t = ln(s / |S - s|) / S^2 - 1 / (S s) + C.
    infinite = mode_solution(sp.oo)
    assert sp.limit(rate / N, N, sp.oo).equals(infinite.rate)
    stated = sp.log(s / (S - s)) / S**2 - 1 / (S * s)
    assert sp.simplify(sp.diff(stated - same_side(infinite.time), s)) == 0

    # 8. With s = S / (1 + w) it reads ln w + w = -S^2 N t + C, so that w is Lambert's function of
    #    w_0 e^{w_0} e^{-S^2 N t}. A mode above its target has -1 < w < 0, one below it w > 0:
    #    both lie on the principal branch. In these variables the flow is dw/dt = -S^2 w / (1 + w).
    w_0 = S / s_0 - 1
    w = sp.LambertW(w_0 * sp.exp(w_0) * sp.exp(-(S**2) * t))
    assert sp.simplify(infinite.value - S / (1 + w)) == 0
    assert sp.simplify(sp.diff(w, t) + S**2 * w / (1 + w)) == 0
    print("s_oo(t) =", sp.latex(infinite.value))

    # 9. All of it again as claims, whose checks also compare depths by numbers: N t differs from
    #    its limit by a multiple of 1/N.
    for solution in (general, infinite, *map(mode_solution, (1, 2, 3, 4))):
        for claim in solution.claims:
            verdict = claim.check()
            assert verdict.passed, claim.name
            print(f"% {claim.name}: {verdict.measured}")


if __name__ == "__main__":
    main()
