"""What an activation makes of a tile: the duals of each pair of positions.

A dual takes what `norms` holds of both images, the covariances s and a mask, and returns m and k
with E[s(u) s(v)] = factor m and E[s'(u) s'(v)] = factor k; m is 0 outside the mask.
"""

import abc
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from flowkit.kernels.angles import has_angle
from flowkit.kernels.duals import back, moments
from flowkit.kernels.tiles.minimax import angle_and_excess, polynomial
from flowkit.lowering import lower
from flowkit.lowering.pairs import PairwiseDual, Variable, pairwise
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.polar import HalfPowers

Values = Float[Array, "..."]
Inside = Bool[Array, "..."]
Norms = tuple[Values, ...]

_BLURRED = 4e-6  # of 1 - cos t in float32: below, rounding moves a mean angle by 1e-7 and more
_RESOLUTION = 8.0  # units of the last place by which 1 - cos t may be wrong; below it counts as 0


class AbstractTileDual(eqx.Module):
    """The moments of one activation in a tile."""

    @property
    @abc.abstractmethod
    def factor(self) -> float:
        """By which both values are to be multiplied."""

    @property
    @abc.abstractmethod
    def homogeneous(self) -> bool:
        """Whether s(c x) = c s(x) for c > 0."""

    @abc.abstractmethod
    def norms(self, variance: Values) -> Norms:
        """What a tile needs to know of the variances of one image; all 0 where those are."""

    @abc.abstractmethod
    def variance(self, variance: Values) -> Values:
        """E[s(u)^2] / factor."""

    @abc.abstractmethod
    def __call__(
        self, x: Norms, z: Norms, cov: Values, inside: Inside, *, first: bool
    ) -> tuple[Values, Values, Values]:
        """The covariances, rounded anew, and both moments.

        `first` where no activation has gone before.
        """

    @abc.abstractmethod
    def blurred(self, x: Norms, z: Norms, cov: Values) -> Values:
        """1 where float32 does not resolve an angle on which a moment depends with a kink."""

    @abc.abstractmethod
    def back(self, k: Values, theta: Values, inside: Inside) -> Values:
        """The product k theta; 0 outside the mask."""


@final
class KinkDual(AbstractTileDual):
    """The moments of s(x) = r x where x > 0 and l x elsewhere, r != l.

    For the ReLU's moments k(c) at covariance c, k(c) - k(-c) = c / 2, so that E[s(u) s(v)] =
    (r - l)^2 / 2 (2 k(c) + g c) with g = 2 r l / (r - l)^2. With P the product of both deviations,
    w = P - |c| and v = w / P: 2 k = max(c, 0) + w sqrt(v) q(v), by `minimax`.

    Attributes:
        right: r.
        left: l.
        warps: Whether a GPU's warps compute it. They take a reciprocal faster than they read it;
            XLA on a CPU is to be kept from computing a root, and all before it, for each use.
    """

    right: float = eqx.field(static=True)
    left: float = eqx.field(static=True)
    warps: bool = eqx.field(static=True, default=False)

    @property
    def factor(self) -> float:
        return (self.right - self.left) ** 2 / 2

    @property
    def homogeneous(self) -> bool:
        return True

    @property
    def _linear(self) -> float:
        return 2 * self.right * self.left / (self.right - self.left) ** 2

    def norms(self, variance: Values) -> Norms:
        deviation = jnp.sqrt(variance)
        if self.warps:
            return (deviation,)
        positive = deviation > 0
        return deviation, jnp.where(positive, 1 / jnp.where(positive, deviation, 1.0), 0.0)

    def variance(self, variance: Values) -> Values:
        return (1 + self._linear) * variance

    def __call__(
        self, x: Norms, z: Norms, cov: Values, inside: Inside, *, first: bool
    ) -> tuple[Values, Values, Values]:
        angle, excess = angle_and_excess(cov.dtype)
        whole, inverse = self._whole_and_inverse(x, z)
        signed = first or self._linear > 0
        size = jnp.minimum(jnp.abs(cov) if signed else cov, whole)
        w = whole - size
        v = w * inverse
        root = jnp.sqrt(jnp.where(v < _RESOLUTION * jnp.finfo(cov.dtype).eps, 0.0, v))
        if not signed:
            # Both moments need but the root now: XLA computes it, and the filter's sum, only once.
            root = root if self.warps else lax.optimization_barrier(root)
            w = whole * (root * root)
            cov = size = whole - w
        bent = w * root * polynomial(excess, root * root)
        share = root * polynomial(angle, root * root)  # of the angle in pi
        m = (jnp.where(cov > 0, size, 0.0) if signed else size) + bent
        k = jnp.where(cov > 0, 1 - share, share) if signed else 1 - share
        if self._linear:
            m = m + self._linear * jnp.where(inside, cov, 0.0)
            k = k + self._linear
        return cov, m, k

    def blurred(self, x: Norms, z: Norms, cov: Values) -> Values:
        whole = x[0] * z[0]
        small = whole - jnp.abs(cov) < _BLURRED * whole
        return (small & (whole > 0)).astype(cov.dtype)

    def back(self, k: Values, theta: Values, inside: Inside) -> Values:
        return jnp.where(inside, k * theta, 0.0)

    def _whole_and_inverse(self, x: Norms, z: Norms) -> tuple[Values, Values]:
        """P and 1 / P, which is finite where P is 0."""
        whole = x[0] * z[0]
        if not self.warps:
            return whole, x[1] * z[1]
        least = jnp.maximum(whole, jnp.finfo(whole.dtype).tiny)
        if whole.dtype == jnp.float64:
            return whole, 1 / least
        root = lax.rsqrt(least)  # one instruction, correct to two units of rounding
        return whole, root * root


