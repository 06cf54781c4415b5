"""Angles from layer to layer, to some eps of a radian however small they are.

Inner products say of an angle only what their rounding leaves of 1 - correlation: the error is the
root of the rounding unit eps, 1e-8 in float64. A kink passes it on to E[s'(u) s'(v)], and a
Gram matrix of parallel inputs is not positive semidefinite. Here v = 1 - |correlation| is a
quantity of its own: from the difference of two inputs at first, then through each layer by
formulas in which no terms of order one cancel. (`flowkit.lowering.arctangent` computes one angle.)

A filter adds covariances cov_i of variances a_i^2 and b_i^2. With 1 - correlation of each, d_i, the
sums A^2, B^2 and C have

    1 - C / (A B) = sum_i (a_i / A - b_i / B)^2 / 2 + sum_i a_i b_i d_i / (A B),

a half squared distance of unit vectors and a mean: nothing cancels here either.
"""

from math import pi

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowkit.lowering.gaps import guarded_angle, guarded_root, power_of_two
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.polar import HalfPowers

Values = Float[Array, "..."]
Vectors = Float[Array, "... features"]


def has_angle(activation: Activation) -> bool:
    """Whether the angle after an activation has a formula here: that of a kink or jump at 0."""
    function = dual(activation).function
    if not isinstance(function, HalfPowers) or function.degree > 1:
        return False
    return float(function.right) != 0 or float(function.left) != 0


def has_jump(activation: Activation) -> bool:
    """Whether it is a jump at 0, whose covariances depend on an angle as it is."""
    function = dual(activation).function
    return isinstance(function, HalfPowers) and function.degree == 0


def squared_sine(apart: Values) -> Values:
    """1 - correlation^2 from v = 1 - |correlation|."""
    return apart * (2 - apart)


def unit(vectors: Vectors, squares: Values) -> Vectors:
    """Vectors over their lengths; 0 where these are.

    Args:
        vectors: Vectors along the last axis.
        squares: Their squared lengths.
    """
    size = power_of_two(squares.max())  # or slopes in single precision would overflow
    return inverse_root(squares / size / size)[..., None] * (vectors / size)


def inverse_root(squares: Values) -> Values:
    """One over the square root; 0 at zero."""
    return jnp.where(squares > 0, 1 / guarded_root(squares, 1.0), 0.0)


def between(a: Vectors, b: Vectors, cov: Values) -> Values:
    """The value v of two inputs, from the difference or the sum of both unit vectors.

    Args:
        a: Unit vectors, or 0.
        b: Others, broadcast against them.
        cov: Their inner products, of which only the signs count.

    Returns:
        |a -+ b|^2 / 2; what it is for a vector 0 has no meaning.
    """
    return _half_square(a - jnp.where(cov < 0, -1, 1).astype(a.dtype)[..., None] * b)


def after_sum(a: Vectors, b: Vectors, within: Values) -> Values:
    """The value v of a sum of covariances, by the formula above.

    Args:
        a: The unit vectors a_i / A along the last axis.
        b: The unit vectors b_i / B, broadcast against them.
        within: The sums of a_i b_i d_i / (A B).

    Returns:
        1 - |C| / (A B).
    """
    difference = jnp.minimum(_half_square(a - b) + within, 2.0)
    return jnp.minimum(difference, 2 - difference)


def _half_square(vectors: Vectors) -> Values:
    return jnp.sum(vectors**2, axis=-1) / 2


def below_one(apart: Values, cov: Values) -> Values:
    """The difference d = 1 - correlation, from v and the sign of `cov`."""
    return jnp.where(cov < 0, 2 - apart, apart)


