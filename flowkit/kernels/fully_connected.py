"""The kernels of infinitely wide fully connected networks."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from flowkit.kernels.base import AbstractKernel, equal_inputs
from flowkit.kernels.duals import entries, layer_map
from flowkit.symbolic.duals import Activation

_State = tuple[Scalar, Scalar, Scalar, Scalar]


@final
class FullyConnected(AbstractKernel):
    """NTK and NNGP of a fully connected network without biases, all layers trained.

    With c = 1 / E[s(x)^2] of a standard normal x (2 for the ReLU), L = depth - 1 hidden layers and
    (u, v) ~ N(0, Lambda_{h-1}), where Lambda_{h-1} holds Sigma_{h-1} of both inputs,

        Sigma_0 = x . z,    Sigma_h = c E[s(u) s(v)],    Sigma'_h = c E[s'(u) s'(v)],
        Theta_0 = Sigma_0,  Theta_h = Sigma'_h Theta_{h-1} + Sigma_h,

    the NTK is Theta_L and the NNGP Sigma_L. The scale is that of weights N(0, 1) times
    sqrt(c / width) after each hidden layer, and inputs as they are: the NTK of a unit input with
    itself is depth (for the ReLU). The NTK drives du/dt = -K (u - y) under 1/2 the sum of squares.

    Attributes:
        depth: The number of weight layers.
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3; Jacot, Gabriel, Hongler 2018,
        arXiv:1806.07572. Checked by tests/kernels/test_fully_connected.py.
    """

    axes: ClassVar[tuple[str, ...]] = ("features",)

    depth: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default="relu")

    def __check_init__(self):
        if isinstance(self.depth, bool) or not isinstance(self.depth, int) or self.depth < 1:
            raise ValueError(
                f"Argument `depth` must be an integer of at least 1, but it is `{self.depth!r}`."
            )
        layer_map(self.activation)  # refuses an unknown activation

    def _pair(
        self, x: Float[Array, " features"], z: Float[Array, " features"]
    ) -> tuple[Scalar, Scalar]:
        scaled_dual, same = layer_map(self.activation), equal_inputs(x, z)

        def hidden_layer(_: Int[Array, ""], state: _State) -> _State:
            theta, sigma, var_x, var_z = state
            var_x, var_z = (jnp.where(same, sigma, var) for var in (var_x, var_z))
            sigma, sigma_dot = scaled_dual(var_x, var_z, sigma)
            var_x, var_z = (scaled_dual(var, var, var)[0] for var in (var_x, var_z))
            return sigma_dot * theta + sigma, sigma, var_x, var_z

        sigma = _inner(x, z)
        start = sigma, sigma, _inner(x, x), _inner(z, z)
        theta, sigma, _, _ = jax.lax.fori_loop(1, self.depth, hidden_layer, start)
        return theta, sigma

    def _pair_entries(self, shape: tuple[int, ...]) -> int:
        return max(*shape, entries(self.activation))


def _inner(x: Float[Array, " features"], z: Float[Array, " features"]) -> Scalar:
    return jnp.vdot(x, z, precision="highest")
