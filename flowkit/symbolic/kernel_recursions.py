"""The neural tangent kernel of fully connected networks, layer by layer.

Sources: Jacot, Gabriel, Hongler 2018 (arXiv:1806.07572); Arora, Du, Hu, Li, Salakhutdinov, Wang
2019 (arXiv:1904.11955), section 3.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import mathml, vanishing
from flowkit.symbolic.duals import COV, VAR_U, VAR_V, DualActivation, dual
from flowkit.symbolic.layer_step import SCALE, SOURCE, InductionStep, induction_step, step_claim

Value = sp.Expr | int
ORTHOGONAL = {2: 0.318310, 3: 0.685709, 4: 1.060388}  # depth -> the ReLU NTK of unit inputs
ORTHOGONAL_DIGITS = 5e-7


@dataclass(frozen=True)
class NormalisedDual:
    """A dual activation with the constant c = 1 / E[s(x)^2] that keeps a unit variance.

    Attributes:
        dual: The dual activation.
        scale: c.
        variance: var -> c E[s(u)^2] of a normal u of that variance.
    """

    dual: DualActivation
    scale: sp.Expr
    variance: sp.Lambda

    @property
    def is_homogeneous(self) -> bool:
        """Whether every variance is kept, as by s(a x) = a s(x) for a > 0."""
        var = sp.Symbol("var", positive=True)
        return self.variance(var) == var

    def at(self, var_u: Value, var_v: Value, cov: Value) -> tuple[sp.Expr, sp.Expr]:
        """E[s(u) s(v)] and E[s'(u) s'(v)] at given covariances."""
        values = {VAR_U: sp.sympify(var_u), VAR_V: sp.sympify(var_v), COV: sp.sympify(cov)}
        return self.dual.kappa.xreplace(values), self.dual.kappa_dot.xreplace(values)


@cache
def normalise(activated: DualActivation) -> NormalisedDual:
    """Find c = 1 / E[s(x)^2] of a standard normal x, and what it makes of other variances."""
    var = sp.Symbol("var", positive=True)
    square = activated.kappa.subs({VAR_U: var, VAR_V: var, COV: var})
    scale = sp.simplify(1 / square.subs(var, 1))
    return NormalisedDual(activated, scale, sp.Lambda(var, sp.simplify(scale * square)))


def check_integer(name: str, value: object, *, least: int) -> None:
    """Refuse what is no integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}, but it is `{value!r}`."
        )


@dataclass(frozen=True)
class KernelRecursion:
    """The kernels of a fully connected network of infinite width, layer by layer.

    Attributes:
        depth: The number of weight layers, one more than L.
        activation: The activation.
        covariances: Sigma_0 of the inputs, then Sigma_h in Sigma_{h-1}, for h = 1 .. L.
        slopes: Sigma'_h in Sigma_{h-1}, for h = 1 .. L.
        tangents: Theta_0, then Theta_h in Theta_{h-1}, Sigma_h and Sigma'_h.
        source: Where the recursion is published.
        claims: What is stated about it, each with a check.
    """

    depth: int
    activation: str
    covariances: tuple[sp.Expr, ...]
    slopes: tuple[sp.Expr, ...]
    tangents: tuple[sp.Expr, ...]
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What recurs."""
        return f"NTK recursion, depth {self.depth}, {self.activation}"

    @property
    def definitions(self) -> tuple[tuple[sp.Symbol, sp.Expr], ...]:
        """Each quantity with its expression in earlier ones and the inputs' covariances."""
        ordered = [(_sigma(0), self.covariances[0]), (_theta(0), self.tangents[0])]
        for h in range(1, self.depth):
            ordered.append((_sigma(h), self.covariances[h]))
            ordered.append((_slope(h), self.slopes[h - 1]))
            ordered.append((_theta(h), self.tangents[h]))
        return tuple(ordered)

    @property
    def outputs(self) -> tuple[sp.Symbol, sp.Symbol]:
        """The symbols of the NTK and of the NNGP among the definitions."""
        return _theta(self.depth - 1), _sigma(self.depth - 1)

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The definitions as equations."""
        return tuple(sp.Eq(*pair, evaluate=False) for pair in self.definitions)

    @property
    def unrolled(self) -> sp.Expr:
        """Theta_L in the symbols Sigma_h and Sigma'_h alone."""
        total = self.tangents[0]
        for h in range(1, self.depth):
            total = self.tangents[h].subs(_theta(h - 1), total)
        return total

    def evaluate(
        self, var_u: Value, var_v: Value, cov: Value, *, ends: bool = True
    ) -> tuple[sp.Expr, sp.Expr]:
        """The NTK and the NNGP of two inputs in closed form.

        Args:
            var_u: Squared norm of one input.
            var_v: Squared norm of the other.
            cov: Their inner product.
            ends: Whether the first and the last layer are trained; without them Theta_L lacks the
                terms of their weights, Sigma_0 prod Sigma'_h and Sigma_L.

        Returns:
            Both kernels as expressions, exact for exact numbers.
        """
        values = {VAR_U: sp.sympify(var_u), VAR_V: sp.sympify(var_v), COV: sp.sympify(cov)}
        for symbol, expression in self.definitions:
            values[symbol] = expression.xreplace(values)
        last = _sigma(self.depth - 1)
        fixed = {} if ends else {_sigma(0): sp.S.Zero, last: sp.S.Zero}
        return self.unrolled.xreplace(values | fixed), values[last]


