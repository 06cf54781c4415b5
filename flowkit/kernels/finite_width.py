"""The tangent kernels of finite networks, without a Jacobian in memory."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, PyTree

from flowkit.kernels.checks import check_finite

Apply = Callable[[PyTree, Array], Array]


def empirical(
    apply: Apply,
    params: PyTree,
    x: Num[ArrayLike, "x ..."],
    z: Num[ArrayLike, "z ..."] | None = None,
) -> Float[Array, "x z"]:
    """The tangent kernel of a finite network: K(x, z) = mean over outputs o of J_o(x) . J_o(z).

    J_o is the gradient of output o by all parameters. In an infinitely wide network the kernel is
    a multiple of the identity over outputs, so their mean has the same limit as each, with less
    noise. Outputs of one input must not depend on the others of its batch.

    Row x is the derivative of the outputs at z along the gradient of those at x, one gradient at a
    time: memory holds one gradient and one pass over all of z, never a Jacobian.

    Args:
        apply: (params, inputs) -> outputs, `batch` or `batch outputs`, for a batch of inputs along
            the first axis; for an Equinox model `lambda model, x: jax.vmap(model)(x)`. A function
            is compiled once for each shape, a new one anew.
        params: Parameters, such as an Equinox model. Leaves that are no floating arrays are
            constants.
        x: Inputs, along the first axis.
        z: Further inputs; x itself where omitted.

    Returns:
        The kernel, x by z; exactly symmetric where z is omitted. It drives du/dt = -K (u - y)
        under 1/2 the sum of squares.

    Raises:
        ValueError: inputs are empty, not finite, or differ in shape or dtype, `params` holds no
            floating array, or the outputs of `apply` are not one number or one row for each input.

    Source:
        Jacot, Gabriel, Hongler 2018, arXiv:1806.07572; Novak, Sohl-Dickstein, Schoenholz 2022,
        arXiv:2206.08720 (products instead of Jacobians). Checked by
        tests/kernels/test_finite_width.py.
    """
    if not callable(apply):
        raise ValueError(f"Argument `apply` must be a function, but it is `{apply!r}`.")
    x = _check_input("x", x)
    given = x if z is None else _check_input("z", z)
    if given.shape[1:] != x.shape[1:] or given.dtype != x.dtype:
        raise ValueError(
            f"Argument `z` must agree with `x` in the shape of one input and in dtype, but they "
            f"are {given.shape} {given.dtype} and {x.shape} {x.dtype}."
        )
    params = _check_parameters(params)
    _check_outputs(apply, params, x)
    kernel = _kernel(apply, params, x, given)
    return (kernel + kernel.T) / 2 if z is None else kernel


@eqx.filter_jit
def _kernel(
    apply: Apply, params: PyTree, x: Float[Array, "x ..."], z: Float[Array, "z ..."]
) -> Float[Array, "x z"]:
    """A row of products for each input and output."""
    trained, rest = eqx.partition(params, eqx.is_inexact_array)

    def outputs(trained: PyTree, inputs: Float[Array, "batch ..."]) -> Float[Array, "batch o"]:
        return apply(eqx.combine(trained, rest), inputs).reshape(len(inputs), -1)

    at_z, along = jax.linearize(lambda trained: outputs(trained, z), trained)

    def row(index: Int[Array, "2"]) -> Float[Array, " z"]:
        point, output = index[0], index[1]
        value = lambda trained: outputs(trained, x[point][None])[0, output]
        return along(jax.grad(value)(trained))[:, output]

    indices = np.indices((len(x), at_z.shape[1])).reshape(2, -1).T
    return jax.lax.map(row, jnp.asarray(indices)).reshape(len(x), -1, len(z)).mean(1)


def _check_input(name: str, values: Num[ArrayLike, "..."]) -> Float[Array, "inputs ..."]:
    array = jnp.asarray(values)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"Argument `{name}` must be a non-empty array of inputs along its first axis, but it "
            f"has shape {array.shape}."
        )
    if jnp.iscomplexobj(array):
        raise ValueError(f"Argument `{name}` must be real, but it has dtype {array.dtype}.")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float)
    return check_finite(name, array)


def _check_parameters(params: PyTree) -> PyTree:
    trained, rest = eqx.partition(params, eqx.is_inexact_array)
    leaves = jax.tree.leaves(trained)
    if not leaves:
        raise ValueError(
            "Argument `params` must hold at least one floating array, but it holds none."
        )
    if kinds := [leaf.dtype for leaf in leaves if jnp.iscomplexobj(leaf)]:
        raise ValueError(f"Argument `params` must be real, but an array in it is {kinds[0]}.")
    finite = lambda leaf: check_finite("params", jnp.asarray(leaf))
    return eqx.combine(jax.tree.map(finite, trained), rest)


def _check_outputs(apply: Apply, params: PyTree, x: Float[Array, "x ..."]) -> None:
    shape = getattr(eqx.filter_eval_shape(apply, params, x), "shape", None)
    if shape is None or len(shape) not in (1, 2) or shape[0] != len(x) or 0 in shape:
        found = "no array" if shape is None else f"of shape {shape}"
        raise ValueError(
            f"Argument `apply` must return `batch` or `batch outputs` for a batch of {len(x)}, but "
            f"what it returns is {found}."
        )
