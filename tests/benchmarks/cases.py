"""What is integrated: synthetic completion, the times to go to, and the truth there."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

import flowkit as fk
from flowkit.dynamics import RKC2, RKL2
from flowkit.fields import AbstractVectorField
from flowkit.observables import Sharpness, end_to_end

SAVES = 16  # equal steps in time, at whose ends paths are compared
OBSERVED = {10: 60, 100: 2_000, 500: 10_000}  # two for each degree of freedom at rank 5
RANK = {10: 1, 100: 5, 500: 5}

Products = Float[np.ndarray, "saves out in"]


@dataclass(frozen=True, eq=False)
class Case:
    """One completion problem and a start: ||W*||_F = n, `scale` is that of the first product."""

    size: int
    depth: int
    seed: int
    scale: float
    problem: fk.MatrixCompletion
    y0: tuple[Array, ...]

    @property
    def flow(self) -> AbstractVectorField:
        return fk.FactorFlow(self.problem)

    @property
    def unknowns(self) -> int:
        return sum(W.size for W in self.y0)

    @property
    def name(self) -> str:
        return f"n={self.size} depth={self.depth} seed={self.seed} scale={self.scale:g}"


def completion(size: int, depth: int, *, seed: int = 0, scale: float = 1e-3) -> Case:
    """The synthetic problem of `flowkit.claims.completion`, of any size."""
    left, right, entries, start = jax.random.split(jax.random.key(seed), 4)
    rank = RANK[size]
    target = jax.random.normal(left, (size, rank)) @ jax.random.normal(right, (rank, size))
    target = size * target / jnp.linalg.norm(target)
    problem = fk.MatrixCompletion.from_matrix(target, observed=OBSERVED[size], key=entries)
    y0 = fk.initial.gaussian(problem, depth, scale, key=start)
    return Case(size, depth, seed, scale, problem, y0)


@dataclass(frozen=True)
class End:
    """A time to integrate to.

    Attributes:
        name: What stage of training it is.
        loss: The training loss that is reached there, to three digits of the time.
        time: The time.
        products: The true end-to-end matrices at `ts`, without the first.
        uncertainty: The largest relative distance to them of another method's, less exact.
        sharpness: The largest eigenvalue of the loss's Hessian, in the middle or at the end.
    """

    name: str
    loss: float
    time: float
    products: Products
    uncertainty: float
    sharpness: float

    @property
    def ts(self) -> Float[np.ndarray, " times"]:
        return np.linspace(0.0, self.time, SAVES + 1)

    def errors(self, products: Products) -> Float[np.ndarray, " saves"]:
        """Relative Frobenius distances to the truth."""
        return distances(products, self.products)


LOSSES = {"learning": 0.1, "transient": 1e-6, "tail": 1e-8}


def ends_of(case: Case, names: Sequence[str], folder: Path) -> list[End]:
    """The ends by name, with references that are kept in a folder: they take long."""
    stem = case.name.replace(" ", "_").replace("=", "")
    return [_kept(case, name, folder / f"reference_{stem}_{name}.npz") for name in names]


def _kept(case: Case, name: str, path: Path) -> End:
    if path.exists():
        found = np.load(path)
        scalars = (float(found[key]) for key in ("uncertainty", "sharpness"))
        return End(name, LOSSES[name], float(found["time"]), found["products"], *scalars)
    end = _solved(case, name)
    np.savez(
        path,
        time=end.time,
        products=end.products,
        uncertainty=end.uncertainty,
        sharpness=end.sharpness,
    )
    return end


def _solved(case: Case, name: str) -> End:
    until = fk.until.train_loss(LOSSES[name])
    found = fk.integrate(case.flow, case.y0, [0.0, 1e12], until=until)
    time = float(f"{_successful(found).final_time:.3g}")
    ts = np.linspace(0.0, time, SAVES + 1)
    truth, check = (
        _successful(fk.integrate(case.flow, case.y0, ts, solver=solver, rtol=rtol))
        for solver, rtol in _references(case.size, name)
    )
    products, others = (products_of(trajectory.states)[1:] for trajectory in (truth, check))
    sharpness = eqx.filter_jit(Sharpness(case.problem, iterations=40))
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], truth.states) for i in (SAVES // 2, SAVES)]
    largest = max(float(sharpness(tuple(map(jnp.asarray, row)))) for row in rows)
    uncertainty = float(distances(others, products).max())
    return End(name, LOSSES[name], time, products, uncertainty, largest)


def _references(size: int, name: str) -> tuple[tuple[dfx.AbstractSolver | None, float], ...]:
    """Two methods with their tolerances, the second for a check; in the tail Dopri8 never ends."""
    if name == "tail":
        return ((RKC2(), 1e-9), (RKL2(), 1e-8)) if size <= 100 else ((None, 1e-7), (RKC2(), 1e-6))
    return ((dfx.Dopri8(), 1e-11 if size <= 100 else 1e-8), (None, 1e-8 if size <= 100 else 1e-6))


def _successful(trajectory: fk.Trajectory) -> fk.Trajectory:
    if not trajectory.result.successful:
        raise ArithmeticError(f"The reference failed: {trajectory.result.reason}.")
    return trajectory


@cache
def _product_along():
    return jax.jit(jax.vmap(end_to_end))


def products_of(states: PyTree) -> Products:
    """The end-to-end matrix of every saved state."""
    return np.asarray(_product_along()(tuple(map(jnp.asarray, states))))


def distances(a: Products, b: Products) -> Float[np.ndarray, " saves"]:
    """||a - b||_F / ||b||_F by save."""
    return np.linalg.norm(a - b, axis=(1, 2)) / np.linalg.norm(b, axis=(1, 2))


def flat(factors: Sequence[Float[Array, "..."]]) -> Float[np.ndarray, " unknowns"]:
    """Factors as one vector."""
    return np.concatenate([np.asarray(W).ravel() for W in factors])


def factors_from(case: Case, vectors: Float[np.ndarray, "saves unknowns"]) -> PyTree:
    """The inverse of `flat`, for every saved vector."""
    sizes = [0, *itertools.accumulate(W.size for W in case.y0)]
    parts = zip(case.y0, itertools.pairwise(sizes), strict=True)
    return tuple(vectors[:, a:b].reshape(-1, *W.shape) for W, (a, b) in parts)
