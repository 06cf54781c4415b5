"""Products of numbers: two unbalanced factors in closed form, and what diagonal networks minimise.

Tarmoun et al. 2021 (scalar factors); Woodworth et al. 2020, arXiv:2002.09277, Theorem 1. Read from
top to bottom: each step states an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.diagonal_networks import PUSH, RATIO, SCALE, diagonal_network
from flowkit.symbolic.scalars import (
    IMBALANCE,
    PRODUCT,
    START,
    TARGET,
    U,
    V,
    scalar_factors,
    whole_roots,
)


def main() -> None:
    """Solve the smallest deep network exactly, then many of them side by side."""
    # 1. The loss 1/2 (u v - s)^2 moves u by v (s - u v), and v by u (s - u v). Each of the rates
    #    times its own variable is the same, so that lambda = u^2 - v^2 is conserved.
    solution = scalar_factors()
    u_rate, v_rate = solution.factors.rates
    assert sp.expand(2 * U * u_rate - 2 * V * v_rate) == 0
    print(solution.factors.latex())

    # 2. The product z = u v moves at (u^2 + v^2) (s - z), and u^2 + v^2 is known from z and lambda:
    #    its square is lambda^2 + 4 z^2. So dz/dt = sqrt(lambda^2 + 4 z^2) (s - z). The imbalance
    #    keeps the root away from zero: an unbalanced network has no saddle at z = 0.
    assert sp.expand((U**2 + V**2) ** 2 - (U**2 - V**2) ** 2 - 4 * (U * V) ** 2) == 0
    assert sp.factor(U * v_rate + V * u_rate - (U**2 + V**2) * (TARGET - U * V)) == 0
    root = sp.sqrt(IMBALANCE**2 + 4 * PRODUCT**2)
    assert sp.simplify(solution.rate - root * (TARGET - PRODUCT)) == 0
    assert solution.rate.subs(PRODUCT, 0) == IMBALANCE * TARGET
    print(r"\dot{z} =", sp.latex(solution.rate))

    # 3. With z = lambda/2 sinh(x) and y = e^x the root is lambda/2 (y + 1/y), and the equation is a
    #    quadratic one, dy/dt = lambda/2 (y_+ - y) (y - y_-). The odds (y - y_-)/(y_+ - y) grow as
    #    e^{w t}, w = sqrt(lambda^2 + 4 s^2). This is t(z) and, solved for y, z(t).
    y = sp.Symbol("y", positive=True)
    z_of_y = IMBALANCE * (y - 1 / y) / 4
    moved = whole_roots(solution.rate.subs(PRODUCT, z_of_y)) / z_of_y.diff(y)
    w = sp.sqrt(IMBALANCE**2 + 4 * TARGET**2)
    upper, lower = (2 * TARGET + w) / IMBALANCE, (2 * TARGET - w) / IMBALANCE
    assert sp.simplify(moved - IMBALANCE / 2 * (upper - y) * (y - lower)) == 0
    assert sp.simplify(solution.speed - w) == 0
    assert all(claim.check().passed for claim in solution.claims)
    print("t =", sp.latex(solution.time))

    # 4. In numbers: from z_0 = 0.1 and lambda = 0.4 the target 1.5 is reached, and kept.
    at = {TARGET: sp.Rational(3, 2), START: sp.Rational(1, 10), IMBALANCE: sp.Rational(2, 5)}
    assert abs(sp.N(solution.value.subs(at).subs(TIME, 20)) - 1.5) < 1e-12

    # 5. Now let beta_i = u_i^2 - v_i^2, u_i and v_i starting at alpha, and c_i be the derivative of
    #    any loss by beta_i. Then log u_i moves at -2 c_i and log v_i at 2 c_i: u_i v_i is
    #    conserved, and log(u_i/v_i) = -4 C_i, C_i the integral of c_i.
    network = diagonal_network()
    (u, v), (c,) = network.factors.state, network.factors.data
    u_rate, v_rate = network.factors.rates
    assert sp.expand(u * v_rate + v * u_rate) == 0
    assert sp.simplify(u_rate / u - v_rate / v) == network.gain * c == -4 * c
    print(network.factors.latex())

    # 6. From u v = alpha^2, beta = alpha^2 (u/v - v/u) = 2 alpha^2 sinh(log(u/v)).
    assert sp.expand(u * v * (u / v - v / u) - (u**2 - v**2)) == 0
    stated = 2 * SCALE**2 * sp.sinh(-4 * PUSH)
    assert sp.simplify((network.path - stated).rewrite(sp.exp)) == 0
    print(r"\beta =", sp.latex(network.path))

    # 7. For 1/2 ||X beta - y||^2 all c are X^T (X beta - y), and so log(u/v) = X^T nu: a vector in
    #    the span of the measurements. Let q be the function with q'(z) = arcsinh(z/2). All along
    #    the path q'(beta_i/alpha^2) = (X^T nu)_i. Where X beta = y, this is the condition of
    #    Karush, Kuhn and Tucker for the least sum of q(beta_i/alpha^2), with nu as multipliers.
    assert sp.simplify(network.penalty.diff(RATIO) - sp.asinh(RATIO / 2)) == 0
    assert all(claim.check().passed for claim in network.claims)
    print("q(z) =", sp.latex(network.penalty))

    # 8. The penalty is strictly convex, so that the limit is its one minimiser. At z -> 0, which is
    #    a large alpha, q is z^2/4, and the limit that of least 2-norm, as of a kernel. At
    #    z -> infinity, a small alpha, q grows as |z| log |z|: the 1-norm, and sparse limits.
    assert sp.simplify(network.penalty.diff(RATIO, 2) - 1 / sp.sqrt(RATIO**2 + 4)) == 0
    assert sp.limit(network.penalty / RATIO**2, RATIO, 0) == sp.Rational(1, 4)


if __name__ == "__main__":
    main()
