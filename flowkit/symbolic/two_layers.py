"""Two layers that are balanced up to a multiple of the identity obey a matrix Riccati equation.

Sources: Braun, Domine, Fitzgerald, Saxe 2022; Domine et al. 2024 (arXiv:2409.14623).
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp
from sympy import Identity, MatAdd, MatMul, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.balancedness import conservation_claim
from flowkit.symbolic.derivation import Derivation, derive, mathml
from flowkit.symbolic.gradient import expand, rate_along
from flowkit.symbolic.rewriting import coefficients, rewrite, words, zero_matrices
from flowkit.symbolic.vanishing import vanishing

SOURCE = "Braun et al. 2022; Domine et al. 2024, arXiv:2409.14623"
BALANCE = sp.Symbol("lambda", real=True)

Blocks = tuple[tuple[MatrixExpr, MatrixExpr], tuple[MatrixExpr, MatrixExpr]]


@dataclass(frozen=True)
class TwoLayerRiccati:
    """The flow of P = Q Q^T, Q = [W_1^T; W_2], as dP/dt = F P + P F - P^2.

    Attributes:
        layers: The flow of W_1 and W_2 under 1/2 ||W_2 W_1 - S||^2.
        P: The blocks of Q Q^T in the factors.
        F: The blocks of F, in S and lambda.
        riccati: dP/dt in the symbols P and F.
        source: Where the equation is published.
        claims: That it follows from the layers, with checks.
    """

    layers: Derivation
    P: Blocks
    F: Blocks
    riccati: Derivation
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return "two lambda-balanced layers"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The Riccati equation."""
        return self.riccati.equations


@cache
def two_layer_riccati() -> TwoLayerRiccati:
    """Derive dP/dt = F P + P F - P^2 from two layers with W_2^T W_2 - W_1 W_1^T = lambda I.

    The ansatz F = [[x I, S^T], [S, y I]] leaves a polynomial in the factors. With every
    W_2^T W_2 rewritten as W_1 W_1^T + lambda I its coefficients are linear in x and y, and vanish
    for x = -lambda/2 and y = lambda/2 alone.

    Returns:
        The equation under 1/2 ||W_2 W_1 - S||^2 (whitened inputs), per unit of flow time; a mean
        over m entries slows it by 2/m.

    Raises:
        ArithmeticError: no x and y, or more than one pair, make the polynomial vanish.

    Source:
        arXiv:2409.14623. Checked by tests/symbolic/test_deep_linear_two_layers.py.
    """
    layers = _layers()
    W_1, W_2 = layers.state
    x, y = sp.symbols("x y", real=True)
    equation = TwoLayerRiccati(
        layers=layers,
        P=((W_1.T * W_1, W_1.T * W_2.T), (W_2 * W_1, W_2 * W_2.T)),
        F=_generator(layers, x, y),
        riccati=_riccati(),
        source=SOURCE,
    )
    conditions = {c for defect in defects(equation) for c in coefficients(defect).values()}
    solutions = sp.linsolve(list(conditions), x, y)
    if len(solutions) != 1 or sp.Tuple(*solutions).free_symbols & {x, y}:
        raise ArithmeticError(f"The ansatz for F has the solutions {solutions}.")
    equation = replace(equation, F=_generator(layers, *solutions.args[0].args))
    claims = riccati_claim(equation), generator_claim(equation), singular_claim(equation)
    return replace(equation, claims=claims)


def _layers() -> Derivation:
    """The flow of 1/2 ||W_2 W_1 - S||^2, and the law that lambda comes from."""
    n, h, m = sp.symbols("n h m", integer=True, positive=True)
    W_1, W_2, S = MatrixSymbol("W_1", h, n), MatrixSymbol("W_2", m, h), MatrixSymbol("S", m, n)
    residual = W_2 * W_1 - S
    flow = derive(sp.Trace(residual.T * residual) / 2, [W_1, W_2])
    rates = tuple(expand(rate) for rate in flow.rates)
    law = W_2.T * W_2 - W_1 * W_1.T
    conserved = conservation_claim(law, dict(zip(flow.state, rates, strict=True)))
    return replace(
        flow,
        name="flow of two layers on whitened inputs",
        rates=rates,
        source=SOURCE,
        conserved=(law,),
        claims=(*flow.claims, conserved),
    )


