"""Angles from layer to layer, to some eps of a radian however small they are.

Inner products say of an angle only what their rounding leaves of 1 - correlation^2: its error is
the root of the rounding unit eps, 1e-8 in float64. A kink passes it on to E[s'(u) s'(v)], and a
Gram matrix of parallel inputs is not positive semidefinite. Here the squared sine of the angle is
a quantity of its own: from the difference of two inputs at first, then through each layer by
formulas in which no terms of order one cancel. (`flowkit.lowering.arctangent` computes one angle.)
"""

from math import pi

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from flowkit.lowering.gaps import guarded_angle, guarded_root
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.polar import HalfPowers

Vector = Float[Array, " features"]


def has_angle(activation: Activation) -> bool:
    """Whether the angle after an activation has a formula here: that of a kink at 0."""
    function = dual(activation).function
    if not isinstance(function, HalfPowers) or function.degree != 1:
        return False
    return float(function.right) != 0 or float(function.left) != 0


def between(x: Vector, z: Vector, square_x: Scalar, square_z: Scalar) -> Scalar:
    """The squared sine of the angle, from the difference or the sum of both unit vectors.

    Args:
        x: One vector.
        z: Another.
        square_x: x . x.
        square_z: z . z.

    Returns:
        s (2 - s) for s = |x / |x| -+ z / |z||^2 / 2; 0 where a vector is 0.
    """
    unit = lambda v, square: v / guarded_root(square, 1.0)
    a, b = unit(x, square_x), unit(z, square_z)
    opposite = jnp.vdot(a, b) < 0
    chord = jnp.sum(jnp.where(opposite, a + b, a - b) ** 2) / 2
    return jnp.where((square_x > 0) & (square_z > 0), chord * (2 - chord), 0.0)


def after_bias(
    sine2: Scalar, moments: tuple[Scalar, Scalar, Scalar], weight: Scalar, bias: Scalar
) -> Scalar:
    """The squared sine of (w u, sqrt(b) n) and (w v, sqrt(b) n), n one common variable.

    With both variances k_uu and k_vv, the covariance k and the gap g = k_uu k_vv - k^2, the gap is
    (w k_uu + b) (w k_vv + b) - (w k + b)^2 = w^2 g + w b (k_uu + k_vv - 2 k), whose last factor is
    (sqrt(k_uu) - sqrt(k_vv))^2 + 2 g / (sqrt(k_uu k_vv) + k).

    Args:
        sine2: That of u and v.
        moments: k_uu, k_vv and k.
        weight: w.
        bias: b.

    Returns:
        The new gap over the product of the new variances; 0 where one of these is 0.
    """
    var_u, var_v, cov = moments
    a, b = guarded_root(var_u, 0.0), guarded_root(var_v, 0.0)
    near = (cov > 0) & (sine2 < 0.5)
    apart = (a - b) ** 2 + 2 * a * (b * sine2) / (1 + jnp.sqrt(1 - jnp.where(near, sine2, 0.0)))
    spread = jnp.where(near, apart, var_u + var_v - 2 * cov)
    new_u, new_v = (jnp.maximum(weight * var + bias, 0.0) for var in (var_u, var_v))
    over = lambda part, whole: part / jnp.where(whole > 0, whole, 1.0)
    kept = over(weight * var_u, new_u) * over(weight * var_v, new_v)
    return kept * sine2 + over(bias, new_u) * over(weight * spread, new_v)


def after_activation(
    activation: Activation, sine2: Scalar, moments: tuple[Scalar, Scalar, Scalar]
) -> Scalar:
    """The squared sine of s(u) and s(v) for s(x) = r x where x > 0 and l x elsewhere.

    At unit variances and an angle t with c = cos t the mean of s(u) s(v) is k = C c + B (sin t -
    |c| t'), with B = (r - l)^2 / (2 pi) and, where c >= 0, t' = t and C = A = (r^2 + l^2) / 2,
    which is k at u = v; where c < 0, t' = pi - t and C = r l. Then A^2 - k^2 is a sum of

        A^2 sin^2 t + (A^2 - C^2) c^2 - (k - C c) (k + C c).

    Args:
        activation: One with an angle.
        sine2: That of u and v.
        moments: The variances of u and v, and their covariance.

    Returns:
        1 - k^2 / A^2.

    Source:
        The dual of `flowkit.symbolic.dual`. Checked by tests/kernels/test_angles.py.
    """
    function, cosine = dual(activation).function, _cosine(*moments)
    right, left = (float(getattr(function, side)) for side in ("right", "left"))
    whole = (right**2 + left**2) / 2
    linear = jnp.where(cosine < 0, right * left / whole, 1.0).astype(cosine.dtype)
    rest = (right - left) ** 2 / (2 * pi * whole) * _excess(sine2, cosine)
    kept = sine2 + (1 - linear**2) * cosine**2
    return jnp.maximum(kept - rest * (rest + 2 * linear * cosine), 0.0)


def _cosine(var_u: Scalar, var_v: Scalar, cov: Scalar) -> Scalar:
    return cov / guarded_root(var_u, 1.0) / guarded_root(var_v, 1.0)


@jax.custom_jvp
def _excess(sine2: Scalar, cosine: Scalar) -> Scalar:
    """The difference sin t - |cos t| t for the angle t between both lines."""
    sine, size = guarded_root(sine2, 0.0), abs(cosine)
    return sine - size * guarded_angle(sine, size)


@_excess.defjvp
def _(primals: tuple[Scalar, Scalar], tangents: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
    """The derivatives, in which nothing cancels that is large."""
    sine2, cosine = primals
    sine, size = guarded_root(sine2, 0.0), abs(cosine)
    square = sine2 + size**2
    square = jnp.where(square > 0, square, 1.0)
    by_size = size * sine / square - guarded_angle(sine, size)
    by_cosine = jnp.where(cosine < 0, -by_size, by_size)
    return _excess(*primals), sine / (2 * square) * tangents[0] + by_cosine * tangents[1]
