"""Single examples: what the mean epoch of random reshuffling follows, and the equation of SGD.

Smith, Dherin, Barrett, De 2021, arXiv:2101.12176, equation 1; Li, Tai, E 2017, arXiv:1511.06251.
Read from top to bottom: each step states an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic import derive, penalised_flow, reshuffled_flow, sgd_equation
from flowkit.symbolic.expansions import ETA, combine, displacement
from flowkit.symbolic.sampling import mean_epoch


def main() -> None:
    """Find the penalty of a reshuffled epoch, for any losses, and the noise of a random step."""
    for count in (2, 3):
        print(f"{count} losses:", sp.latex(find_penalty(count)))

    # 6. The library builds the flow for given losses, of matrices too, and proves it on them: the
    #    two losses here pull at different corners of the plane.
    x, y = sp.symbols("x y", real=True)
    losses = ((x * y - 1) ** 2 / 2, (x - y**2) ** 2 / 2)
    flow = reshuffled_flow(losses, (x, y))
    assert all(claim.check().passed for claim in flow.claims)

    # 7. The penalty of single gradients is that of their mean, as in full descent, plus their
    #    variance: eta/4 (|grad C|^2 + tr Sigma), with Sigma the covariance of the gradients.
    mean = sp.Add(*losses) / len(losses)
    equation = sgd_equation(losses, (x, y))
    variance = sp.trace(equation.covariance) / ETA
    descent = penalised_flow(mean, (x, y))
    noisy = derive(mean + ETA / 4 * variance, (x, y))
    plain = derive(mean, (x, y))
    for parts in zip(flow.rates, descent.rates, noisy.rates, plain.rates, strict=True):
        reshuffled, of_descent, of_noise, force = parts
        assert sp.expand(reshuffled - (of_descent + of_noise - force)) == 0

    # 8. Drawn anew for every step, the examples leave noise. Of the equation
    #    dy = b dt + sqrt(eta) Sigma^{1/2} dB, with b the modified flow of descent, the mean after a
    #    step agrees with that of SGD up to O(eta^3), and so do the second moments: this makes it
    #    of weak order two.
    (moments,) = equation.claims
    assert moments.check().passed
    print(sp.latex(equation.covariance[0, 0].factor()))


def find_penalty(count: int) -> sp.Expr:
    """The coefficient of sum_k |grad C_k|^2 in the modified loss, for any losses of a variable."""
    # 1. Let each of m losses C_k take one step x -> x + eta f_k(x), f_k = -C_k', in some order. To
    #    second order in eta the step j is bent by each step i before it, by eta^2 f_j' f_i.
    x = sp.Symbol("x", real=True)
    forces = [-sp.Function(f"C_{k}")(x).diff(x) for k in range(1, count + 1)]
    first, second = mean_epoch([(f,) for f in forces], (x,))

    # 2. At first order the epoch moves by the sum of all forces, which is m eta times the mean.
    mean = sp.Add(*forces) / count
    assert sp.expand(first[0] - count * mean) == 0

    # 3. Over all orders, i comes before j as often as after it. The mean of the second order is
    #    half the sum over all pairs i, j that differ.
    pairs = sp.Add(*(f.diff(x) * g for f in forces for g in forces if f != g))
    assert sp.expand(second[0] - pairs / 2) == 0

    # 4. Let F be gradient flow of C + eta p sum_k (C_k')^2 + eta q (C')^2, C the mean loss. Over
    #    the time m eta it moves by m eta F + (m eta)^2/2 F'F; that is, m F moves so over eta.
    p, q = sp.symbols("p q")
    penalty = p * sp.Add(*(f**2 for f in forces)) + q * mean**2
    rates = tuple(combine((count, (rate,))) for rate in (mean, -penalty.diff(x)))
    moved = displacement(rates, (x,))
    assert combine((1, moved[0]), (-1, first)) == (0,)

    # 5. The two second orders agree only for p = 1/(4 m) and q = 0.
    (defect,) = combine((1, moved[1]), (-1, second))
    forms = {f.diff(x): sp.Symbol(f"d_{k}") for k, f in enumerate(forces)}
    forms |= {f: sp.Symbol(f"e_{k}") for k, f in enumerate(forces)}
    for derivative, symbol in forms.items():
        defect = sp.expand(defect).subs(-derivative, -symbol).subs(derivative, symbol)
    solution = sp.solve(sp.Poly(sp.expand(defect), *forms.values()).coeffs(), (p, q))
    assert solution == {p: sp.Rational(1, 4 * count), q: 0}
    return solution[p]


if __name__ == "__main__":
    main()
