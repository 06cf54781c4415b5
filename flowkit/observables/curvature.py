"""The largest curvature of a loss, from products with its Hessian."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.observables.product import LossOf
from flowkit.problems import AbstractProblem

BLOCK = 4  # vectors that are iterated together: two close eigenvalues do not stall it
SMALL = 64  # parameters up to which the whole Hessian is cheaper; LOBPCG needs more than 5 * BLOCK


def _as_loss(loss: AbstractProblem | Callable[[PyTree], Scalar]) -> Callable[[PyTree], Scalar]:
    return LossOf(loss) if isinstance(loss, AbstractProblem) else loss


@final
class Sharpness(eqx.Module):
    """The largest eigenvalue of a loss's Hessian at the state.

    By LOBPCG on Hessian-vector products, `BLOCK` to an iteration; the whole Hessian is decomposed
    where the state is small. The iteration gives a lower bound that rises to the eigenvalue; it
    ends at `iterations`, or where the residual is rounding. Under descent at learning rate h the
    state is stable below 2/h.

    Attributes:
        loss: A scalar function of the state; of a problem, its loss through the state's product.
        iterations: The most LOBPCG iterations.

    Source:
        Knyazev 2001, LOBPCG. Checked by tests/test_observables.py.
    """

    loss: Callable[[PyTree], Scalar] = eqx.field(converter=_as_loss)
    iterations: int = eqx.field(default=100, static=True)

    def __check_init__(self):
        if not callable(self.loss):
            raise ValueError(
                f"Argument `loss` must be a problem or a scalar function of the state, but it is "
                f"a `{type(self.loss).__name__}`."
            )

    def __call__(self, state: PyTree) -> Scalar:
        point, unravel = ravel_pytree(state)
        loss = lambda x: self.loss(unravel(x))
        if point.size <= SMALL:
            return jnp.linalg.eigvalsh(jax.hessian(loss)(point))[-1]
        _, product = jax.linearize(jax.grad(loss), point)
        return self._lobpcg(jax.vmap(product, in_axes=1, out_axes=1), point)

    def _lobpcg(
        self,
        product: Callable[[Float[Array, "size block"]], Float[Array, "size block"]],
        point: Float[Array, " size"],
    ) -> Scalar:
        """The same start vectors every time, so that a value can be repeated.

        A Hessian that is zero on them is zero; LOBPCG has no directions to search there.
        """
        start = jax.random.normal(jax.random.key(0), (point.size, BLOCK), point.dtype)
        largest = lobpcg_standard(product, start, m=self.iterations)[0][0]
        return jnp.where(jnp.any(product(start) != 0), largest, 0.0)
