"""Two layers in closed form, where they are balanced up to a multiple of the identity.

Braun, Domine, Fitzgerald, Saxe 2022; Domine et al. 2024, arXiv:2409.14623. Read from top
to bottom: each step states an equation, and asserts it for matrices of symbolic size.
"""

import sympy as sp
from sympy import BlockMatrix, Identity, Trace, ZeroMatrix

from flowkit.symbolic import derive
from flowkit.symbolic.gradient import rate_along
from flowkit.symbolic.rewriting import zero_matrices
from flowkit.symbolic.riccati import riccati_solution
from flowkit.symbolic.two_layers import BALANCE, defects, two_layer_riccati


def main() -> None:
    """Derive the Riccati equation of two layers, and prove its solution."""
    # 1. On whitened inputs the loss of W_2 W_1 is 1/2 ||W_2 W_1 - S||^2, S the correlation of
    #    outputs and inputs. Its flow conserves W_2^T W_2 - W_1 W_1^T, as that of any loss of the
    #    product does. Let it be lambda I: a wide range of starts, of which lambda = 0 is balanced.
    equation = two_layer_riccati()
    layers = equation.layers
    (W_1, W_2), (S,) = layers.state, layers.data
    residual = W_2 * W_1 - S
    gradient_flow = derive(Trace(residual.T * residual) / 2, [W_1, W_2])
    for rate, derived in zip(layers.rates, gradient_flow.rates, strict=True):
        assert zero_matrices(rate - derived).passed
    rates = dict(zip(layers.state, layers.rates, strict=True))
    (law,) = layers.conserved
    assert isinstance(rate_along(law, rates), ZeroMatrix)
    print(layers.latex())

    # 2. Stack the layers, Q = [W_1^T; W_2]. The blocks of P = Q Q^T are W_1^T W_1, W_2 W_2^T, the
    #    product W_2 W_1 and its transpose: P knows all that the network computes.
    P = BlockMatrix(equation.P)
    assert P.blocks[1, 0] == W_2 * W_1
    print("P =", sp.latex(P))

    # 3. Each layer moves by S or by the product, so that dP/dt is S times blocks of P and products
    #    of two blocks. The only products that are not in P^2 hold W_2^T W_2 between W_1^T and W_1;
    #    the law turns it into W_1 W_1^T + lambda I, and lambda times a block of P is linear again:
    #        dP/dt = F P + P F - P^2.
    assert zero_matrices(*defects(equation)).passed
    print(equation.riccati.latex())

    # 4. Here F = [[-lambda/2 I, S^T], [S, lambda/2 I]]. Its diagonal is found, not chosen: with
    #    unknown multiples of the identity the equation has this one solution. The other sign of
    #    lambda fails.
    F = BlockMatrix(equation.F)
    assert F.blocks[0, 0] == -BALANCE / 2 * Identity(S.cols)
    assert F.blocks[1, 1] == BALANCE / 2 * Identity(S.rows)
    assert all(claim.check().passed for claim in equation.claims)
    print("F =", sp.latex(F))

    # 5. A Riccati equation is linear in disguise. With E = e^{F t}, and J the integral of E^2, it
    #    is solved by P(t) = E Q [I + Q^T J Q]^{-1} Q^T E. The two outer factors give F P + P F; the
    #    inverse K has the rate -K Q^T E^2 Q K, which makes -P^2. At t = 0 it is Q Q^T.
    solution = riccati_solution()
    moves, starts, _ = solution.claims
    assert moves.check().passed
    assert starts.check().passed
    print("P(t) =", sp.latex(solution.value))

    # 6. Where F can be inverted, J = (e^{2 F t} - I) F^{-1} / 2. For lambda = 0 and an S that is
    #    not square F is singular, and J is to be integrated.
    assert solution.claims[2].check().passed
    print("J =", sp.latex(solution.invertible))

    # 7. For one unit in each layer F is a 2 x 2 matrix with the eigenvalues -+ w,
    #    w^2 = s^2 + lambda^2/4: the imbalance speeds every mode up, and w sets the only clock.
    s, w = sp.symbols("s w", real=True)
    scalar = sp.Matrix(2, 2, [-BALANCE / 2, s, s, BALANCE / 2])
    assert sp.expand((scalar - w * sp.eye(2)).det() - (w**2 - s**2 - BALANCE**2 / 4)) == 0


if __name__ == "__main__":
    main()
