"""The kernels of infinitely wide convolutional networks."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from flowkit.kernels.base import AbstractKernel, equal_inputs
from flowkit.kernels.duals import entries, layer_map
from flowkit.symbolic.duals import Activation

Image = Float[Array, "height width channels"]
Positions = Float[Array, "height width"]
PositionPairs = Float[Array, "height width height width"]
_State = tuple[PositionPairs, PositionPairs, tuple[Positions, Positions]]

READOUTS = ("gap", "flatten")


@final
class Convolutional(AbstractKernel):
    """NTK and NNGP of a convolutional network (CNTK): q x q filters, zero padding, no biases.

    With L = depth - 1 convolutions, c = 1 / E[s(x)^2] of a standard normal x (2 for the ReLU),
    positions p, p' of the two images, (u, v) ~ N(0, Lambda_{h-1}(p, p')), o the entry-wise product
    and box[T](p, p') the sum of T(p + a, p' + a) over the q^2 EQUAL shifts a, zero outside,

        Sigma_0 = box[sum over channels of x(p) z(p')],    Sigma_h = box[K_h],
        K_h = (c / q^2) E[s(u) s(v)],    K'_h = (c / q^2) E[s'(u) s'(v)],
        Theta_0 = Sigma_0 (0 without ends),  Theta_h = box[K'_h o Theta_{h-1} + K_h] for h < L,
        Theta_L = K'_L o Theta_{L-1} + K_L (no K_L without ends).

    "flatten" reads out the sum over p = p' (the trace), "gap" (global average pooling) the mean
    over all (p, p'); of Theta_L for the NTK, of K_L for the NNGP. There is no 1 / q^2 in Sigma_0,
    and no 1 / (height * width) in the trace. The defaults are the published CNTK-V (flatten, all
    layers trained) and CNTK-GAP (gap, first and last layer fixed). The NTK drives
    du/dt = -K (u - y) under 1/2 the sum of squares.

    Attributes:
        depth: The number of weight layers: depth - 1 convolutions and a linear read-out.
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        filter_size: q, odd.
        readout: "gap" or "flatten".
        train_ends: Whether the first and the last layer are trained. Without them depth 2 has
            nothing to train, and its NTK is 0.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 4; the scales are those of the
        authors' program. Checked by tests/kernels/test_convolutional.py.
    """

    axes: ClassVar[tuple[str, ...]] = ("height", "width", "channels")

    depth: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    filter_size: int = eqx.field(static=True)
    readout: str = eqx.field(static=True)
    train_ends: bool = eqx.field(static=True)

    def __init__(
        self,
        depth: int,
        activation: str = "relu",
        *,
        filter_size: int = 3,
        readout: str = "gap",
        train_ends: bool | None = None,
    ):
        """Describe the network.

        Args:
            depth: The number of weight layers, at least 2.
            activation: What `flowkit.symbolic.dual` takes: a name, an expression, a dual.
            filter_size: q, odd.
            readout: "gap" or "flatten".
            train_ends: Whether the first and the last layer are trained; where omitted, true for
                "flatten" and false for "gap", as published.

        Raises:
            ValueError: an argument is out of its range or unknown.
        """
        self.depth = depth
        self.activation = activation
        self.filter_size = filter_size
        self.readout = readout
        self.train_ends = readout == "flatten" if train_ends is None else train_ends

    def __check_init__(self):
        _check_integer("depth", self.depth, least=2)
        _check_integer("filter_size", self.filter_size, least=1)
        if self.filter_size % 2 == 0:
            raise ValueError(f"Argument `filter_size` must be odd, but it is `{self.filter_size}`.")
        if self.readout not in READOUTS:
            raise ValueError(
                f"Argument `readout` must be `gap` or `flatten`, but it is `{self.readout!r}`."
            )
        layer_map(self.activation)  # refuses an unknown activation

    def _pair(self, x: Image, z: Image) -> tuple[Scalar, Scalar]:
        box, same = self._box, equal_inputs(x, z)
        sigma = box(jnp.einsum("abc,dec->abde", x, z, precision="highest"))
        theta = sigma if self.train_ends else jnp.zeros_like(sigma)

        def hidden_layer(_: Int[Array, ""], state: _State) -> _State:
            theta, sigma, variances = state
            k, k_dot, k_variances = self._step(sigma, variances, same)
            return box(k_dot * theta + k), box(k), (box(k_variances[0]), box(k_variances[1]))

        variances = box((x**2).sum(-1)), box((z**2).sum(-1))
        start = theta, sigma, variances
        theta, sigma, variances = jax.lax.fori_loop(1, self.depth - 1, hidden_layer, start)
        k, k_dot, _ = self._step(sigma, variances, same)
        theta = k_dot * theta + k if self.train_ends else k_dot * theta
        return self._read(theta), self._read(k)

    def _step(
        self, sigma: PositionPairs, variances: tuple[Positions, Positions], same: Bool[Array, ""]
    ) -> tuple[PositionPairs, PositionPairs, tuple[Positions, Positions]]:
        """K and K' at all pairs of positions, and K of each image at its own positions."""
        scaled_dual, area = layer_map(self.activation), self.filter_size**2
        var_x, var_z = (jnp.where(same, _diagonal(sigma), var) for var in variances)
        k, k_dot = scaled_dual(var_x[:, :, None, None], var_z[None, None], sigma)
        k_x, k_z = (scaled_dual(var, var, var)[0] / area for var in (var_x, var_z))
        return k / area, k_dot / area, (k_x, k_z)

    def _box(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sum over the equal shifts of both positions (or of the only one), zero outside.

        Shifts along the height, then along the width: 2 q terms instead of q^2.
        """
        for axis in (0, 1):
            axes = range(axis, values.ndim, 2)
            values = _sum_of_shifts(values, tuple(axes), self.filter_size)
        return values

    def _read(self, values: PositionPairs) -> Scalar:
        return values.mean() if self.readout == "gap" else _diagonal(values).sum()

    def _pair_entries(self, shape: tuple[int, ...]) -> int:
        height, width, _ = shape
        return (height * width) ** 2 * entries(self.activation)


def _sum_of_shifts(
    values: Float[Array, "..."], axes: tuple[int, ...], size: int
) -> Float[Array, "..."]:
    """Sum of T moved by -size // 2 .. size // 2 along all the axes at once, zero outside."""
    reach, length = size // 2, values.shape[axes[0]]
    moved = jnp.pad(values, [(reach, reach) if a in axes else (0, 0) for a in range(values.ndim)])
    window = lambda start: tuple(
        slice(start, start + length) if a in axes else slice(None) for a in range(values.ndim)
    )
    return sum((moved[window(start)] for start in range(1, size)), start=moved[window(0)])


def _diagonal(values: PositionPairs) -> Positions:
    return jnp.einsum("abab->ab", values)


def _check_integer(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}, but it is `{value!r}`."
        )
