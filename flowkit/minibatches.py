"""How stochastic training draws its batches."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree


@final
class Minibatches(eqx.Module):
    """Examples, and how batches of them are drawn.

    Training on minibatches takes a loss of two arguments: `loss(y, example)` is the loss of one
    example, a batch's loss is the mean over its examples, and the loss of all examples their mean.

    Attributes:
        data: A pytree of arrays whose leading axis counts the examples.
        size: The number of examples in a batch.
        replace: Whether every batch is drawn from all examples, with replacement; otherwise each
            epoch visits all examples once, in a new random order (random reshuffling).
    """

    data: PyTree[Array] = eqx.field(converter=lambda data: jax.tree.map(jnp.asarray, data))
    size: int = eqx.field(static=True)
    replace: bool = eqx.field(default=False, static=True, kw_only=True)

    def __check_init__(self):
        leaves = jax.tree.leaves(self.data)
        counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(
                f"Argument `data` must hold arrays of one leading axis, the examples, but their "
                f"shapes are {[leaf.shape for leaf in leaves]}."
            )
        size, examples = self.size, self.examples
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"Argument `size` must be a positive integer, but it is {size!r}.")
        if not self.replace and examples % size:
            raise ValueError(
                f"Argument `size` must divide the {examples} examples of an epoch, but it is "
                f"{size}."
            )

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    @property
    def per_epoch(self) -> int:
        """How many batches are drawn at once: an epoch, or as many with replacement."""
        return max(self.examples // self.size, 1)

    def draw(self, key: PRNGKeyArray) -> Int[Array, "batches size"]:
        """The examples in each batch of one epoch."""
        shape = (self.per_epoch, self.size)
        if self.replace:
            return jax.random.randint(key, shape, 0, self.examples)
        return jax.random.permutation(key, self.examples).reshape(shape)

    def take(self, rows: Int[Array, " size"]) -> PyTree[Array]:
        """The examples at these rows."""
        return jax.tree.map(lambda leaf: leaf[rows], self.data)
