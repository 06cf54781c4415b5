"""Kernel flow is kernel regression: from the flow of the parameters to the predictions at its end.

Jacot, Gabriel, Hongler 2018, arXiv:1806.07572; Arora, Du, Hu, Li, Salakhutdinov, Wang 2019,
arXiv:1904.11955, section 3. A model whose outputs are linear in its parameters, as those of a wide
network are near its start, is trained on 1/2 the sum of squares. Time is flow time.
"""

import sympy as sp
from sympy import Identity, MatrixSymbol, ZeroMatrix

from flowkit.symbolic import kernel_flow, kernel_solution, ridge_flow
from flowkit.symbolic.gradient import expand, rate_along


def main() -> None:
    """Derive the flow of the outputs, solve it, and follow it to its end."""
    # 1. Let u = J theta be the outputs on the training points and f those on the test points. The
    #    parameters follow the gradient of 1/2 ||u - y||^2, and with K = J J^T and k = J_test J^T
    #    the outputs obey equations of their own,
    #        du/dt = -K (u - y),    df/dt = -k (u - y).
    flow = kernel_flow()
    assert all(claim.check().passed for claim in flow.claims)
    print(flow.latex())

    # 2. The parameters move in the span of the rows of J: theta = theta_0 + J^T alpha. With a ridge
    #    r/2 ||theta - theta_0||^2 in the loss, the flow of alpha is linear and knows J only by K,
    #        d(alpha)/dt = (y - u_0) - (K + r I) alpha.
    ridge = ridge_flow()
    (claim,) = ridge.claims
    assert claim.check().passed
    print(ridge.latex())

    # 3. Along an eigenvector of A = K + r I with eigenvalue a this is a scalar equation. It decays
    #    to b/a, the solution of a alpha = b, at the rate a: large eigenvalues are learnt first.
    a, t, b = sp.symbols("a t b", positive=True)
    alpha = sp.Function("alpha")
    equation = sp.Eq(alpha(t).diff(t), b - a * alpha(t))
    mode = sp.dsolve(equation, alpha(t), ics={alpha(0): 0}).rhs
    assert sp.simplify(mode - b * (1 - sp.exp(-a * t)) / a) == 0
    assert sp.limit(mode, t, sp.oo) == b / a
    print(r"\alpha(t) =", sp.latex(sp.factor(mode)))

    # 4. The same function of the matrix solves the matrix equation. Write E = e^{-A t}; it moves at
    #    -A E, is the identity at t = 0 and vanishes at the end.
    solution = kernel_solution()
    assert all(claim.check().passed for claim in solution.claims)
    for stated in solution.equations:
        print(sp.latex(stated))

    # 5. Without a ridge A is K, and the outputs on the training points approach their targets,
    #        u(t) = y + e^{-K t} (u_0 - y).
    n, m, c = sp.symbols("n m c", integer=True, positive=True)
    K, A, E = (MatrixSymbol(name, n, n) for name in "KAE")
    y, u_0 = MatrixSymbol("y", n, c), MatrixSymbol("u_0", n, c)
    train = solution.train.subs(A, K)
    assert isinstance(expand(train - y - E * (u_0 - y)), ZeroMatrix)
    print("u =", sp.latex(y + E * (u_0 - y)))

    # 6. On the test points the end of the flow is kernel regression, corrected by what the model
    #    said at the start, f_0 + k K^{-1} (y - u_0). With a ridge it is kernel ridge regression.
    k, f_0 = MatrixSymbol("k", m, n), MatrixSymbol("f_0", m, c)
    _, _, end = solution.at(ZeroMatrix(n, n))
    assert isinstance(expand(end - f_0 - k * A.I * (y - u_0)), ZeroMatrix)
    print(r"f(\infty) =", sp.latex(end))

    # 7. On the way there the error in the test outputs is k A^{-1} E (y - u_0), and it moves at
    #    -k E (y - u_0): no direction is learnt that the kernel does not reach.
    _, _, start = solution.at(Identity(n))
    assert isinstance(expand(start - f_0), ZeroMatrix)
    error = end - solution.test
    assert isinstance(expand(rate_along(error, {E: -A * E}) + k * E * (y - u_0)), ZeroMatrix)


if __name__ == "__main__":
    main()
