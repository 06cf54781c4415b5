"""Singular values and vectors of a deep linear factorization: how they move, and what cannot.

Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3, Lemma 2 and Corollary 1. Read from top to
bottom: each step states an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic import end_to_end_flow, singular_value_flow, singular_vector_flow
from flowkit.symbolic.operator import S_I, S_J, VALUE, end_to_end_spectrum
from flowkit.symbolic.stationary import rank_preservation, stationary_vectors


def main(depth: int = 3) -> None:
    """Derive the flows in the singular basis, and from them two things that stay as they are."""
    # 1. On balanced factors the product obeys dW/dt = -sum_j (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}.
    #    In the singular basis of W, entry (i, j) of G is multiplied by a sum of powers of
    #    s_i^{2/N} and s_j^{2/N}. The sum is geometric, and telescopes:
    #        lambda_ij = (s_i^2 - s_j^2) / (s_i^{2/N} - s_j^{2/N}).
    spectrum = end_to_end_spectrum(depth)
    power = sp.Rational(2, depth)
    layers = sum(S_I ** (power * k) * S_J ** (power * (depth - 1 - k)) for k in range(depth))
    assert sp.simplify(spectrum.eigenvalue - layers) == 0
    print(end_to_end_flow(depth).latex())
    print(r"\lambda_{ij} =", sp.latex(spectrum.eigenvalue))

    # 2. The eigenvalues are positive, so that the loss falls along the flow, for any loss:
    #    dl/dt = <G, dW/dt> = -sum_ij lambda_ij (u_i^T G v_j)^2. For infinitely many factors, and
    #    time slowed by their number, they become (s_i^2 - s_j^2) / (2 ln(s_i/s_j)).
    assert all(claim.check().passed for claim in spectrum.claims)
    N = sp.Symbol("N", integer=True, positive=True)
    deep = end_to_end_spectrum(N).deep
    assert sp.simplify(deep - (S_I**2 - S_J**2) / (2 * sp.log(S_I / S_J))) == 0

    # 3. On the diagonal, i = j = r, the eigenvalue is N s_r^{2-2/N}. A first-order change of W
    #    changes s_r by its entry (r, r): ds_r/dt = -N (s_r^2)^{1-1/N} <G, u_r v_r^T>.
    values = singular_value_flow(depth)
    (s,), (g,), (rate,) = values.state, values.data, values.rates
    assert sp.simplify(rate.subs(s, VALUE) + g * spectrum.equal) == 0
    print(values.latex())

    # 4. The entries off the diagonal turn the vectors. With M = U^T G V, u_q turns towards u_r at
    #    the rate -F (M_rq s_q + s_r M_qr), v_q towards v_r at -F (M_qr s_q + s_r M_rq), with
    #    F = 1 / (s_q^{2/N} - s_r^{2/N}): the eigenvalue over s_q^2 - s_r^2. Put together again, the
    #    moving values and vectors are the flow of the matrix.
    vectors = singular_vector_flow(depth)
    s_r, s_q, M_rq, M_qr, *_ = vectors.data
    at = {s_r: S_I, s_q: S_J}
    gap = spectrum.eigenvalue / (S_J**2 - S_I**2)
    turn = -gap * (M_rq * S_J + S_I * M_qr)
    assert sp.simplify(vectors.rates[0].subs(at) - turn) == 0
    assert all(claim.check().passed for claim in vectors.claims)
    print(vectors.latex())

    # 5. Suppose that the vectors stand still. Both turns are linear in M_rq and M_qr, and their
    #    determinant F^2 (s_q^2 - s_r^2) is not zero for distinct singular values: M_rq = M_qr = 0.
    #    So the singular vectors of W can only rest where U^T G V is diagonal.
    still = stationary_vectors(depth)
    assert all(claim.check().passed for claim in still.claims)
    assert set(still.entries) == {sp.Integer(0)}
    print(r"\det =", sp.latex(still.determinant))

    # 6. The corollary needs nonzero singular values, and depth supplies them: for N >= 2,
    #    d(log s)/dt = -N s^{1-2/N} g stays bounded as s falls, and log s cannot reach -infinity.
    #    And a singular value that is zero has the rate zero. The rank of W is kept for all time,
    kept = rank_preservation(N)
    assert all(claim.check().passed for claim in kept.claims)
    assert sp.simplify(kept.exponent - (1 - 2 / N)) == 0
    print(r"\frac{d \log s}{dt} =", sp.latex(kept.log_rate))

    # 7. which fails for a single factor: its singular values pass through zero at the speed -g.
    single = singular_value_flow(1)
    assert single.rates[0].subs(single.state[0], 0) == -single.data[0]


if __name__ == "__main__":
    main()
