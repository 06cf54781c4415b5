"""Momentum: the flows of the heavy ball at two scalings, and of Nesterov's acceleration.

Polyak 1964; Su, Boyd, Candes 2016, arXiv:1503.01243; Kovachki, Stuart 2021, arXiv:1906.04285. Read
from top to bottom: each step states an equation, and asserts it.
"""

import sympy as sp
from sympy.core.function import AppliedUndef

from flowkit.symbolic import derive, modified_flow, momentum_flow, rule_flow
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.expansions import ETA, along, combine
from flowkit.symbolic.modified import BETA, expansion
from flowkit.symbolic.rules import (
    FRICTION,
    GRADIENT,
    STEP,
    THETA,
    VELOCITY,
    heavy_ball_update,
)


def main() -> None:
    """Derive the three flows, their energies, and what momentum does to the implicit penalty."""
    # 1. The heavy ball remembers m -> beta m + g and moves by -eta m. At a fixed beta the memory
    #    lasts 1/(1 - beta) steps, which is no time at all as eta falls to zero: m sits where it no
    #    longer moves, at g/(1 - beta). What is left is gradient flow, faster by 1/(1 - beta).
    fixed = rule_flow("momentum")
    assert fixed.state == (THETA,)
    assert sp.simplify(fixed.rates[0] + GRADIENT / (1 - BETA)) == 0
    print(fixed.latex())

    # 2. Beyond the limit: insert points y(k eta) of a flow into the recursion
    #    y_{k+1} - y_k = beta (y_k - y_{k-1}) + eta f(y_k) and match powers of eta, which gives
    #    y' = f/(1 - beta) - eta (1 + beta)/(2 (1 - beta)^3) f'f.
    (limit,), (first,) = expansion(1)
    assert sp.simplify(limit - 1 / (1 - BETA)) == 0
    assert sp.simplify(first + (1 + BETA) / (2 * (1 - BETA) ** 3)) == 0

    # 3. On a quadratic f = -a y the recursion has the solutions z^k with
    #    z^2 - (1 + beta - eta a) z + beta = 0, and the flow's rate must be log(z)/eta for the root
    #    near one. At beta = 1/4 the two agree up to eta^2.
    a, y = sp.Symbol("a", positive=True), sp.Symbol("y", real=True)
    quadratic, quarter = derive(a * y**2 / 2, [y]), sp.Rational(1, 4)
    slow = momentum_flow(quadratic, 2)
    half = (1 + quarter - ETA * a) / 2
    exact = sp.log(half + sp.sqrt(half**2 - quarter)) / ETA
    exact = sp.series(exact, ETA, 0, 3).removeO() * y
    assert sp.expand(slow.rates[0].subs(BETA, quarter) - exact) == 0
    assert all(claim.check().passed for claim in slow.claims)

    # 4. Without momentum it is the modified flow of descent. With it, the penalty on
    #    |grad L|^2 over that of descent at the same speed, learning rate eta/(1 - beta), is
    #    (1 + beta)/(1 - beta): momentum prefers flat regions more strongly.
    assert (
        momentum_flow(quadratic, 2).rates[0].subs(BETA, 0) == modified_flow(quadratic, 2).rates[0]
    )
    speed = 1 / (1 - BETA)
    penalty = sp.simplify(first / speed / (-speed / 2))
    assert sp.simplify(penalty - (1 + BETA) / (1 - BETA)) == 0
    print(sp.latex(sp.factor(penalty)))

    # 5. Let the memory last: 1 - beta = gamma sqrt(eta), a step lasting h = sqrt(eta), and let the
    #    velocity be the last step over h. The limit has inertia: theta' = p, p' = -gamma p - g.
    ball = rule_flow("heavy ball")
    assert ball.rates[0] == VELOCITY
    assert sp.expand(ball.rates[1] + FRICTION * VELOCITY + GRADIENT) == 0
    print(ball.latex())

    # 6. Its energy L + p^2/2 is lost to friction alone, at the rate gamma p^2.
    _, energy = ball.claims
    assert energy.check().passed

    # 7. For a step h that is not small, write the update as old + h R_0 + h^2 R_1 and let a flow
    #    F_0 + h F_1 pass through its points: F_0 = R_0, and F_1 = R_1 - F_0'F_0/2. With the true
    #    velocity w = theta' this is (1 - gamma h/2) w' + gamma w = -g up to h^2: the finite step
    #    takes from the mass, and the friction stays.
    update = heavy_ball_update()
    (g,) = update.new[1].atoms(AppliedUndef)
    taken = [tuple(new.diff(STEP, k).subs(STEP, 0) for new in update.new) for k in (1, 2)]
    flow, correction = taken[0], combine((sp.S.Half, taken[1]))
    bend = along(flow, update.state, flow)
    flow = combine((1, flow), (STEP, combine((1, correction), (-sp.S.Half, bend))))
    (acceleration,) = along(flow[:1], update.state, flow)
    left = sp.expand((1 - FRICTION * STEP / 2) * acceleration + FRICTION * flow[0] + g)
    assert [sp.simplify(left.coeff(STEP, power)) for power in (0, 1)] == [0, 0]

    # 8. Nesterov carries (k - 1)/(k + 2) of the last step on. With k = t/h this is 1 - 3 h/t + ..,
    #    so that the friction is 3/t: strong at first, and ever weaker. That the gradient is taken
    #    at a point ahead changes nothing in the limit.
    nesterov = rule_flow("nesterov")
    assert sp.expand(nesterov.rates[1] + 3 * VELOCITY / TIME + GRADIENT) == 0
    print(nesterov.latex())

    # 9. The energy t^2 (L - L*) + 2 (theta + t p/2 - theta*)^2 changes at the rate
    #    2 t (L - L* - (theta - theta*) g), which no convex loss makes positive. It starts at
    #    2 (theta_0 - theta*)^2, and so L - L* is at most 2 (theta_0 - theta*)^2 / t^2.
    _, energy = nesterov.claims
    assert energy.check().passed

    # 10. From rest the friction 3 p/t is 3 times the acceleration at t = 0, and p'(0) = -g/4: the
    #    only straight start p = c t that solves the equation at a constant g.
    c = sp.Symbol("c")
    straight = nesterov.rates[1].subs(VELOCITY, c * TIME)
    assert sp.solve(sp.expand(straight) - c, c) == [-GRADIENT / 4]


if __name__ == "__main__":
    main()
