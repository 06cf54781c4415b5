"""Dual activations as pure JAX callables, finite where variables coincide or vanish."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import sympy as sp
from jaxtyping import Array, Scalar

from flowkit.claim import Claim, Verdict
from flowkit.lowering.activations import Function, scalar_function
from flowkit.lowering.callables import lower
from flowkit.lowering.gaps import determinant, guarded_angle, power_of_two
from flowkit.lowering.printing import GuardedPrinter, compile_expressions
from flowkit.lowering.ranges import (
    Kappas,
    Real,
    below_the_mean,
    times_powers,
    within_range,
    without_subnormal,
)
from flowkit.symbolic.duals import DualActivation
from flowkit.symbolic.gaussian import COV, GAP, VAR_U, VAR_V, name_determinant
from flowkit.symbolic.polar import HalfPowers
from flowkit.symbolic.quadrature import (
    NODES,
    QuadratureDual,
    normal_rule,
    radial_rule,
    sector_rule,
)
from flowkit.symbolic.scaling import (
    SCALED_COV,
    SCALED_GAP,
    SCALED_U,
    SCALED_V,
    SMALL_U,
    SMALL_V,
    Scaled,
    scale,
)

VARIANCES = (0.6, 0.9)  # at which a rule is checked

Mean = Callable[[Scalar, Scalar, Scalar], Scalar]


@cache
def scaled_function(dual: DualActivation) -> tuple[Callable[..., tuple], list[Scaled]]:
    """Kappa and kappa_dot in scaled moments, and what they are to be multiplied by.

    The arguments are var_u, var_v, cov and the gap, for exponents, then the same scaled, then the
    inverse factors of the scale.
    """
    scaled = [scale(name_determinant(e)) for e in (dual.kappa, dual.kappa_dot)]
    unscaled = (VAR_U, VAR_V, COV, GAP)
    arguments = (*unscaled, SCALED_U, SCALED_V, SCALED_COV, SCALED_GAP, SMALL_U, SMALL_V)
    expressions = [s.expression for s in scaled]
    return compile_expressions(arguments, expressions, GuardedPrinter), scaled


@lower.register
@cache
def _lower_dual(dual: DualActivation) -> Kappas:
    function, scaled = scaled_function(dual)
    homogeneous = isinstance(dual.function, HalfPowers)
    exponential = any(s.expression.has(sp.exp) for s in scaled)

    def kappas(
        var_u: Array, var_v: Array, cov: Array, sine2: Array | None, resolution: float
    ) -> tuple[Array, Array]:
        a, b = power_of_two(var_u), power_of_two(var_v)
        if not homogeneous:
            a, b = jnp.maximum(a, 1), jnp.maximum(b, 1)
        u, v, c = var_u / a / a, var_v / b / b, cov / a / b
        if homogeneous:
            u, v, c = without_subnormal(u, v, c)
        gap = determinant(u, v, c) if sine2 is None else sine2 * u * v
        if homogeneous and sine2 is None and resolution:
            gap = jnp.where(gap <= resolution * jnp.finfo(cov.dtype).eps * (u * v), 0.0, gap)
        cov = below_the_mean(var_u, var_v, cov) if exponential else cov
        least = 2.0 ** -(jnp.finfo(cov.dtype).maxexp // 4)  # its sixth power is still a number
        small = (jnp.maximum(1 / factor, least) for factor in (a, b))
        unscaled_gap = determinant(var_u, var_v, cov) if sine2 is None else sine2 * var_u * var_v
        values = function(var_u, var_v, cov, unscaled_gap, u, v, c, gap, *small)
        kappa, kappa_dot = (
            times_powers(value * jnp.ones_like(gap), (a, b), s.degrees)
            for value, s in zip(values, scaled, strict=True)
        )
        return kappa, kappa_dot

    return within_range(kappas)


@lower.register
@cache
def _lower_quadrature(dual: QuadratureDual) -> Kappas:
    function = scalar_function(dual)
    rule = partial(_polar if dual.kinked else _planar, nodes=dual.nodes)
    kappa = jnp.vectorize(_mean(function, function, rule, kinked=dual.kinked))
    slope = jax.grad(function)
    kappa_dot = jnp.vectorize(_mean(slope, slope, rule, kinked=dual.kinked))

    @jax.jit  # or the loops over nodes would be compiled anew in each call
    def kappas(var_u: Array, var_v: Array, cov: Array, *_: object) -> tuple[Array, Array]:
        return kappa(var_u, var_v, cov), kappa_dot(var_u, var_v, cov)

    return within_range(kappas)


def quadrature_error(dual: QuadratureDual, var_u: Real, var_v: Real, cov: Real) -> Array:
    """Twice the distance to the rule with twice the nodes: a bound on the error.

    The rules converge geometrically: twice the nodes square the relative error, and a bound holds
    as soon as they halve the error. Rounding counts as 32 units in the last place.

    Args:
        dual: The rule.
        var_u: Variance of u.
        var_v: Variance of v.
        cov: Covariance of u and v.

    Returns:
        The larger of the bounds for kappa and kappa_dot.
    """
    coarse, fine = (lower(replace(dual, nodes=n * dual.nodes)) for n in (1, 2))
    pairs = zip(coarse(var_u, var_v, cov), fine(var_u, var_v, cov), strict=True)
    bounds = [jnp.maximum(2 * abs(a - b), 32 * jnp.finfo(b.dtype).eps * abs(b)) for a, b in pairs]
    return jnp.maximum(*bounds)


def rule_claim(dual: QuadratureDual) -> Claim:
    """The claim that a rule obeys Price's theorem and the law of independent variables.

    Measured at variances 0.6 and 0.9: the central difference of kappa by the covariance against
    kappa_dot, and kappa at covariance 0 against the product of both means, by the finer rule in
    one dimension.
    """
    return Claim(
        name=f"dual by quadrature, {dual.name}",
        statement="d E[s(u) s(v)] / d cov is E[s'(u) s'(v)], and E[s(u)] E[s(v)] at covariance 0.",
        source="Price 1958; Trefethen, Weideman 2014",
        check=lambda: _check_rule(dual),
    )


def _check_rule(dual: QuadratureDual, step: float = 1e-4) -> Verdict:
    (a, b), bound = VARIANCES, 1e-8  # step^2, and the half powers of a kink
    kappas, function = lower(dual), jax.vmap(scalar_function(dual))
    points, weights = (jnp.asarray(x) for x in normal_rule(8 * NODES))
    means = [jnp.sum(weights * function(jnp.sqrt(v) * points)) for v in (a, b)]
    slopes = []
    for cov in (0.3, -0.5):
        above, below = (kappas(a, b, cov + shift)[0] for shift in (step, -step))
        slopes.append(abs((above - below) / (2 * step) - kappas(a, b, cov)[1]))
    numbers = {
        "error of Price's theorem": float(max(slopes)),
        "error at covariance 0": float(abs(kappas(a, b, 0.0)[0] - means[0] * means[1])),
    }
    return Verdict(
        passed=max(numbers.values()) < bound,
        kind="measured",
        measured=", ".join(f"{name} {value:.1e}" for name, value in numbers.items()),
        expected=f"both below {bound:.0e}",
        numbers=numbers,
    )


def _mean(f: Function, g: Function, rule: Callable[..., Scalar], *, kinked: bool) -> Mean:
    """E[f(u) g(v)], whose derivatives are expectations again, by Price's theorem.

    d/dcov is E[f'(u) g'(v)] and d/dvar_u is E[f''(u) g(v)] / 2: finite where the nodes themselves,
    which hold a square root of the determinant, have no derivative. With a kink f'' has an
    impulse; then E[f''(u) g(v)] is (E[u f'(u) g(v)] - cov E[f'(u) g'(v)]) / var_u, by parts.
    """

    @jax.custom_jvp
    def mean(var_u: Scalar, var_v: Scalar, cov: Scalar) -> Scalar:
        return rule(f, g, var_u, var_v, cov)

    again = partial(_mean, rule=rule, kinked=kinked)
    by_variance = _curvature_by_parts if kinked else _curvature

    @mean.defjvp
    def _(primals, tangents):
        var_u, var_v, cov = primals
        by_u = by_variance(again, f, g, var_u, var_v, cov) / 2
        by_v = by_variance(again, g, f, var_v, var_u, cov) / 2
        by_cov = again(jax.grad(f), jax.grad(g))(var_u, var_v, cov)
        return mean(*primals), by_u * tangents[0] + by_v * tangents[1] + by_cov * tangents[2]

    return mean


def _curvature(
    again: Callable[..., Mean], f: Function, g: Function, var_f: Scalar, var_g: Scalar, cov: Scalar
) -> Scalar:
    """E[f''(u) g(v)]."""
    return again(jax.grad(jax.grad(f)), g)(var_f, var_g, cov)


def _curvature_by_parts(
    again: Callable[..., Mean], f: Function, g: Function, var_f: Scalar, var_g: Scalar, cov: Scalar
) -> Scalar:
    """E[f''(u) g(v)] through f' alone; 0 at variance zero, where u stays at the kink."""
    slope = jax.grad(f)
    moment = again(lambda x: x * slope(x), g)(var_f, var_g, cov)
    numerator = moment - cov * again(slope, jax.grad(g))(var_f, var_g, cov)
    return jnp.where(var_f > 0, numerator / jnp.where(var_f > 0, var_f, 1.0), 0.0)


def _planar(
    f: Function, g: Function, var_u: Scalar, var_v: Scalar, cov: Scalar, *, nodes: int
) -> Scalar:
    """E[f(u) g(v)] by a product rule, u and v turned by half the angle either way."""
    points, weights = (jnp.asarray(x, cov.dtype) for x in normal_rule(nodes))
    a, b, half = _deviations_and_half_angle(var_u, var_v, cov)

    def add_row(total: Scalar, node: tuple[Scalar, Scalar]) -> tuple[Scalar, None]:
        x, y = node[0] * jnp.cos(half), points * jnp.sin(half)
        values = jax.vmap(f)(a * (x + y)) * jax.vmap(g)(b * (x - y))
        return total + node[1] * jnp.sum(weights * values), None

    return jax.lax.scan(add_row, jnp.zeros_like(cov), (points, weights))[0]


def _polar(
    f: Function, g: Function, var_u: Scalar, var_v: Scalar, cov: Scalar, *, nodes: int
) -> Scalar:
    """E[f(u) g(v)] by rules in radius and angle, sector by sector between the kinks."""
    a, b, half = _deviations_and_half_angle(var_u, var_v, cov)
    radii, radial = (jnp.asarray(x, cov.dtype) for x in radial_rule(nodes // 2))
    fractions, angular = (jnp.asarray(x, cov.dtype) for x in sector_rule(nodes // 2))
    quarter = jnp.asarray(jnp.pi / 2, cov.dtype)
    kinks = jnp.stack([-quarter - half, half - quarter, quarter - half, quarter + half])
    widths = jnp.stack([2 * half, 2 * quarter - 2 * half] * 2)
    angles = (kinks[:, None] + widths[:, None] * fractions[None]).ravel()
    weights = (widths[:, None] * angular[None]).ravel()

    def add_ring(total: Scalar, ring: tuple[Scalar, Scalar]) -> tuple[Scalar, None]:
        u, v = a * ring[0] * jnp.cos(angles - half), b * ring[0] * jnp.cos(angles + half)
        return total + ring[1] * jnp.sum(weights * jax.vmap(f)(u) * jax.vmap(g)(v)), None

    return jax.lax.scan(add_ring, jnp.zeros_like(cov), (radii, radial))[0]


def _deviations_and_half_angle(
    var_u: Scalar, var_v: Scalar, cov: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    a, b = power_of_two(var_u), power_of_two(var_v)
    scaled = cov / a / b
    angle = guarded_angle(jnp.sqrt(determinant(var_u / a / a, var_v / b / b, scaled)), scaled)
    return jnp.sqrt(var_u), jnp.sqrt(var_v), angle / 2