def after_bias(
    apart: Values, moments: tuple[Values, Values, Values], weight: Values, bias: Values
) -> Values:
    """The value v of (w u, sqrt(b) n) and (w v, sqrt(b) n), n one common variable.

    With both variances k_uu and k_vv, the covariance k and the gap g = k_uu k_vv - k^2, the gap is
    (w k_uu + b) (w k_vv + b) - (w k + b)^2 = w^2 g + w b (k_uu + k_vv - 2 k), whose last factor is
    (sqrt(k_uu) - sqrt(k_vv))^2 + 2 sqrt(k_uu k_vv) (1 - correlation).

    Args:
        apart: That of u and v.
        moments: k_uu, k_vv and k.
        weight: w.
        bias: b.

    Returns:
        1 - |correlation|, from the new gap over the product of the new variances; 0 where one of
        these is 0.
    """
    var_u, var_v, cov = moments
    a, b = guarded_root(var_u, 0.0), guarded_root(var_v, 0.0)
    spread = (a - b) ** 2 + 2 * a * (b * below_one(apart, cov))
    new_u, new_v = (jnp.maximum(weight * var + bias, 0.0) for var in (var_u, var_v))
    over = lambda part, whole: part / jnp.where(whole > 0, whole, 1.0)
    kept = over(weight * var_u, new_u) * over(weight * var_v, new_v)
    sine2 = kept * squared_sine(apart) + over(bias, new_u) * over(weight * spread, new_v)
    return sine2 / (1 + guarded_root(1 - sine2, 0.0))


def after_activation(activation: Activation, apart: Values, cov: Values) -> Values:
    """The value v of s(u) and s(v) for s(x) = r x where x > 0 and l x elsewhere.

    At unit variances and an angle t with c = cos t the mean of s(u) s(v) is k = C c + B (sin t' -
    |c| t'), with B = (r - l)^2 / (2 pi) and, where c >= 0, t' = t and C = A = (r^2 + l^2) / 2,
    which is k at u = v; where c < 0, t' = pi - t and C = r l. Then A - k is a sum of

        A (1 - |c|) + |c| (A -+ C) - B (sin t' - |c| t').

    A jump, s(x) = r where x > 0 and l elsewhere, has k = A - (r - l)^2 t / (2 pi).

    Args:
        activation: One with an angle.
        apart: That of u and v.
        cov: Their covariance, of which only the sign counts.

    Returns:
        1 - |k| / A.

    Source:
        The dual of `flowkit.symbolic.dual`. Checked by tests/kernels/test_angles.py.
    """
    function = dual(activation).function
    assert isinstance(function, HalfPowers), activation
    right, left = float(function.right), float(function.left)
    whole = (right**2 + left**2) / 2
    jump = (right - left) ** 2 / (2 * pi * whole)
    if function.degree == 0:
        return _after_jump(jump, apart, cov)
    opposite = jnp.where(cov < 0, 1 + right * left / whole, 0.0).astype(apart.dtype)
    difference = jnp.maximum(apart + (1 - apart) * opposite - jump * _excess(apart), 0.0)
    return jnp.minimum(difference, 2 - difference)


def _after_jump(rate: float, apart: Values, cov: Values) -> Values:
    """The value v for 1 - k / A = rate t, where rate pi is at most 2."""
    line = _line(apart)
    angle = jnp.where(cov < 0, pi - line, line)
    rest = jnp.where(cov < 0, 2 - rate * pi + rate * line, 2 - rate * line)
    return jnp.minimum(rate * angle, rest)


def _line(apart: Values) -> Values:
    """The angle between both lines, at most pi / 2."""
    return guarded_angle(guarded_root(squared_sine(apart), 0.0), 1 - apart)


@jax.custom_jvp
def _excess(apart: Values) -> Values:
    """The difference sin t - t cos t for the angle t between both lines, cos t = 1 - v."""
    sine = guarded_root(squared_sine(apart), 0.0)
    return sine - (1 - apart) * guarded_angle(sine, 1 - apart)


@_excess.defjvp
def _(primals: tuple[Values], tangents: tuple[Values]) -> tuple[Values, Values]:
    (apart,), (tangent,) = primals, tangents
    return _excess(apart), _line(apart) * tangent