def _sigma(h: int) -> sp.Symbol:
    return sp.Symbol(f"Sigma_{h}", real=True)


def _slope(h: int) -> sp.Symbol:
    return sp.Symbol(f"Sigmadot_{h}", real=True)


def _theta(h: int) -> sp.Symbol:
    return sp.Symbol(f"Theta_{h}", real=True)


@cache
def ntk_recursion(depth: int, activation: str = "relu") -> KernelRecursion:
    """Derive the covariances Sigma_h and the tangent kernel Theta_L of a fully connected network.

    Weights are standard normal, layers scaled by sqrt(c / width), c = 1 / E[s(x)^2], without
    biases, L = depth - 1. From Sigma_0 = Theta_0 = <x, x'>, which is a linear layer's, every layer
    applies `induction_step`, with the dual activation at the covariance below:

        Sigma_h = c E[s(u) s(v)],    Sigma'_h = c E[s'(u) s'(v)],
        Theta_h = Sigma'_h Theta_{h-1} + Sigma_h.

    Args:
        depth: The number of weight layers, L + 1.
        activation: A name that `dual` knows.

    Returns:
        The recursion in the symbols var_u = |x|^2, var_v = |x'|^2 and cov = <x, x'>, with claims
        for the induction step, for the closed sum, for the diagonal where s is positively
        homogeneous, and for orthogonal inputs of ReLU. The NTK drives du/dt = -K (u - y) under
        1/2 the sum of squares.

    Raises:
        ValueError: `depth` is not a positive integer, or `activation` is unknown.

    Source:
        arXiv:1904.11955, section 3. Checked by
        tests/symbolic/test_kernel_recursions.py.
    """
    check_integer("depth", depth, least=1)
    step, activated = induction_step(), normalise(dual(activation))
    covariances, slopes = [COV], []
    var_u, var_v = VAR_U, VAR_V
    for h in range(1, depth):
        kappa, kappa_dot = activated.at(var_u, var_v, _sigma(h - 1))
        covariances.append(
            step.covariance.subs({SCALE: activated.scale, step.expectations[0]: kappa})
        )
        slopes.append(activated.scale * kappa_dot)
        var_u, var_v = activated.variance(var_u), activated.variance(var_v)
    recursion = KernelRecursion(
        depth=depth,
        activation=activation,
        covariances=tuple(covariances),
        slopes=tuple(slopes),
        tangents=(_sigma(0), *(_tangent(step, h) for h in range(1, depth))),
        source=SOURCE,
    )
    claims = (step_claim(1), closed_sum_claim(recursion))
    if activated.is_homogeneous:
        claims += (diagonal_claim(recursion),)
    if activation == "relu" and depth in ORTHOGONAL:
        claims += (orthogonal_claim(recursion),)
    return replace(recursion, claims=claims)


def _tangent(step: InductionStep, h: int) -> sp.Expr:
    """The step's tangent kernel, in c kappa = Sigma_h and c kappadot = Sigma'_h."""
    named = {
        step.expectations[0]: _sigma(h) / SCALE,
        step.slopes[0]: _slope(h) / SCALE,
        step.tangents[0]: _theta(h - 1),
    }
    return sp.expand(step.tangent.subs(named))


def closed_sum_claim(recursion: KernelRecursion) -> Claim:
    """The claim that the recursion unrolls to the published sum over layers."""
    last = recursion.depth - 1
    published = sp.Add(
        *(_sigma(h) * sp.Mul(*map(_slope, range(h + 1, last + 1))) for h in range(last + 1))
    )
    return Claim(
        name=f"closed sum of the {recursion.name}",
        statement="Theta_L = sum_{h=1..L+1} Sigma_{h-1} prod_{h'=h..L} Sigma'_{h'}.",
        source="Arora et al. 2019, arXiv:1904.11955, section 3",
        check=lambda: vanishing(sp.expand(recursion.unrolled - published)),
        formulas=(mathml(sp.Eq(_theta(last), published)),),
    )


def diagonal_claim(recursion: KernelRecursion) -> Claim:
    """The claim that unit inputs have an NTK of L + 1 with themselves, and an NNGP of one."""
    return Claim(
        name=f"diagonal of the {recursion.name}",
        statement="On a unit input with itself the NTK is L + 1 and the covariance is one.",
        source="Arora et al. 2019, arXiv:1904.11955, section 3, for s(a x) = a s(x)",
        check=lambda: _check_diagonal(recursion),
    )


def _check_diagonal(recursion: KernelRecursion) -> Verdict:
    ntk, nngp = recursion.evaluate(1, 1, 1)
    return vanishing(ntk - recursion.depth, nngp - 1)


def orthogonal_claim(recursion: KernelRecursion) -> Claim:
    """The claim on the NTK of orthogonal unit inputs, which two ReLU layers make 1/pi."""
    stated = ORTHOGONAL[recursion.depth]

    def check() -> Verdict:
        value = float(recursion.evaluate(1, 1, 0)[0])
        return Verdict(
            passed=abs(value - stated) < ORTHOGONAL_DIGITS,
            kind="measured",
            measured=f"{value:.7f}",
            expected=f"{stated:.6f} +- {ORTHOGONAL_DIGITS:.0e}",
            numbers={"NTK": value},
        )

    return Claim(
        name=f"orthogonal inputs of the {recursion.name}",
        statement=f"On orthogonal unit inputs the NTK is {stated:.6f}.",
        source="Arora et al. 2019, arXiv:1904.11955, section 3; arc-cosine kernels, c = 2",
        check=check,
    )
