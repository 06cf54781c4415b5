"""Balancedness: what gradient flow conserves on W_N ... W_1, and what follows for the product.

Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1. Read from top to bottom: each step states an
equation, and asserts it for matrices of symbolic size.
"""

import sympy as sp
from sympy import MatrixSymbol, Trace, ZeroMatrix

from flowkit.symbolic import derive, end_to_end_flow, factor_flow
from flowkit.symbolic.gradient import expand, rate_along


def main(depth: int = 3) -> None:
    """Derive the layer flow, its conserved quantities, and the flow of the product."""
    # 1. Let phi(W_1, .., W_N) = l(W_N ... W_1) for any loss l, and G = grad l at the product.
    #    The differential of phi is <G, d(W_N ... W_1)>, so gradient flow on phi is gradient flow
    #    on <G, W_N ... W_1> with G held fixed:
    #        dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T.
    flow = factor_flow(depth)
    (G,) = flow.data
    product = sp.MatMul(*reversed(flow.state)).doit()
    assert derive(Trace(G.T * product), flow.state).rates == flow.rates
    for equation in flow.equations:
        print(sp.latex(equation))

    # 2. Multiply the rate of W_{j+1} by W_{j+1}^T from the left, and that of W_j by W_j^T from the
    #    right: both are -(W_N .. W_{j+1})^T G (W_j .. W_1)^T. Their difference vanishes,
    for below, above, rate_below, rate_above in zip(
        flow.state[:-1], flow.state[1:], flow.rates[:-1], flow.rates[1:], strict=True
    ):
        difference = expand(above.T * rate_above - rate_below * below.T)
        assert isinstance(difference, ZeroMatrix)

    # 3. and with its transpose so does the time derivative of W_{j+1}^T W_{j+1} - W_j W_j^T.
    rates = dict(zip(flow.state, flow.rates, strict=True))
    for law in flow.conserved:
        assert isinstance(rate_along(law, rates), ZeroMatrix)
        print(sp.latex(law), "= constant")

    # 4. The loss plays no part: nothing above knows l. A weight decay is no function of the
    #    product, and breaks the law: with dW_j/dt - a W_j it decays at the rate 2 a.
    a = sp.Symbol("a", positive=True)
    decayed = {W: rate - a * W for W, rate in rates.items()}
    for law in flow.conserved:
        assert isinstance(expand(rate_along(law, decayed) + 2 * a * law), ZeroMatrix)

    # 5. Where the constant is zero the factors are balanced, and the product obeys an equation of
    #    its own: dW/dt = -sum_j (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}. The proof rewrites the
    #    product rule with the laws of step 3.
    end_to_end = end_to_end_flow(depth)
    (claim,) = end_to_end.claims
    assert claim.check().passed
    print(end_to_end.latex())

    # 6. For two layers this is the familiar -(W W^T)^{1/2} G - G (W^T W)^{1/2}.
    m, n = sp.symbols("m n", integer=True, positive=True)
    W, G = MatrixSymbol("W", m, n), MatrixSymbol("G", m, n)
    half = sp.Rational(1, 2)
    stated = -((W * W.T) ** half) * G - G * (W.T * W) ** half
    assert isinstance(expand(end_to_end_flow(2).rates[0] - stated), ZeroMatrix)


if __name__ == "__main__":
    main()
