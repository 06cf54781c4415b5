"""Dual activations in two steps: what one variance decides, once, and then each pair.

Where many variables meet many, the scales of their variances are found for each of them alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import sympy as sp
from jaxtyping import Array, Float

from flowkit.lowering.duals import scaled_function
from flowkit.lowering.gaps import power_of_two
from flowkit.lowering.ranges import times_powers
from flowkit.symbolic.duals import DualActivation
from flowkit.symbolic.polar import HalfPowers
from flowkit.symbolic.quadrature import QuadratureDual

Reals = Float[Array, "..."]


class Variable(NamedTuple):
    """What a variance decides: it over factor^2, the factor, a power of two, and one over that."""

    scaled: Reals
    factor: Reals
    inverse: Reals


@dataclass(frozen=True)
class PairwiseDual:
    """A smooth dual without exponentials, for variables prepared one by one."""

    dual: DualActivation

    def prepare(self, variance: Reals) -> Variable:
        factor = jnp.maximum(power_of_two(variance), 1)
        inverse = 1 / factor
        return Variable(variance * inverse * inverse, factor, inverse)

    def __call__(self, u: Variable, v: Variable, cov: Reals) -> tuple[Reals, Reals]:
        """Kappa and kappa_dot; of the gap only what the rounding of `cov` leaves."""
        function, scaled = scaled_function(self.dual)
        c = cov * (u.inverse * v.inverse)
        gap = jnp.maximum(u.scaled * v.scaled - c * c, 0.0)
        least = 2.0 ** -(jnp.finfo(cov.dtype).maxexp // 4)
        small = (jnp.maximum(variable.inverse, least) for variable in (u, v))
        values = function(*(None,) * 4, u.scaled, v.scaled, c, gap, *small)
        kappa, kappa_dot = (
            times_powers(value * jnp.ones_like(gap), (u.factor, v.factor), s.degrees)
            for value, s in zip(values, scaled, strict=True)
        )
        return kappa, kappa_dot


def pairwise(dual: DualActivation | QuadratureDual) -> PairwiseDual | None:
    """The dual in two steps; None where it has exponentials, a kink or no closed form."""
    if isinstance(dual, QuadratureDual) or isinstance(dual.function, HalfPowers):
        return None
    _, scaled = scaled_function(dual)
    waves = (sp.exp, sp.sinh, sp.cosh, sp.sin, sp.cos)
    return None if any(s.expression.has(*waves) for s in scaled) else PairwiseDual(dual)
