"""How the layers of a wide network are drawn and trained: variances, biases, parametrization."""

from collections.abc import Collection
from typing import Literal, NamedTuple, final, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Scalar

from flowkit.kernels.duals import moments
from flowkit.symbolic.duals import Activation, dual

Convention = Literal["arora", "neural-tangents"]
Parametrization = Literal["ntk", "standard"]
Variance = float | Float[ArrayLike, ""] | None


class LayerScales(NamedTuple):
    """What one layer adds to both kernels.

    With M the mean product of the activations that enter, summed over the filter (of pixels or
    features, their plain sum), M' that of the derivatives and o the product of entries,

        Sigma = weight * M + bias,    Theta = weight * M' o Theta + weight_rate * M + bias_rate;

    a rate is 0 where its parameters are not trained.
    """

    weight: Scalar
    bias: Scalar
    weight_rate: Scalar
    bias_rate: Scalar


@final
class Layers(eqx.Module):
    """The layers of a network: what every kernel of this room has in common.

    Attributes:
        depth: The number of weight layers.
        activation: What `flowkit.symbolic.dual` takes.
        convention: "arora" or "neural-tangents".
        parametrization: "ntk" or "standard".
        width: N of the standard parametrization.
        weight_variance: sigma_w^2, a differentiable leaf; None is c = 1 / E[s(x)^2].
        bias_variance: sigma_b^2, a differentiable leaf; None where there are no biases.
        train: The layers, from 1 to depth, whose weights are trained.
        train_biases: The layers whose biases are trained.
    """

    depth: int = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    convention: str = eqx.field(static=True)
    parametrization: str = eqx.field(static=True)
    width: int | None = eqx.field(static=True)
    weight_variance: Float[Array, ""] | None
    bias_variance: Float[Array, ""] | None
    train: tuple[int, ...] = eqx.field(static=True)
    train_biases: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        depth: int,
        activation: Activation,
        *,
        convention: str,
        parametrization: str,
        width: int | None,
        weight_variance: Variance,
        bias_variance: Variance,
        train: Collection[int] | None,
        train_biases: Collection[int] | None,
    ):
        self.depth = depth
        self.activation = activation
        self.convention = convention
        self.parametrization = parametrization
        self.width = width
        self.weight_variance = _variance("weight_variance", weight_variance)
        self.bias_variance = _variance("bias_variance", bias_variance)
        if isinstance(bias_variance, int | float) and bias_variance == 0:
            self.bias_variance = None
        every = range(1, depth + 1)
        self.train = _layers("train", every if train is None else train, depth)
        biases = self.train if train_biases is None else train_biases
        self.train_biases = _layers("train_biases", biases, depth)

    def __check_init__(self):
        _check_choice("convention", self.convention, get_args(Convention))
        _check_choice("parametrization", self.parametrization, get_args(Parametrization))
        if (self.parametrization == "standard") != (self.width is not None):
            raise ValueError(
                "Argument `width` must be given with `parametrization='standard'`, and only then, "
                f"but it is `{self.width}` with `{self.parametrization!r}`."
            )
        if self.width is not None:
            check_integer("width", self.width, least=1)
        dual(self.activation)  # refuses an unknown activation

    def first(self, fan_in: int, dtype: DTypeLike) -> LayerScales:
        """The layer of the inputs, each a sum of `fan_in` products with weights."""
        plain = self.convention == "arora"
        weight = jnp.ones((), dtype) if plain else self._weight_variance(dtype) / fan_in
        return self._scales(weight, jnp.ones((), dtype), jnp.asarray(0))

    def next(self, layer: int | Array, dtype: DTypeLike, *, divisor: int = 1) -> LayerScales:
        """A layer from 2 to depth, its weight variance divided once more (by a filter's area)."""
        weight = self._weight_variance(dtype) / divisor
        return self._scales(weight, jnp.asarray(self.width or 1, dtype), jnp.asarray(layer) - 1)

    def _scales(self, weight: Scalar, summed: Scalar, index: Array) -> LayerScales:
        """Scales of a layer; in standard parametrization the weights count as they are."""
        dtype, standard = weight.dtype, self.parametrization == "standard"
        bias = bias_rate = jnp.zeros((), dtype)
        if self.bias_variance is not None:
            bias = self.bias_variance.astype(dtype)
            bias_rate = jnp.ones((), dtype) if standard else bias
        trained = lambda which: jnp.asarray([h in which for h in range(1, self.depth + 1)], dtype)
        return LayerScales(
            weight,
            bias,
            trained(self.train)[index] * (summed if standard else weight),
            trained(self.train_biases)[index] * bias_rate,
        )

    def _weight_variance(self, dtype: DTypeLike) -> Scalar:
        if self.weight_variance is not None:
            return self.weight_variance.astype(dtype)
        one = jnp.ones((), dtype)
        return 1 / self.moments(one, one, one)[0]

    def moments(
        self, var_u: Array, var_v: Array, cov: Array, sine2: Array | None = None
    ) -> tuple[Array, Array]:
        """E[s(u) s(v)] and E[s'(u) s'(v)]; of the angle see `duals.moments`."""
        return moments(self.activation, var_u, var_v, cov, sine2)


def _variance(name: str, value: Variance) -> Float[Array, ""] | None:
    if value is None:
        return None
    array = jnp.asarray(np.asarray(value, float) if isinstance(value, int | float) else value)
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    concrete = not isinstance(array, Tracer)
    if array.ndim or (concrete and not (np.isfinite(array) and array >= 0)):
        raise ValueError(
            f"Argument `{name}` must be a finite number of at least 0, but it is `{value}`."
        )
    return array


def _layers(name: str, layers: Collection[int], depth: int) -> tuple[int, ...]:
    found = tuple(sorted(set(layers)))
    if any(isinstance(h, bool) or not isinstance(h, int) or not 1 <= h <= depth for h in found):
        raise ValueError(
            f"Argument `{name}` must hold layers from 1 to the depth, {depth}, but it is "
            f"`{layers}`."
        )
    return found


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        listed = " or ".join(f"`{choice}`" for choice in choices)
        raise ValueError(f"Argument `{name}` must be {listed}, but it is `{value!r}`.")


def check_integer(name: str, value: int, *, least: int) -> None:
    """Refuse what is no integer, and what is below the least."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"Argument `{name}` must be an integer of at least {least}, but it is `{value!r}`."
        )