def _generator(layers: Derivation, x: sp.Expr, y: sp.Expr) -> Blocks:
    (S,) = layers.data
    return ((x * Identity(S.cols), S.T), (S, y * Identity(S.rows)))


def _riccati() -> Derivation:
    size = sp.Symbol("p", integer=True, positive=True)
    P, F = MatrixSymbol("P", size, size), MatrixSymbol("F", size, size)
    return Derivation(
        name="flow of Q Q^T for two layers",
        state=(P,),
        rates=((F * P + P * F - P * P).doit(),),
        data=(F,),
        source=SOURCE,
    )


def defects(equation: TwoLayerRiccati) -> tuple[MatrixExpr, ...]:
    """dP/dt by the layers less dP/dt by the equation, block by block and under the law."""
    layers = equation.layers
    moving = dict(zip(layers.state, layers.rates, strict=True))
    W_1, W_2 = layers.state
    law = {(W_2.T, W_2): W_1 * W_1.T + BALANCE * Identity(W_1.rows)}
    return tuple(
        rewrite(rate_along(equation.P[i][j], moving) - _block(equation, i, j), law)
        for i in range(2)
        for j in range(2)
    )


def _block(equation: TwoLayerRiccati, i: int, j: int) -> MatrixExpr:
    """Block (i, j) of the Riccati equation's rate, each of whose terms is a product of two."""
    riccati = equation.riccati
    blocks = {riccati.state[0]: equation.P, riccati.data[0]: equation.F}
    terms = [
        MatMul(coefficient, blocks[left][i][k], blocks[right][k][j])
        for coefficient, (left, right) in words(riccati.rates[0])
        for k in range(2)
    ]
    return MatAdd(*terms)


def riccati_claim(equation: TwoLayerRiccati) -> Claim:
    """The claim that the layers' own rates make Q Q^T obey the equation."""
    return Claim(
        name="Riccati equation of two layers",
        statement="Where W_2^T W_2 - W_1 W_1^T = lambda I, P = Q Q^T has the rate F P + P F - P^2.",
        source=SOURCE,
        check=lambda: zero_matrices(*defects(equation)),
        formulas=equation.riccati.mathml(),
    )


def generator_claim(equation: TwoLayerRiccati) -> Claim:
    """The claim that F has S beside and -+ lambda/2 on its diagonal."""
    (S,) = equation.layers.data
    half = BALANCE / 2
    stated = ((-half * Identity(S.cols), S.T), (S, half * Identity(S.rows)))
    return Claim(
        name="generator of the Riccati equation",
        statement="F = [[-lambda/2 I, S^T], [S, lambda/2 I]].",
        source=SOURCE,
        check=lambda: zero_matrices(
            *(equation.F[i][j] - stated[i][j] for i in range(2) for j in range(2))
        ),
        formulas=(mathml(sp.BlockMatrix(equation.F)),),
    )


def singular_claim(equation: TwoLayerRiccati) -> Claim:
    """The claim that F has no inverse where S is not square and lambda is zero."""
    (S,) = equation.layers.data
    rows = sp.symbols("S_:2", real=True)
    stated = -BALANCE / 2 * (BALANCE**2 / 4 + rows[0] ** 2 + rows[1] ** 2)

    def check() -> Verdict:
        at = {S: sp.Matrix(rows), S.rows: 2, S.cols: 1}
        blocks = [[sp.Matrix(block.subs(at).doit()) for block in row] for row in equation.F]
        whole = sp.Matrix.vstack(*(sp.Matrix.hstack(*row) for row in blocks))
        return vanishing(whole.det() - stated)

    return Claim(
        name="singular generator of the Riccati equation",
        statement="For an S of two rows and one column, det F = -lambda/2 (lambda^2/4 + |S|^2): "
        "zero for lambda = 0 alone.",
        source=SOURCE,
        check=check,
        formulas=(mathml(stated),),
    )
