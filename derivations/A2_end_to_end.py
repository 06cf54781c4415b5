"""The end-to-end flow: the equation that the product of balanced factors obeys.

Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1 and Claim 1; Arora, Cohen, Hu, Luo 2019,
arXiv:1905.13655, Theorem 3. The factors are of symbolic size. The flow's spectrum explains why the
loss falls.
"""

import sympy as sp
from sympy import MatAdd, MatMul, ZeroMatrix

from flowkit.symbolic import Derivation, end_to_end_flow, factor_flow, singular_value_flow
from flowkit.symbolic.balancedness import exponents
from flowkit.symbolic.gradient import expand, rate_along


def weight(flow: Derivation, a: sp.Symbol, b: sp.Symbol) -> sp.Expr:
    """What the flow multiplies an entry of -G with: (W W^T)^{k/N} acts as a^k, its twin as b^k."""
    depth = sp.Integer(flow.name.rsplit(" ", 1)[-1])
    terms = [exponents(term, flow) for term in MatAdd.make_args(flow.rates[0])]
    return -sum(c * a ** (depth * left) * b ** (depth * right) for c, left, right in terms)


def main(depth: int = 3) -> None:
    """Derive the flow of the product, its spectrum, and the rate of the loss."""
    # 1. Let W = W_N ... W_1, and let every factor follow its own gradient flow. The product rule
    #    gives one term for each factor: with A_j = W_N .. W_{j+1} and B_j = W_{j-1} .. W_1,
    #        dW/dt = -sum_j A_j A_j^T G B_j^T B_j.
    layers = factor_flow(depth)
    (G,), W = layers.data, layers.state
    rates = dict(zip(W, layers.rates, strict=True))
    product = MatMul(*reversed(W)).doit()
    stated = sp.ZeroMatrix(*G.shape)
    for j in range(depth):
        left = MatMul(sp.Identity(G.rows), *reversed(W[j + 1 :])).doit()
        right = MatMul(*reversed(W[:j]), sp.Identity(G.cols)).doit()
        stated = stated - left * left.T * G * right.T * right
    assert isinstance(expand(rate_along(product, rates) - stated), ZeroMatrix)
    print(r"\dot{W} =", sp.latex(expand(stated)))

    # 2. Where the factors are balanced, W_{j+1}^T W_{j+1} = W_j W_j^T, all Gram matrices of partial
    #    products are powers of those of W itself. The claim rewrites step 1 with these laws.
    flow = end_to_end_flow(depth)
    (claim,) = flow.claims
    assert claim.check().passed
    print(flow.latex())

    # 3. In the basis u_i v_j^T of the singular vectors of W every term is diagonal: with
    #    a_i = s_i^{2/N} the entry g_ij of G is multiplied by -lambda_ij,
    #        lambda_ij = sum_k a_i^{k-1} a_j^{N-k}.
    a, b = sp.symbols("a_i a_j", positive=True)
    eigenvalue = weight(flow, a, b)
    geometric = sum(a ** (depth - k) * b ** (k - 1) for k in range(1, depth + 1))
    assert sp.expand(eigenvalue - geometric) == 0
    print(r"\lambda_{ij} =", sp.latex(eigenvalue))

    # 4. This is a geometric sum. Multiplied by a_i - a_j it is a_i^N - a_j^N, so that
    #        lambda_ij = (s_i^2 - s_j^2) / (s_i^{2/N} - s_j^{2/N}),
    #    and where the two singular values meet it is N s^{2-2/N}.
    assert sp.expand(eigenvalue * (a - b) - (a**depth - b**depth)) == 0
    s = sp.Symbol("s", positive=True)
    power = s ** sp.Rational(2, depth)
    together = sp.powsimp(eigenvalue.subs({a: power, b: power}))
    assert sp.simplify(together - depth * s ** (2 - sp.Rational(2, depth))) == 0
    print(r"\lambda_{ii} =", sp.latex(together))

    # 5. Every term of the sum is positive, so the flow is a gradient flow with a preconditioner,
    #    positive definite wherever W has full rank. The loss moves at
    #        dl/dt = <G, dW/dt> = -sum_ij lambda_ij g_ij^2,
    #    and falls until the gradient vanishes.
    assert eigenvalue.is_positive
    g = sp.Matrix(2, 2, sp.symbols("g_1:3_1:3", real=True))
    roots = sp.symbols("a_1 a_2", positive=True)
    moved = sp.Matrix(2, 2, lambda i, j: -weight(flow, roots[i], roots[j]) * g[i, j])
    loss_rate = (g.T * moved).trace()
    assert loss_rate.is_nonpositive
    assert all(sp.expand(loss_rate).coeff(entry, 2).is_negative for entry in g)
    print(r"\dot{\ell} =", sp.latex(sp.collect(sp.expand(loss_rate), list(g))))

    # 6. The diagonal of the flow moves the singular values, ds/dt = -N s^{2-2/N} g. Divided by s
    #    the rate is finite at s = 0 for two factors and more: a singular value neither reaches zero
    #    in finite time nor leaves it, and the rank stays. One factor alone knows no such barrier.
    for factors in (1, 2, 3, 4):
        mode = singular_value_flow(factors)
        (value,), (slope,), (rate,) = mode.state, mode.data, mode.rates
        relative = sp.limit((rate / slope / value).subs(value, s), s, 0)
        assert relative == {1: -sp.oo, 2: -2}.get(factors, 0)

    # 7. With more and more factors, and time measured in units of 1/N, the spectrum has a limit of
    #    its own, the logarithmic mean of the squares of the two singular values.
    s_i, s_j, h = sp.symbols("s_i s_j h", positive=True)
    shallow = h * (s_i**2 - s_j**2) / (s_i ** (2 * h) - s_j ** (2 * h))
    limit = sp.limit(shallow, h, 0, "+")
    assert sp.simplify(limit - (s_i**2 - s_j**2) / (2 * sp.log(s_i / s_j))) == 0
    print(r"\lim_{N \to \infty} \frac{\lambda_{ij}}{N} =", sp.latex(limit))


if __name__ == "__main__":
    main()
