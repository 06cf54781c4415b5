"""Conservation laws: what the training of a model never changes, and how many such laws there are.

Marcotte, Gribonval, Peyre 2023, arXiv:2307.00144. Read from top to bottom: each
step states an equation, and asserts it exactly.
"""

import sympy as sp

from flowkit.symbolic import (
    conserved_quantities,
    count_laws,
    derive,
    factor_flow,
    linear_network_laws,
    relu_network_laws,
)


def main() -> None:
    """Find laws by linear algebra, count them by brackets, and compare with what is published."""
    # 1. A law h is constant along the flow for every data: <grad h, rate> = 0 identically. For a
    #    product of three scalars and the loss (abc - y)^2 / 2, each monomial of the state and of
    #    the target y gives one linear equation for the coefficients of h. Two solutions are left:
    #        a^2 - b^2    and    a^2 - c^2.
    a, b, c, y = sp.symbols("a b c y", real=True)
    loss = (a * b * c - y) ** 2 / 2
    laws = conserved_quantities(derive(loss, [a, b, c]))
    assert set(laws) == {a**2 - b**2, a**2 - c**2}
    print(", ".join(map(sp.latex, laws)), "= constant")

    # 2. Are there others, that are no polynomials? The flow moves along v = grad(abc), at a speed
    #    that the data sets. A law is constant along v, and v alone: three parameters less one
    #    direction leave two laws. They have been found.
    count = count_laws((a * b * c,), (a, b, c))
    assert (count.rank, count.laws) == (1, len(laws))

    # 3. Powers count: along grad(a^2 b) = (2ab, a^2) it is a^2 - 2 b^2 that stays.
    assert conserved_quantities(derive((a**2 * b - y) ** 2, [a, b])) == (a**2 - 2 * b**2,)

    # 4. Weight decay of a free strength adds a second field, g = (a, b, c). A law must be constant
    #    along both, and so along their bracket [v, g] = (Dg) v - (Dv) g. As v is homogeneous of
    #    degree two, that is v - 2 v, nothing new: 3 - 2 parameters leave one law. Along g both laws
    #    of step 1 decay at the same rate, and it is their ratio; a polynomial it is not.
    regularizer = (a**2 + b**2 + c**2) / 2
    strength = sp.Symbol("lambda", positive=True)
    decayed = derive(loss + strength * regularizer, [a, b, c])
    ratio = laws[0] / laws[1]
    defect = sum(ratio.diff(x) * rate for x, rate in zip(decayed.state, decayed.rates, strict=True))
    assert sp.simplify(defect) == 0
    assert conserved_quantities(decayed, degree=4) == ()
    assert count_laws((a * b * c, regularizer), (a, b, c)).laws == 1

    # 5. Matrices: W_2^T W_2 - W_1 W_1^T is conserved at every size, and at explicit sizes the
    #    search finds its entries, without being told.
    flow = factor_flow(2)
    (law,) = conserved_quantities(flow)
    entries = conserved_quantities(flow, sizes={"d_0": 2, "d_1": 2, "d_2": 3})
    assert len(entries) == 3
    print(sp.latex(law), "= constant")
    print(sp.latex(entries[1]), "= constant")

    # 6. How many laws has a product of two factors, with p = d_0 + d_2 and inner size r = d_1? The
    #    gradients of the entries of the product, with their brackets, span a space of rank k; the
    #    number is D - k for D parameters. Independent brackets bound it from above, and the laws
    #    found from below. The bounds meet at the published number:
    #        r(r+1)/2 if p >= r, else p(2r+1-p)/2.
    for widths in ((1, 1, 1), (2, 2, 2), (3, 2, 2), (2, 3, 2), (1, 3, 1), (1, 3, 2), (1, 4, 1)):
        count = linear_network_laws(*widths)
        p, r = widths[0] + widths[2], widths[1]
        stated = sp.Rational(r * (r + 1), 2) if p >= r else sp.Rational(p * (2 * r + 1 - p), 2)
        assert count.laws == len(count.polynomial_laws) == stated
        assert all(claim.check().kind == "proved" for claim in count.claims)

    # 7. For p < r there are fewer laws than entries, because the entries depend on one another:
    #    W_2^T W_2 - W_1 W_1^T has rank p at most. With one input, one output and r = 3 it is
    #    u u^T - v v^T for the columns u = W_2^T and v = W_1, and its determinant is zero.
    u, v = (sp.Matrix(3, 1, sp.symbols(f"{name}_:3")) for name in "uv")
    assert sp.expand((u * u.T - v * v.T).det()) == 0

    # 8. Deeper: each inner layer of size r has its r(r+1)/2 laws, and there are no others.
    count = linear_network_laws(2, 2, 2, 2)
    assert count.laws == len(count.polynomial_laws) == 3 + 3

    # 9. One input and one output make one entry, and all losses move the parameters along its
    #    gradient. One field leaves D - 1 laws: balancedness at depth three is 6 of these 7, and
    #    the seventh is no polynomial up to degree four.
    count = linear_network_laws(1, 2, 2, 1)
    wider = count_laws(count.outputs, count.parameters, degree=4)
    assert (count.laws, len(count.polynomial_laws), len(wider.polynomial_laws)) == (7, 6, 6)

    # 10. A ReLU couples no two units: of the matrix law only the diagonal is left, one law per
    #     hidden unit. It is the sum of the squares of the outgoing weights less that of the
    #     incoming ones.
    count = relu_network_laws(inputs=2, hidden=3, outputs=2)
    assert count.laws == len(count.polynomial_laws) == 3
    assert all(claim.check().passed for claim in count.claims)
    print(sp.latex(count.polynomial_laws[0]), "= constant")


if __name__ == "__main__":
    main()