@final
class SmoothDual(AbstractTileDual):
    """The moments of a smooth activation in closed form, variances scaled beforehand."""

    moments: PairwiseDual = eqx.field(static=True)

    @property
    def factor(self) -> float:
        return 1.0

    @property
    def homogeneous(self) -> bool:
        return False

    def norms(self, variance: Values) -> Norms:
        *found, shares = self.moments.prepare(variance)
        return (*found, *shares)

    def variance(self, variance: Values) -> Values:
        return lower(self.moments.dual)(variance, variance, variance)[0]

    def __call__(
        self, x: Norms, z: Norms, cov: Values, inside: Inside, *, first: bool
    ) -> tuple[Values, Values, Values]:
        u, v = (Variable(a[0], a[1], a[2], a[3:]) for a in (x, z))
        m, k = self.moments(u, v, jnp.where(inside, cov, 0.0))
        return cov, jnp.where(inside, m, 0.0), k

    def blurred(self, x: Norms, z: Norms, cov: Values) -> Values:
        return jnp.zeros_like(cov)

    def back(self, k: Values, theta: Values, inside: Inside) -> Values:
        return jnp.where(inside, k * theta, 0.0)


@final
class LoweredDual(AbstractTileDual):
    """The moments of any activation, as `flowkit.symbolic.dual` has derived them."""

    activation: Activation = eqx.field(static=True)

    @property
    def factor(self) -> float:
        return 1.0

    @property
    def homogeneous(self) -> bool:
        return False

    def norms(self, variance: Values) -> Norms:
        return (variance,)

    def variance(self, variance: Values) -> Values:
        return moments(self.activation, variance, variance, variance)[0]

    def __call__(
        self, x: Norms, z: Norms, cov: Values, inside: Inside, *, first: bool
    ) -> tuple[Values, Values, Values]:
        var_x, var_z = (jnp.broadcast_to(values[0], cov.shape) for values in (x, z))
        m, k = moments(self.activation, var_x, var_z, jnp.where(inside, cov, 0.0))
        return cov, jnp.where(inside, m, 0.0), k

    def blurred(self, x: Norms, z: Norms, cov: Values) -> Values:
        return jnp.zeros_like(cov)

    def back(self, k: Values, theta: Values, inside: Inside) -> Values:
        return jnp.where(inside, back(k, theta), 0.0)


def tile_dual(activation: Activation, *, warps: bool = False) -> AbstractTileDual:
    """The fastest form of an activation's moments; `warps` as of `KinkDual`."""
    function = dual(activation).function
    if has_angle(activation) and isinstance(function, HalfPowers) and function.degree == 1:
        right, left = float(function.right), float(function.left)
        if right != left:
            return KinkDual(right, left, warps)
    smooth = pairwise(dual(activation), held=not warps)
    return LoweredDual(activation) if smooth is None else SmoothDual(smooth)
