"""Norms do not explain implicit regularization: one witness for quasi-norms, one for all norms.

Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 1 and Proposition 1; Razin, Cohen 2020,
arXiv:2005.06398, Theorem 1. The first witness is a flow whose limit minimises the nuclear norm at
every depth and yet maximises every Schatten quasi-norm. The second is a flow along which every norm
grows without bound.
"""

import sympy as sp
from sympy import MatrixSymbol, Trace, ZeroMatrix

from flowkit.symbolic import derive, singular_value_flow
from flowkit.symbolic.gradient import expand


def main() -> None:
    """Prove both witnesses."""
    # 1. Measure a symmetric d x d matrix once, by its trace: l = 1/2 (tr W - y)^2. The gradient is
    #    a multiple of the identity,
    #        G = (tr W - y) I.
    n = sp.Symbol("n", integer=True, positive=True)
    y, w = sp.symbols("y w", positive=True)
    W = MatrixSymbol("W", n, n)
    (rate,) = derive((Trace(W) - y) ** 2 / 2, [W]).rates
    assert isinstance(expand(rate + (Trace(W) - y) * sp.Identity(n)), ZeroMatrix)

    # 2. Started at a small multiple of the identity, the factors stay balanced and the product
    #    stays a multiple of the identity, W = w I. All d modes move by the same law of one singular
    #    value, with <G, u v^T> = d w - y. It rises from a start below w = y/d and comes to rest
    #    there, at any depth.
    for size in (2, 3):
        for depth in (1, 2, 3):
            flow = singular_value_flow(depth)
            (s,), (g,), (law,) = flow.state, flow.data, flow.rates
            along = law.subs({s: w, g: size * w - y}, simultaneous=True)
            assert along.subs(w, y / size) == 0
            assert sp.simplify(along.diff(w).subs(w, y / size)).is_negative
            assert sp.simplify(along.subs(w, y / (2 * size))).is_positive

    # 3. Among diagonal matrices the nuclear norm is the sum of |w_i|. It is the trace, which the
    #    measurement fixes at y, where no entry is negative, and an entry -w makes it larger than
    #    the trace by 2 w. The limit (y/d) I thus minimises the nuclear norm.
    for size in (2, 3):
        entries = sp.symbols(f"w_1:{size + 1}", positive=True)
        excess = lambda diagonal: sum(abs(entry) - entry for entry in diagonal)
        assert excess(entries) == 0
        assert excess((-entries[0], *entries[1:])) == 2 * entries[0]

    # 4. For 0 < p < 1 let S_p(W) = sum_i w_i^p be the quasi-norm's p-th power. Solve the
    #    measurement for the last entry. At (y/d) I the first derivatives vanish, and the matrix of
    #    the second ones is -p (1 - p) (y/d)^{p-2} (I + 1 1^T), negative definite: the limit is a
    #    strict local maximum. Each w_i^p is concave, which makes the maximum global.
    p = sp.Symbol("p", positive=True)
    for size in (2, 3):
        free = sp.symbols(f"w_1:{size}", positive=True)
        last = sp.Symbol("w_d", positive=True)
        quasi_norm = sum(entry**p for entry in free) + (y - sum(free)) ** p
        centre = dict.fromkeys(free, y / size)
        gradient = [quasi_norm.diff(entry).subs(centre) for entry in free]
        assert all(sp.simplify(slope) == 0 for slope in gradient)
        scale = p * (1 - p) * (y / size) ** (p - 2)
        hessian = (sp.hessian(quasi_norm, free).subs(centre) / scale).applyfunc(sp.simplify)
        assert hessian == -(sp.eye(size - 1) + sp.ones(size - 1))
        assert hessian.is_negative_definite
        curvature = (last**p).diff(last, 2) / (p * (1 - p))
        assert sp.simplify(curvature).is_negative
        value = sp.simplify(quasi_norm.subs(centre))
        assert sp.simplify(value - size ** (1 - p) * y**p) == 0
        print(rf"S_p\left(\tfrac{{y}}{{{size}}} I\right) =", sp.latex(size ** (1 - p) * y**p))

    # 5. A rank-one matrix with the same trace, diag(y, 0, .., 0), has S_p = y^p, which is smaller
    #    by the factor d^{1-p}; this is more than 1, as its logarithm (1 - p) ln d is positive.
    #    Depth does not lead there: the flow minimises none of these quasi-norms, nor the rank.
    q = sp.Symbol("q", positive=True)
    below_one = 1 / (1 + q)  # every p between 0 and 1
    for size in (2, 3):
        logarithm = sp.expand_log(sp.log(size ** (1 - below_one)), force=True)
        assert sp.together(logarithm).is_positive

    # 6. Now complete a 2 x 2 matrix with w_12 = w_21 = 1 and w_22 = 0 observed, w_11 unknown, and
    #    write rho = sqrt(2 l) for l half the sum of squares. No residual exceeds rho. Two or more
    #    factors keep the sign of det W (A2, step 6), so a start with det W > 0 means
    #        w_11 w_22 > w_12 w_21
    #    for all time. While rho < 1 the right side is positive, and |w_11| > w_12 w_21 / |w_22|.
    first, second, third = sp.symbols("w_12 w_21 w_22", positive=True)
    w_11 = sp.Symbol("w_11", real=True)
    determinant = sp.Matrix([[w_11, first], [second, third]]).det()
    (threshold,) = sp.solve(determinant, w_11)
    assert determinant.diff(w_11).is_positive
    print("w_{11} >", sp.latex(threshold), r"\quad (w_{22} > 0)")

    # 7. The threshold rises with w_12 and w_21 and falls with |w_22|: it is least at the corner
    #    w_12 = w_21 = 1 - rho, |w_22| = rho of what the loss allows. For a negative w_22 the same
    #    holds of -w_11.
    rho, loss = sp.symbols("rho l", positive=True)
    assert threshold.diff(first).is_positive
    assert threshold.diff(second).is_positive
    assert threshold.diff(third).is_negative
    mirrored = sp.solve(determinant.subs(third, -third), w_11)
    assert mirrored == [-threshold]
    bound = threshold.subs({first: 1 - rho, second: 1 - rho, third: rho})
    at_loss = bound.subs(rho, sp.sqrt(2 * loss))
    published = (1 - sp.sqrt(2 * loss)) ** 2 / sp.sqrt(2 * loss)
    assert sp.simplify(at_loss - published) == 0
    print(r"|w_{11}| >", sp.latex(at_loss))

    # 8. As the loss falls to zero the bound grows without limit, and with w_11 every norm and every
    #    quasi-norm of W, since each is at least a constant times |w_11|.
    assert sp.limit(bound, rho, 0, "+") == sp.oo
    at_small_loss = at_loss.subs(loss, sp.Rational(1, 10**4))
    print(r"|w_{11}| >", sp.N(at_small_loss, 4), r"\quad (l = 10^{-4})")

    # 9. The rank explains what the norms cannot. The singular values of a completion
    #    [[x, 1], [1, 0]] have product 1, and their squares have sum x^2 + 2. The larger one grows
    #    with x, the smaller one falls to zero, and W comes ever closer to rank one.
    x = sp.Symbol("x", positive=True)
    completion = sp.Matrix([[x, 1], [1, 0]])
    gram = completion.T * completion
    assert gram.det() == 1
    assert sp.expand(gram.trace() - (x**2 + 2)) == 0
    limits = {sp.limit(square, x, sp.oo) for square in gram.eigenvals()}
    assert limits == {sp.S.Zero, sp.oo}
    print(r"\sigma_1 \sigma_2 =", sp.sqrt(gram.det()))


if __name__ == "__main__":
    main()
