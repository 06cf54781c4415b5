"""Dense output of a whole solve, put together from its stretches."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from flowkit.fields import AbstractVectorField, position


@dataclass(frozen=True)
class DenseOutput:
    """The state at any time, from the interpolant of the solver that was there.

    Attributes:
        field: The flow, which knows the position in its state.
        starts: The first time of each interpolation.
        interpolations: One for every solver in turn.
    """

    field: AbstractVectorField
    starts: tuple[float, ...]
    interpolations: tuple[dfx.DenseInterpolation, ...]

    def __call__(self, t: float) -> PyTree:
        i = max(int(np.searchsorted(self.starts, t, side="right")) - 1, 0)
        there = self.interpolations[i]
        return _evaluate(self.field, there, jnp.asarray(t, there.ts.dtype))


@eqx.filter_jit
def _evaluate(field: AbstractVectorField, interpolation: dfx.DenseInterpolation, t) -> PyTree:
    return position(field, interpolation.evaluate(t))


def join(
    field: AbstractVectorField, pieces: Sequence[tuple[int, dfx.DenseInterpolation]]
) -> DenseOutput:
    """One output from pieces in their order, each with the index of the solver it came from."""
    by_solver = itertools.groupby(pieces, key=lambda piece: piece[0])
    joined = tuple(_joined([one for _, one in group]) for _, group in by_solver)
    return DenseOutput(field, tuple(float(one.ts[0]) for one in joined), joined)


def _joined(pieces: Sequence[dfx.DenseInterpolation]) -> dfx.DenseInterpolation:
    sizes = [int(one.ts_size) - 1 for one in pieces]
    steps = lambda leaves: np.concatenate(
        [np.asarray(leaf)[:size] for leaf, size in zip(leaves, sizes, strict=True)]
    )
    end = np.asarray(pieces[-1].ts)[sizes[-1]]
    ts = np.append(steps([one.ts for one in pieces]), end)
    infos = jax.tree.map(lambda *leaves: steps(leaves), *(one.infos for one in pieces))
    where = lambda one: (one.ts, one.ts_size, one.infos)
    parts = jax.tree.map(jnp.asarray, (ts, np.asarray(ts.size, np.int32), infos))
    return eqx.tree_at(where, pieces[0], parts)
