"""Modified flows: the equation that gradient descent with a finite learning rate really follows.

Barrett, Dherin 2021, arXiv:2009.11162, Theorem 3.1; to second order Hairer, Lubich, Wanner 2006,
"Geometric numerical integration", IX.1. Read from top to bottom: each step states an equation, and
asserts it.
"""

import sympy as sp
from sympy import MatrixSymbol, Trace, ZeroMatrix

from flowkit.symbolic import derive, modified_flow, penalised_flow
from flowkit.symbolic.expansions import ETA, along, displacement
from flowkit.symbolic.gradient import expand


def main() -> None:
    """Find the flow that descent follows, for any field, for matrices and on a parabola."""
    # 1. Descent goes from y to y + eta f(y). The flow of f itself goes, in the time eta, to
    #    y + eta f + eta^2/2 f'f + ..: after one step the two are O(eta^2) apart. Here f is any
    #    function of one variable.
    y = sp.Symbol("y", real=True)
    f = sp.Function("f")(y)
    zero = (sp.Integer(0),)
    (first,), (second,), (third,) = displacement(((f,), zero, zero), (y,))
    bend = f.diff(y) * f
    assert sp.expand(first - f) == 0
    assert sp.expand(second - bend / 2) == 0

    # 2. The next power is eta^3/6 (f''(f, f) + f'f'f): the derivative of f'f along f.
    curve, pull = f.diff(y, 2) * f**2, f.diff(y) ** 2 * f
    assert sp.expand(third - (curve + pull) / 6) == 0

    # 3. Let another flow F = f + eta c f'f undo the eta^2. Over the time eta it adds eta^2 c f'f,
    #    so that c = -1/2, and one step now agrees up to O(eta^3).
    c = sp.Symbol("c")
    (_,), (second,) = displacement(((f,), (c * bend,)), (y,))
    (solution,) = sp.solve(second, c)
    assert solution == -sp.Rational(1, 2)

    # 4. With F = f - eta/2 f'f + eta^2 (p f''(f, f) + q f'f'f) the power eta^3 has two unknowns
    #    and two independent terms: p = 1/12, q = 1/3. This is log(1 + eta f), the Lie series whose
    #    exponential is the step.
    p, q = sp.symbols("p q")
    ansatz = ((f,), (-bend / 2,), (p * curve + q * pull,))
    (third,) = displacement(ansatz, (y,))[2]
    monomials = sp.collect(sp.expand(third / f), (f.diff(y, 2), f.diff(y)), evaluate=False)
    solution = sp.solve([m.subs(f, 1) for m in monomials.values()], (p, q))
    assert solution == {p: sp.Rational(1, 12), q: sp.Rational(1, 3)}

    # 5. The same coefficients hold for every field, of vectors and of matrices too, where the
    #    library finds f'f by differentiating twice in reverse. For two layers U V and half the
    #    squared distance to Y the correction of U is f'f = (dR V^T + R dV^T) with R = Y - U V.
    m, n, k = sp.symbols("m n k", integer=True, positive=True)
    U, V, Y = MatrixSymbol("U", m, k), MatrixSymbol("V", k, n), MatrixSymbol("Y", m, n)
    residual = U * V - Y
    loss = Trace(residual.T * residual) / 2
    flow = derive(loss, [U, V])
    dU, dV = flow.rates
    stated = -(dU * V + U * dV) * V.T - residual * dV.T
    assert isinstance(expand(along(flow.rates, flow.state, flow.rates)[0] - stated), ZeroMatrix)
    modified = modified_flow(flow, 1)
    difference = modified.rates[0] - flow.rates[0] + ETA / 2 * stated
    assert isinstance(expand(difference), ZeroMatrix)
    print(modified.latex())

    # 6. For f = -grad L the Jacobian f' is symmetric, and f'f = grad |grad L|^2 / 2. So the
    #    modified flow is a gradient flow again, of L + eta/4 |grad L|^2: finite steps prefer flat
    #    regions. The claim compares the two matrix flows entry by entry.
    *_, penalty = penalised_flow(loss, (U, V)).claims
    assert penalty.check().passed

    # 7. On the parabola L = a x^2/2 everything is known: descent multiplies by 1 - eta a, and the
    #    flow that does so has the rate log(1 - eta a)/eta. Its Taylor series is what was found,
    #    and it ceases to exist at eta a = 1, where descent begins to overshoot.
    a, x = sp.Symbol("a", positive=True), sp.Symbol("x", real=True)
    exact = sp.series(sp.log(1 - ETA * a) / ETA, ETA, 0, 3).removeO() * x
    (rate,) = modified_flow(derive(a * x**2 / 2, [x]), 2).rates
    assert sp.expand(rate - exact) == 0
    print(sp.latex(sp.factor(rate)))


if __name__ == "__main__":
    main()
