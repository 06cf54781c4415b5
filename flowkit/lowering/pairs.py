"""Dual activations in steps: what one variance decides, once, and then each pair.

Where many variables meet many, the scales of their variances, and the divisors that depend on one
of them alone, are found for each alone. Of each pair the roots and angles, which take most of the
time, are found first: both values need them, and XLA would compute them twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import sympy as sp
from jax import lax
from jaxtyping import Array, Float

from flowkit.lowering.duals import scaled_function
from flowkit.lowering.gaps import power_of_two
from flowkit.lowering.printing import GuardedPrinter, compile_expressions
from flowkit.lowering.ranges import times_powers
from flowkit.symbolic.duals import DualActivation
from flowkit.symbolic.polar import HalfPowers
from flowkit.symbolic.quadrature import QuadratureDual
from flowkit.symbolic.scaling import (
    SCALED_COV,
    SCALED_GAP,
    SCALED_U,
    SCALED_V,
    SMALL_U,
    SMALL_V,
)

Reals = Float[Array, "..."]

OF_U, OF_V = (SCALED_U, SMALL_U), (SCALED_V, SMALL_V)
OF_BOTH = (SCALED_COV, SCALED_GAP)


class Variable(NamedTuple):
    """What a variance decides.

    Attributes:
        scaled: The variance over factor^2.
        factor: A power of two.
        inverse: One over the factor.
        shares: One over each divisor of the dual that depends on this variance alone.
    """

    scaled: Reals
    factor: Reals
    inverse: Reals
    shares: tuple[Reals, ...]


class Steps(NamedTuple):
    """The functions of a dual: of one variable, then of two what is costly, then the values."""

    shares: Callable[..., Sequence[Reals]]
    roots: Callable[..., Sequence[Reals]]
    angles: Callable[..., Sequence[Reals]]
    values: Callable[..., Sequence[Reals]]


@dataclass(frozen=True)
class PairwiseDual:
    """A smooth dual without exponentials, for variables prepared one by one.

    Attributes:
        dual: The dual.
        held: Whether XLA is kept from computing roots and angles anew for each of their uses.
    """

    dual: DualActivation
    held: bool = True

    def prepare(self, variance: Reals) -> Variable:
        factor = jnp.maximum(power_of_two(variance), 1)
        inverse = 1 / factor
        scaled = variance * inverse * inverse
        shares = _steps(self.dual).shares(scaled, _small(inverse))
        return Variable(scaled, factor, inverse, tuple(shares))

    def __call__(self, u: Variable, v: Variable, cov: Reals) -> tuple[Reals, Reals]:
        """Kappa and kappa_dot; of the gap only what the rounding of `cov` leaves."""
        steps, (_, scaled) = _steps(self.dual), scaled_function(self.dual)
        c = cov * (u.inverse * v.inverse)
        gap = jnp.maximum(u.scaled * v.scaled - c * c, 0.0)
        known = (u.scaled, _small(u.inverse), v.scaled, _small(v.inverse), c, gap)
        roots = steps.roots(*known)
        costly = (*roots, *steps.angles(*known, *roots))
        costly = lax.optimization_barrier(costly) if self.held else costly
        values = steps.values(*known, *u.shares, *v.shares, *costly)
        kappa, kappa_dot = (
            _unscaled(value * jnp.ones_like(gap), u, v, s.degrees)
            for value, s in zip(values, scaled, strict=True)
        )
        return kappa, kappa_dot


def _unscaled(value: Reals, u: Variable, v: Variable, degrees: tuple[int, int]) -> Reals:
    """The value times powers of both factors; for negative ones, of their inverses, as exactly."""
    factors = [w.factor if d > 0 else w.inverse for w, d in zip((u, v), degrees, strict=True)]
    return times_powers(value, (factors[0], factors[1]), (abs(degrees[0]), abs(degrees[1])))


def _small(inverse: Reals) -> Reals:
    """The inverse factor, whose sixth power is still a number."""
    return jnp.maximum(inverse, 2.0 ** -(jnp.finfo(inverse.dtype).maxexp // 4))


@cache
def _steps(dual: DualActivation) -> Steps:
    expressions = [s.expression for s in scaled_function(dual)[1]]
    divisors = _bases(expressions, lambda p: p.exp.is_Integer and _is_of_u(p))
    shares = [sp.symbols(f"share_{side}:{len(divisors)}") for side in "uv"]
    to_v = dict(zip(OF_U, OF_V, strict=True))
    named = dict(zip(divisors, shares[0], strict=True))
    named |= dict(zip([d.xreplace(to_v) for d in divisors], shares[1], strict=True))
    expressions = [_with_names(e, named) for e in expressions]
    radicands = _bases(expressions, lambda p: (2 * p.exp).is_Integer and not p.exp.is_Integer)
    roots = sp.symbols(f"root:{len(radicands)}")
    named = dict(zip(radicands, roots, strict=True))
    expressions = [_with_names(e, named, sp.S.Half) for e in expressions]
    arguments = sorted({a.args[0] for e in expressions for a in e.atoms(sp.atan)}, key=str)
    angles = sp.symbols(f"angle:{len(arguments)}")
    of_angles = {sp.atan(x): angle for x, angle in zip(arguments, angles, strict=True)}
    known = (*OF_U, *OF_V, *OF_BOTH)
    compiled = lambda inputs, found: compile_expressions(inputs, found, GuardedPrinter)
    return Steps(
        compiled(OF_U, [1 / divisor for divisor in divisors]),
        compiled(known, [1 / sp.sqrt(base) for base in radicands]),
        compiled((*known, *roots), list(of_angles)),
        compiled(
            (*known, *shares[0], *shares[1], *roots, *angles),
            [_nested(e.xreplace(of_angles)) for e in expressions],
        ),
    )


def _is_of_u(power: sp.Pow) -> bool:
    return bool(power.free_symbols) and power.free_symbols <= set(OF_U)


def _bases(expressions: Sequence[sp.Basic], divides: Callable[[sp.Pow], bool]) -> list[sp.Expr]:
    """Of what some powers divide by."""
    powers = (p for e in expressions for p in e.atoms(sp.Pow) if p.exp.is_negative and divides(p))
    return sorted({p.base for p in powers}, key=str)


def _with_names(
    expression: sp.Basic, named: dict[sp.Expr, sp.Symbol], unit: sp.Expr = sp.S.One
) -> sp.Basic:
    """With names for one over some bases to the power of a unit."""
    powers = [p for p in expression.atoms(sp.Pow) if p.exp.is_negative and p.base in named]
    found = {p: named[p.base] ** (-p.exp / unit) for p in powers if (p.exp / unit).is_Integer}
    return expression.xreplace(found)


def _nested(expression: sp.Basic) -> sp.Basic:
    """With polynomials nested, those of u, which many v share, on the inside."""
    inputs = (SCALED_GAP, SCALED_V, SMALL_V, *OF_U)
    is_polynomial = lambda e: e.is_Add and e.free_symbols <= set(inputs)
    return expression.replace(is_polynomial, lambda e: sp.horner(e, *inputs))


def pairwise(dual: DualActivation | QuadratureDual, *, held: bool = True) -> PairwiseDual | None:
    """The dual in steps; None where it has exponentials, a kink or no closed form."""
    if isinstance(dual, QuadratureDual) or isinstance(dual.function, HalfPowers):
        return None
    _, scaled = scaled_function(dual)
    waves = (sp.exp, sp.sinh, sp.cosh, sp.sin, sp.cos)
    return None if any(s.expression.has(*waves) for s in scaled) else PairwiseDual(dual, held)
