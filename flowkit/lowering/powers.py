"""Real powers of symmetric matrices, differentiable where eigenvalues coincide or vanish."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def symmetric_power(
    matrix: Float[Array, "n n"], exponent: float | Float[Array, ""]
) -> Float[Array, "n n"]:
    """Real power of a positive semidefinite matrix, on its range.

    V diag(l^p) V^T. Eigenvalues at rounding level count as zero, since a fractional power would
    magnify them (the cube root of 1e-17 is 2e-6). Zero stays zero under a negative power, as in the
    pseudoinverse: so the gradient of the nuclear norm exists at every rank.

    Args:
        matrix: A symmetric positive semidefinite matrix.
        exponent: The exponent p; 0 gives the identity.

    Returns:
        The power. Its derivative is V (F o (V^T dS V)) V^T with the divided differences
        F_ij = (l_i^p - l_j^p) / (l_i - l_j), which are finite where l_i = l_j.

    Source:
        Daleckii and Krein 1965; Higham 2008, Functions of Matrices, theorem 3.11. Checked by
        tests/symbolic/test_norms.py.
    """
    return _symmetric_power(matrix, jnp.asarray(exponent, matrix.dtype))


@jax.custom_jvp
def _symmetric_power(matrix: Array, exponent: Array) -> Array:
    values, vectors = _spectrum(matrix)
    return (vectors * _power(values, exponent)[None, :]) @ vectors.T


@_symmetric_power.defjvp
def _(primals, tangents):
    (matrix, exponent), (d_matrix, d_exponent) = primals, tangents
    values, vectors = _spectrum(matrix)
    powers = _power(values, exponent)
    logs = jnp.log(jnp.where(values > 0, values, 1.0))
    inner = vectors.T @ ((d_matrix + d_matrix.T) / 2) @ vectors
    rotated = _divided_differences(values, exponent) * inner
    rotated += jnp.diag(powers * logs * d_exponent)
    return (vectors * powers[None, :]) @ vectors.T, vectors @ rotated @ vectors.T


def _spectrum(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, exactly zero at rounding level, and eigenvectors."""
    values, vectors = jnp.linalg.eigh(matrix)
    noise = len(matrix) * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.abs(values))
    return jnp.where(values > noise, values, 0.0), vectors


def _power(values: Array, exponent: Array) -> Array:
    """l^p, with 0^p = 0 for every p but 0."""
    at_zero = jnp.where(exponent == 0, 1.0, 0.0)
    return jnp.where(values > 0, jnp.where(values > 0, values, 1.0) ** exponent, at_zero)


def _divided_differences(values: Array, exponent: Array) -> Array:
    """(a^p - b^p) / (a - b) without cancellation; p a^{p-1} where a = b, 0 where both are 0.

    With a = b e^d it is b^{p-1} expm1(p d) / expm1(d).
    """
    positive = jnp.where(values > 0, values, 1.0)
    d = jnp.log(positive[:, None] / positive[None, :])
    distinct = jnp.where(d == 0, 1.0, d)
    ratio = jnp.where(d == 0, exponent, jnp.expm1(exponent * distinct) / jnp.expm1(distinct))
    slopes = jnp.where(values > 0, positive ** (exponent - 1), 0.0)
    a, b = values[:, None] > 0, values[None, :] > 0
    linear = jnp.where(exponent == 1, 1.0, 0.0)
    one_sided = jnp.where(a | b, slopes[:, None] + slopes[None, :], linear)
    return jnp.where(a & b, slopes[None, :] * ratio, one_sided)
