"""The neural tangent kernel of a ReLU network, from one Gaussian integral.

Arora, Du, Hu, Li, Salakhutdinov, Wang 2019, arXiv:1904.11955, section 3; Cho, Saul 2009, section 2.
Read from top to bottom: each step states an equation, and asserts it.
"""

import sympy as sp

from flowkit.symbolic import dual
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V

RHO = sp.Symbol("rho", real=True)


def main(depth: int = 3) -> None:
    """Derive the dual of the ReLU, and from it Sigma, Sigma' and Theta of orthogonal inputs."""
    # 1. Two inputs make the pre-activations (u, v) of an infinitely wide layer jointly Gaussian.
    #    Take unit variances and correlation rho = cos(theta). In polar coordinates u = r cos(phi),
    #    v = r cos(theta - phi), the density is r e^{-r^2/2} / (2 pi). The ReLU keeps the sector in
    #    which both are positive, theta - pi/2 < phi < pi/2, where u v = r^2 cos(phi) cos(theta -
    #    phi). The radial moment is 2, and the product of cosines is a sum of two:
    r, phi = sp.symbols("r phi", positive=True)
    theta = sp.Symbol("theta", positive=True)
    radial = sp.integrate(r**3 * sp.exp(-(r**2) / 2), (r, 0, sp.oo))
    assert radial == 2
    wave = (sp.cos(theta) + sp.cos(2 * phi - theta)) / 2
    assert sp.simplify(sp.expand_trig(wave - sp.cos(phi) * sp.cos(theta - phi))) == 0
    sector = (phi, theta - sp.pi / 2, sp.pi / 2)
    kappa = radial / (2 * sp.pi) * sp.integrate(wave, sector)
    stated = (sp.sin(theta) + (sp.pi - theta) * sp.cos(theta)) / (2 * sp.pi)
    assert sp.simplify(kappa - stated) == 0
    print(r"E[\sigma(u)\sigma(v)] =", sp.latex(stated))

    # 2. The derivative of the ReLU is the step, and the same sector has the probability
    kappa_dot = sp.integrate(1 / (2 * sp.pi), sector)
    assert sp.simplify(kappa_dot - (sp.pi - theta) / (2 * sp.pi)) == 0
    print(r"E[\sigma'(u)\sigma'(v)] =", sp.latex(sp.simplify(kappa_dot)))

    # 3. Price's theorem joins the two: d E[s(u) s(v)] / d rho = E[s'(u) s'(v)].
    slope = sp.diff(kappa, theta) / sp.diff(sp.cos(theta), theta)
    assert sp.simplify(slope - kappa_dot) == 0

    # 4. The dual that flowkit derives for all covariances is this one at unit variances, and it
    #    scales like the deviations.
    relu = dual("relu")
    at_unit = lambda e: e.subs({VAR_U: 1, VAR_V: 1}).subs(COV, sp.cos(theta))
    for place in (sp.pi / 6, sp.pi / 4, 2 * sp.pi / 3):
        assert sp.simplify((at_unit(relu.kappa) - kappa).subs(theta, place)) == 0
        assert sp.simplify((at_unit(relu.kappa_dot) - kappa_dot).subs(theta, place)) == 0
    a, b, c = sp.symbols("a b c", positive=True)
    scaled = relu.kappa.subs({VAR_U: a**2, VAR_V: b**2, COV: a * b * c}, simultaneous=True)
    unscaled = relu.kappa.subs({VAR_U: 1, VAR_V: 1, COV: c}, simultaneous=True)
    for values in ({a: 2, b: 3, c: sp.Rational(1, 2)}, {a: 5, b: 1, c: sp.Rational(3, 5)}):
        assert sp.simplify((scaled - a * b * unscaled).subs(values)) == 0

    # 5. A layer is scaled by 1 / E[s(x)^2] = 2, which keeps unit variances at 1. For unit inputs
    #    Sigma_h is then a function of Sigma_{h-1} alone, and so is Sigma'_h.
    second_moment = sp.limit(kappa, theta, 0)
    assert second_moment == sp.Rational(1, 2)
    unit = {VAR_U: 1, VAR_V: 1, COV: RHO}
    layer, layer_dot = (e.subs(unit) / second_moment for e in (relu.kappa, relu.kappa_dot))
    assert layer.subs(RHO, 1) == 1
    assert layer_dot.subs(RHO, 1) == 1

    # 6. With Theta_0 = Sigma_0 the tangent kernel obeys Theta_h = Sigma'_h Theta_{h-1} + Sigma_h.
    #    On the diagonal every Sigma and Sigma' is 1, and Theta_L = L + 1.
    assert _tangent_kernels(sp.Integer(1), layer, layer_dot, depth) == [2, 3, 4][:depth]

    # 7. Orthogonal inputs start at Sigma_0 = Theta_0 = 0. One layer gives 1 / pi exactly: networks
    #    see a correlation where there was none,
    kernels = _tangent_kernels(sp.Integer(0), layer, layer_dot, depth)
    assert kernels[0] == 1 / sp.pi
    print(r"\Theta_1 =", sp.latex(kernels[0]))

    # 8. and two more layers give the published 0.685709 and 1.060388.
    published = (0.318310, 0.685709, 1.060388)
    for height, (kernel, value) in enumerate(zip(kernels, published, strict=False), start=1):
        assert abs(kernel.evalf(20) - value) < 5e-7  # their six digits
        print(rf"\Theta_{height} = {kernel.evalf(7)}")


def _tangent_kernels(
    sigma: sp.Expr, layer: sp.Expr, layer_dot: sp.Expr, depth: int
) -> list[sp.Expr]:
    """Theta_1 to Theta_L from Sigma_0, by the recursion of step 6."""
    theta, kernels = sigma, []
    for _ in range(depth):
        sigma_dot, sigma = layer_dot.subs(RHO, sigma), layer.subs(RHO, sigma)
        theta = sp.expand(sigma_dot * theta + sigma)
        kernels.append(theta)
    return kernels


if __name__ == "__main__":
    main()
