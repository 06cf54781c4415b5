"""The kernels of infinitely wide fully connected networks."""

from collections.abc import Collection
from typing import ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from flowkit.kernels import angles
from flowkit.kernels.base import AbstractPairKernel, equal_inputs
from flowkit.kernels.duals import entries, onward
from flowkit.kernels.layers import Layers, LayerScales, Variance, check_integer
from flowkit.symbolic.duals import Activation


class _State(NamedTuple):
    """Before an activation: Theta, Sigma of both inputs and of each, and 1 - |correlation|."""

    theta: Scalar
    sigma: Scalar
    var_x: Scalar
    var_z: Scalar
    apart: Scalar | None


@final
class FullyConnected(AbstractPairKernel):
    """NTK and NNGP of a fully connected network; by default without biases, all layers trained.

    With c = 1 / E[s(x)^2] of a standard normal x (2 for the ReLU), L = depth - 1 hidden layers and
    (u, v) ~ N(0, Lambda_{h-1}), where Lambda_{h-1} holds Sigma_{h-1} of both inputs,

        Sigma_0 = x . z,    Sigma_h = c E[s(u) s(v)],    Sigma'_h = c E[s'(u) s'(v)],
        Theta_0 = Sigma_0,  Theta_h = Sigma'_h Theta_{h-1} + Sigma_h,

    the NTK is Theta_L and the NNGP Sigma_L. The scale is that of weights N(0, 1) times
    sqrt(c / width) after each hidden layer, and inputs as they are: the NTK of a unit input with
    itself is depth (for the ReLU). The NTK drives du/dt = -K (u - y) under 1/2 the sum of squares.
    `flowkit.kernels` has the table of conventions and parametrizations.

    Any scale is safe at which the squared norm of an input is a number: only a value which itself
    cannot be represented overflows or vanishes, and one that overflows is infinite, never nan. So
    are gradients of finite values, up to variances of 1e120 (1e15 in float32). A step or sign has
    an infinite NTK of an input with itself. For kinks and jumps at 0 angles are right to some
    eps of a radian: Gram matrices of parallel and of nearly parallel inputs are positive
    semidefinite to rounding. Other functions with a kink, which go by quadrature, leave eigenvalues
    down to -1e-9 of the size for inputs nearly parallel.

    Attributes:
        depth: The number of weight layers.
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        layers: Variances, biases and trained layers.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3; Jacot, Gabriel, Hongler 2018,
        arXiv:1806.07572. Checked by tests/kernels/test_fully_connected.py.
    """

    axes: ClassVar[tuple[str, ...]] = ("features",)

    depth: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    layers: Layers

    def __init__(
        self,
        depth: int,
        activation: Activation = "relu",
        *,
        convention: str = "arora",
        weight_variance: Variance = None,
        bias_variance: Variance = 0.0,
        parametrization: str = "ntk",
        width: int | None = None,
        train: Collection[int] | None = None,
        train_biases: Collection[int] | None = None,
    ):
        """Describe the network.

        Args:
            depth: The number of weight layers, at least 1.
            activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function.
            convention: "arora", inputs as they are; or "neural-tangents", the first layer's
                weight variance divided by the number of features as well.
            weight_variance: sigma_w^2 of one unit's sum over its inputs; c where omitted.
            bias_variance: sigma_b^2; the number 0 means that there are no biases.
            parametrization: "ntk", parameters N(0, 1) with their deviations as factors in the
                forward pass; or "standard", parameters drawn with these deviations.
            width: The number N of hidden units that the standard parametrization counts.
            train: The layers, from 1 to depth, whose weights are trained; all where omitted.
            train_biases: The layers whose biases are trained; those of `train` where omitted.

        Raises:
            ValueError: an argument is out of its range or unknown.
        """
        check_integer("depth", depth, least=1)
        self.depth = depth
        self.activation = activation
        self.layers = Layers(
            depth,
            activation,
            convention=convention,
            parametrization=parametrization,
            width=width,
            weight_variance=weight_variance,
            bias_variance=bias_variance,
            train=train,
            train_biases=train_biases,
        )

    def _pair(
        self, x: Float[Array, " features"], z: Float[Array, " features"]
    ) -> tuple[Scalar, Scalar]:
        layers, same = self.layers, equal_inputs(x, z)

        def hidden_layer(h: Int[Array, ""], state: _State) -> _State:
            theta, sigma, var_x, var_z, apart = state
            var_x, var_z = (jnp.where(same, sigma, var) for var in (var_x, var_z))
            layer = layers.next(h + 1, x.dtype)
            sine2 = None if apart is None else angles.squared_sine(apart)
            m, m_dot = layers.moments(var_x, var_z, sigma, sine2)
            m_x, m_z = (layers.moments(var, var, var)[0] for var in (var_x, var_z))
            if apart is not None:
                apart = angles.after_activation(self.activation, apart, sigma)
            theta = onward(theta, m, m_dot, layer.weight, layer.weight_rate) + layer.bias_rate
            return self._affine(layer, theta, apart, (m, m_x, m_z))

        theta, sigma, *_ = jax.lax.fori_loop(1, self.depth, hidden_layer, self._first(x, z))
        return theta, sigma

    def _first(self, x: Float[Array, " features"], z: Float[Array, " features"]) -> _State:
        """The layer of the inputs."""
        scales = self.layers.first(len(x), x.dtype)
        product, square_x, square_z = _inner(x, z), _inner(x, x), _inner(z, z)
        known = angles.has_angle(self.activation)
        unit_x, unit_z = angles.unit(x, square_x), angles.unit(z, square_z)
        apart = angles.between(unit_x, unit_z, product) if known else None
        theta = scales.weight_rate * product + scales.bias_rate
        return self._affine(scales, theta, apart, (product, square_x, square_z))

    def _affine(
        self,
        scales: LayerScales,
        theta: Scalar,
        apart: Scalar | None,
        moments: tuple[Scalar, Scalar, Scalar],
    ) -> _State:
        """Weights and biases of a layer on the moments that enter: Sigma, and the angle."""
        product, square_x, square_z = moments
        if apart is not None and self.layers.bias_variance is not None:
            squares = square_x, square_z, product
            apart = angles.after_bias(apart, squares, scales.weight, scales.bias)
        sigma, var_x, var_z = (scales.weight * a + scales.bias for a in moments)
        return _State(theta, sigma, var_x, var_z, apart)

    def _pair_entries(self, shape: tuple[int, ...]) -> int:
        return max(*shape, entries(self.activation))


def _inner(x: Float[Array, " features"], z: Float[Array, " features"]) -> Scalar:
    return jnp.vdot(x, z, precision="highest")
