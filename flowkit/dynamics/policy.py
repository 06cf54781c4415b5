"""Which solver takes the next steps: a watch on what limits them, and the rule that switches."""

import dataclasses
from functools import singledispatch
from typing import cast, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Int, PyTree, Scalar

from flowkit.dynamics.rkc4 import RKC4
from flowkit.dynamics.stabilized import RKC2
from flowkit.dynamics.stages import AbstractStabilized, StabilizedState
from flowkit.fields import AbstractVectorField, KernelFlow

# A step h is measured by h times the spectral radius of the Jacobian. Tsit5 is stable up to 3.5:
# steps that stay near it are limited by stability. Below 0.5 a stabilized method gains nothing.
STIFF, NON_STIFF = 2.5, 0.5
PATIENCE = 10  # such steps, net of others, before the solver is changed


@final
class WatchState(eqx.Module):
    """The watched solver's state, and how many steps spoke for another solver."""

    inner: PyTree
    votes: Int[Array, ""]


@final
class Watched(dfx.AbstractAdaptiveSolver):
    """A solver whose steps are counted and, under the default policy, watched.

    Its error estimate is the pair of the solver's own and the number of evaluations that the step
    took: `StepControl` alone sees rejected steps too. Where the policy applies, the solve pauses
    once the steps speak for the other solver.

    Attributes:
        solver: The solver.
        replaceable: Whether the policy may replace it.
    """

    solver: dfx.AbstractAdaptiveSolver
    replaceable: bool = eqx.field(static=True, default=False)

    @property
    def interpolation_cls(self):  # pyright: ignore
        return self.solver.interpolation_cls

    @property
    def term_structure(self):  # pyright: ignore
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self):
        return self.solver.term_compatible_contr_kwargs

    @property
    def counts(self) -> bool:
        """Whether the solver's evaluations of the field are known."""
        return isinstance(self.solver, dfx.AbstractERK | AbstractStabilized)

    def wants_to_leave(self, state: WatchState) -> bool:
        """Whether the steps have spoken for the other solver."""
        return self.replaceable and int(state.votes) >= PATIENCE

    def order(self, terms):
        return self.solver.order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)

    def init(self, terms, t0, t1, y0, args) -> WatchState:
        return WatchState(self.solver.init(terms, t0, t1, y0, args), jnp.zeros((), int))

    def step(self, terms, t0, t1, y0, args, solver_state: WatchState, made_jump):
        before = solver_state.inner
        y1, error, dense, inner, result = self.solver.step(
            terms, t0, t1, y0, args, before, made_jump
        )
        evaluations = jnp.asarray(count_evaluations(self.solver, before, inner), float)
        votes = solver_state.votes
        if self.replaceable:
            against = _should_be_replaced(self.solver, dense, inner)
            votes = jnp.maximum(votes + jnp.where(against, 1, -1), 0)
            result = dfx.RESULTS.where(votes >= PATIENCE, dfx.RESULTS.max_steps_reached, result)
        return y1, (error, evaluations), dense, WatchState(inner, votes), result


Solvers = tuple[Watched, ...]


@singledispatch
def count_evaluations(solver: dfx.AbstractSolver, before: PyTree, after: PyTree) -> Array | int:
    """Evaluations of the field in one step; 0 for a solver that does not tell."""
    del solver, before, after
    return 0


@count_evaluations.register
def _(solver: dfx.AbstractERK, before: PyTree, after: PyTree) -> int:
    del before, after
    tableau = solver.tableau
    known = isinstance(tableau, dfx.ButcherTableau)
    return tableau.num_stages - int(tableau.fsal) if known else 0


@count_evaluations.register
def _(solver: AbstractStabilized, before: StabilizedState, after: StabilizedState) -> Array:
    del solver
    return after.num_evaluations - before.num_evaluations


@singledispatch
def _should_be_replaced(
    solver: dfx.AbstractSolver, dense: PyTree, state: PyTree
) -> Bool[Array, ""]:
    """Whether a step of this solver speaks for the other one of the policy."""
    raise TypeError(f"There is no policy for a `{type(solver).__name__}`.")


@_should_be_replaced.register
def _(solver: dfx.Tsit5, dense: PyTree, state: PyTree) -> Bool[Array, ""]:
    del state
    return _scaled_step(solver, dense) > STIFF


@_should_be_replaced.register
def _(solver: AbstractStabilized, dense: PyTree, state: StabilizedState) -> Bool[Array, ""]:
    del solver, dense
    return state.scaled_step < NON_STIFF


def _scaled_step(solver: dfx.AbstractERK, dense: PyTree) -> Scalar:
    """Step times spectral radius, from the last two stages, which both stand at the step's end.

    Their rates differ by the Jacobian times the difference of their states, and stiff components
    dominate that difference.

    Source:
        Hairer, Wanner, Solving ordinary differential equations II, section IV.2, (2.7).
    """
    tableau = cast(dfx.ButcherTableau, solver.tableau)
    solution = jnp.asarray(tableau.b_sol[:-1])
    weights = solution - jnp.pad(jnp.asarray(tableau.a_lower[-2], solution.dtype), (0, 1))
    difference = lambda k: jnp.tensordot(weights.astype(k.dtype), k[:-1], axes=1)
    states = _size(jax.tree.map(difference, dense["k"]))
    rates = _size(jax.tree.map(lambda k: k[-1] - k[-2], dense["k"]))
    return jnp.where(states > 0, rates / jnp.where(states > 0, states, 1.0), 0.0)


def _size(tree: PyTree) -> Scalar:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


FIRST = Watched(dfx.Tsit5(scan_kind="lax"), replaceable=True)
POLICY = (FIRST, Watched(RKC2(), replaceable=True))
# On linear flows order four wins. Rounding grows with the square of the number of stages: in
# double precision thousands leave nine digits, in single precision hundreds leave two.
LINEAR_POLICY = (FIRST, Watched(RKC4(max_stages=4000), replaceable=True))
LINEAR_POLICY_IN_SINGLE = (FIRST, Watched(RKC4(), replaceable=True))


def as_solvers(solver: dfx.AbstractSolver | None, field: AbstractVectorField) -> Solvers:
    """The one solver that is asked for, or those of the default policy for a field."""
    if solver is None:
        if not isinstance(field, KernelFlow):
            return POLICY
        is_double = field.targets.dtype == jnp.float64
        return LINEAR_POLICY if is_double else LINEAR_POLICY_IN_SINGLE
    if not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise ValueError(
            f"Argument `solver` must be a Diffrax solver with an error estimate, but it is a "
            f"`{type(solver).__name__}`."
        )
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        solver = dataclasses.replace(solver, scan_kind="lax")  # as no derivative is taken
    return (Watched(solver),)


def with_tolerances(solver: Watched, rtol: Scalar, atol: PyTree[Scalar]) -> Watched:
    """The solver, with tolerances of the step for an implicit method that has none of its own.

    Diffrax hands them to the solver that it sees, which here is `Watched`.
    """
    inner = solver.solver
    if not isinstance(inner, dfx.AbstractImplicitSolver):
        return solver
    smallest = jnp.stack(jax.tree.leaves(atol)).min()
    of_step = {"rtol": rtol, "atol": smallest, "norm": optx.rms_norm}
    is_given = lambda value: callable(value) or isinstance(value, int | float | Array)
    root_finder = inner.root_finder
    missing = {n: v for n, v in of_step.items() if not is_given(getattr(root_finder, n))}
    root_finder = dataclasses.replace(root_finder, **missing)
    return Watched(dataclasses.replace(inner, root_finder=root_finder))
