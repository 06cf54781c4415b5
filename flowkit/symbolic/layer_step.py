"""What one layer of infinite width makes of the kernels below it, derived by the product rule.

Sources: Jacot, Gabriel, Hongler 2018 (arXiv:1806.07572); Arora, Du, Hu, Li, Salakhutdinov, Wang
2019 (arXiv:1904.11955), section 3.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import mathml, vanishing

Pair = tuple[sp.Expr, sp.Expr]

SCALE = sp.Symbol("c", positive=True)
WIDTHS = (1, 2, 3)  # at which the induction step is held against the published one
SOURCE = "Arora et al. 2019, arXiv:1904.11955, section 3"


class _Activation(sp.Function):
    """The activation s, whatever it is: all that is known of it is the name of its derivative."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return _Slope(self.args[0])


class _Slope(sp.Function):
    """The derivative s' of the activation."""


@dataclass(frozen=True)
class InductionStep:
    """What one layer makes of the kernels below it, averaged over its weights.

    Attributes:
        expectations: kappa_a = E[s(u) s(v)] at the units that shift a reaches, for each shift.
        slopes: kappadot_a = E[s'(u) s'(v)] at the same units.
        tangents: theta_a, the tangent kernel of the same units.
        covariance: E[z(x) z(x')] of the layer's output z.
        tangent: <grad z(x), grad z(x')> over all parameters of this layer and those below.
    """

    expectations: tuple[sp.Symbol, ...]
    slopes: tuple[sp.Symbol, ...]
    tangents: tuple[sp.Symbol, ...]
    covariance: sp.Expr
    tangent: sp.Expr


@cache
def induction_step(shifts: int = 1, width: int = 1) -> InductionStep:
    """Derive how a layer z = sqrt(c / (q d)) sum_{a, i} w_{a, i} s(g_{a, i}) changes the kernels.

    The units g_{a, i} of the layer below depend on earlier parameters, which one parameter stands
    for, as the inner product is a sum over them. SymPy's product and chain rules give both
    gradients. The weights are independent standard normals, so that a product of two different
    ones averages to zero; the d units at one shift are alike, so that their products average to
    kappa_a, kappadot_a and theta_a (exactly so in the limit of infinite width below).

    Args:
        shifts: The number q of shifts a that the layer sums over, 1 for a fully connected one.
        width: The number d of units i.

    Returns:
        The covariance and the tangent kernel of z; neither depends on the width.

    Raises:
        ArithmeticError: something is left that has no average.

    Source:
        arXiv:1806.07572, Theorem 1; arXiv:1904.11955, section 3. Checked by
        tests/symbolic/test_kernel_recursions.py.
    """
    earlier, units = sp.Symbol("vartheta"), list(itertools.product(range(shifts), range(width)))
    weights = [sp.Symbol(f"w_{a}_{i}") for a, i in units]
    one, other = ([sp.Function(f"{g}_{a}_{i}")(earlier) for a, i in units] for g in "gh")
    scale = sp.sqrt(SCALE / (shifts * width))
    z, z_other = (
        scale * sp.Add(*(w * _Activation(g) for w, g in zip(weights, inputs, strict=True)))
        for inputs in (one, other)
    )
    inner = sp.Add(*(z.diff(p) * z_other.diff(p) for p in (*weights, earlier)))
    names = [sp.symbols(f"{name}_:{shifts}") for name in ("kappa", "kappadot", "theta")]
    averages = _averages(units, one, other, names)
    return InductionStep(
        *names,
        covariance=_average(z * z_other, weights, averages),
        tangent=_average(inner, weights, averages),
    )


def _averages(units: list, one: list, other: list, names: list) -> dict[Pair, sp.Expr]:
    """What the products of quantities of one unit at both inputs are in the limit."""
    averages = {}
    for (shift, _), g, h in zip(units, one, other, strict=True):
        (parameter,) = g.args
        pairs = [(_Activation(g), _Activation(h)), (_Slope(g), _Slope(h))]
        pairs.append((g.diff(parameter), h.diff(parameter)))
        averages |= {pair: name[shift] for pair, name in zip(pairs, names, strict=True)}
    return averages


def _average(expression: sp.Expr, weights: list, averages: dict[Pair, sp.Expr]) -> sp.Expr:
    """The mean over standard normal weights and over the units below, term by term."""
    terms = sp.Add.make_args(sp.expand(expression))
    return sp.Add(*(_average_of_term(term, weights, averages) for term in terms))


def _average_of_term(term: sp.Expr, weights: list, averages: dict[Pair, sp.Expr]) -> sp.Expr:
    powers = dict(term.as_powers_dict())
    exponents = [powers.pop(weight) for weight in weights if weight in powers]
    if any(exponent % 2 for exponent in exponents):
        return sp.S.Zero
    factors = [sp.factorial2(exponent - 1) for exponent in exponents]  # E[w^2] = 1, E[w^4] = 3
    for (first, second), name in averages.items():
        if powers.get(first) == powers.get(second) == 1:
            factors.append(name)
            del powers[first], powers[second]
    left_over = sp.Mul(*(base**exponent for base, exponent in powers.items()))
    if left_over.atoms(sp.Derivative, sp.Function):
        raise ArithmeticError(f"There is no average of `{left_over}`.")
    return sp.Mul(left_over, *factors)


def step_claim(shifts: int) -> Claim:
    """The claim that the induction step is the published one, at widths 1, 2 and 3."""
    return Claim(
        name=f"induction step, {shifts} shifts",
        statement="A layer adds its own weights' part, the sum of c/q kappa_a over equal shifts, "
        "to what passes through it, the sum of c/q kappadot_a theta_a, at every width.",
        source=SOURCE,
        check=lambda: check_step([induction_step(shifts, width) for width in WIDTHS]),
        formulas=(mathml(induction_step(shifts).tangent),),
    )


def check_step(steps: Sequence[InductionStep]) -> Verdict:
    """Hold derived steps against the published sums over equal shifts."""
    defects = []
    for step in steps:
        through = sp.Add(*(k * t for k, t in zip(step.slopes, step.tangents, strict=True)))
        own = sp.Add(*step.expectations)
        factor = SCALE / len(step.expectations)
        defects += [step.covariance - factor * own, step.tangent - factor * (own + through)]
    return vanishing(*defects)
