"""Adam, RMSProp and AdaGrad: the flows of rules that scale each gradient by an average of squares.

da Silva, Gazeau 2020, arXiv:1810.13108; at fixed decays Ma, Wu, E 2022, arXiv:2009.06125. Read from
top to bottom: each step states an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic import rule_flow
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.rules import A1, A2, EPS, FIRST, GRADIENT, SECOND, STEP, adam_update


def main() -> None:
    """Derive the flow of Adam from its update, solve its averages, and take its two limits."""
    # 1. Adam keeps averages M -> b1 M + (1 - b1) g and V -> b2 V + (1 - b2) g^2 from zero. They
    #    lack what was before the start, so that it divides them by 1 - b1^k and 1 - b2^k. An
    #    average of a constant g then is g from the first step on.
    raw, g, b1, k = sp.symbols("M g b1 k", positive=True)
    one_more = b1 * (1 - b1**k) * g + (1 - b1) * g
    assert sp.simplify(one_more - (1 - b1 ** (k + 1)) * g) == 0

    # 2. Fixed decays forget over a number of steps, which lasts no time as the learning rate h
    #    falls to zero. Let them forget over a time instead: b_i = e^{-a_i h}, and k = t/h. Then
    #    1 - b1^k is w = 1 - e^{-a1 t}; of the corrected m = M/w the update becomes
    #        m -> (e^{-a1 h} w(t) m + (1 - e^{-a1 h}) g) / w(t + h).
    update = adam_update()
    weight = 1 - sp.exp(-A1 * TIME)
    (m_new,) = [new for s, new in zip(update.state, update.new, strict=True) if s == FIRST]
    assert sp.simplify(m_new.subs(STEP, 0).doit() - FIRST) == 0

    # 3. Its derivative by h at h = 0 is the rate of the limit. m follows the gradient, at first
    #    infinitely fast, later at the rate a1:
    #        theta' = -m/sqrt(v + eps),
    #        m' = a1/(1 - e^{-a1 t}) (g - m), v' = a2/(1 - e^{-a2 t}) (g^2 - v).
    adam = rule_flow("adam")
    step, first, second = adam.rates
    assert sp.simplify(step + FIRST / sp.sqrt(SECOND + EPS)) == 0
    assert sp.simplify(first - A1 / (1 - sp.exp(-A1 * TIME)) * (GRADIENT - FIRST)) == 0
    assert sp.simplify(second - A2 / (1 - sp.exp(-A2 * TIME)) * (GRADIENT**2 - SECOND)) == 0
    print(adam.latex())

    # 4. The raw averages hide the singularity: with M' = a1 (g - M) and w' = a1 (1 - w) the
    #    quotient M/w has just that rate. This is the form that the library integrates.
    assert sp.simplify(weight.diff(TIME) - A1 * (1 - weight)) == 0
    quotient = (A1 * (GRADIENT - raw) * weight - raw * weight.diff(TIME)) / weight**2
    assert sp.simplify(quotient - first.subs(FIRST, raw / weight)) == 0

    # 5. The singularity is removable. Along a gradient g_0 + g_1 t the average is
    #    m = int a1 e^{-a1 (t - s)} (g_0 + g_1 s) ds / w, which starts at g_0 with half the slope.
    s = sp.Symbol("s", real=True)
    start, slope = sp.symbols("g_0 g_1", real=True)
    kernel = A1 * sp.exp(-A1 * (TIME - s)) * (start + slope * s)
    mean = sp.simplify(sp.integrate(kernel, (s, 0, TIME)) / weight)
    moving = first.subs({GRADIENT: start + slope * TIME, FIRST: mean})
    assert sp.simplify(mean.diff(TIME) - moving) == 0
    assert sp.limit(mean, TIME, 0) == start
    assert sp.simplify(sp.limit(mean.diff(TIME), TIME, 0) - slope / 2) == 0

    # 6. Without the average of gradients, m = g, Adam is RMSProp.
    rmsprop = rule_flow("rmsprop")
    assert sp.simplify(step.subs(FIRST, GRADIENT) - rmsprop.rates[0]) == 0
    assert sp.simplify(second - rmsprop.rates[1]) == 0

    # 7. AdaGrad sums the squares and forgets none: v' = g^2. Under a constant gradient it slows
    #    down like t^{-1/2}.
    adagrad = rule_flow("adagrad")
    time = sp.Symbol("t", positive=True)
    total = sp.integrate(adagrad.rates[1], (TIME, 0, time))
    speed = adagrad.rates[0].subs({SECOND: total, EPS: 0}).subs(GRADIENT, 3)
    assert sp.simplify(speed + 1 / sp.sqrt(time)) == 0
    print(adagrad.latex())

    # 8. At fixed b1 and b2 the averages sit at m = g and v = g^2, and theta follows the sign of
    #    the gradient, smoothed by eps. Adam's flow has the same limit as a1 and a2 grow: its rates
    #    of m and v then hold them there.
    sign = rule_flow("sign")
    (rate,) = sign.rates
    held = {FIRST: GRADIENT, SECOND: GRADIENT**2}
    assert sp.simplify(rate - step.subs(held)) == 0
    assert sp.simplify(sp.limit(rate, EPS, 0) + GRADIENT / sp.Abs(GRADIENT)) == 0
    print(sign.latex())


if __name__ == "__main__":
    main()
