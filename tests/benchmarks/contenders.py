"""Who takes part: flowkit's solvers, SciPy's, and plain gradient descent, each at its best."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import diffrax as dfx
import jax
import numpy as np
import scipy.integrate
from cases import SAVES, Case, End, factors_from, flat
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree, Scalar

import flowkit as fk
from flowkit.dynamics import RKC2, RKC4, RKL2

RTOLS = tuple(float(f"{10**-k:.0e}") for k in np.arange(1, 6.5, 0.5))
QUICK_RTOLS = (1e-1, 1e-2, 1e-3, 1e-4)
# Learning rates, as fractions of 2 / sharpness, beyond which descent diverges.
RATES = tuple(0.9 * 0.5**k for k in range(12))
OUT_OF_BUDGET = "out of budget"
SCIPY_PERIOD = 64  # evaluations between two looks at the clock


@dataclass(frozen=True)
class Solved:
    """What a contender returns: saved factors without the first, and what they cost."""

    states: PyTree
    evaluations: int | None
    steps: int
    failure: str | None = None


Solve = Callable[[Case, End, float, float], Solved]


@dataclass(frozen=True)
class Contender:
    """A method, its settings from the cheapest on, and how it solves a case with one of them.

    Attributes:
        group: flowkit, SciPy or descent.
        reach: The real stability interval of a step, by the evaluations that it takes: what an
            explicit method cannot do with fewer evaluations. 0 where that is no limit.
    """

    name: str
    group: str
    settings: tuple[float, ...]
    solve: Solve
    reach: float = 0.0

    def least_evaluations(self, end: End) -> float:
        """What stability alone asks for once the flow is at its sharpest."""
        return end.time * end.sharpness / self.reach if self.reach else 0.0


def contenders(*, tiny: bool, quick: bool) -> tuple[Contender, ...]:
    """All of them; implicit methods with dense Jacobians only where those are tiny."""
    rtols = QUICK_RTOLS if quick else RTOLS
    ours = {"default policy": None, "Tsit5": dfx.Tsit5(), "Dopri8": dfx.Dopri8()}
    ours |= {"RKC2": RKC2(), "RKL2": RKL2(), "RKC4": RKC4()}
    if tiny:
        ours["Kvaerno5"] = dfx.Kvaerno5()
    reach = {"Tsit5": 3.5 / 6, "Dopri8": 5.5 / 13, "RK45": 3.3 / 6, "DOP853": 5.5 / 12}
    flowkit = (
        Contender(name, "flowkit", rtols, partial(_flowkit, solver), reach.get(name, 0.0))
        for name, solver in ours.items()
    )
    scipys = (
        Contender(name, "SciPy", rtols, partial(_scipy, name), reach.get(name, 0.0))
        for name in ("RK45", "DOP853", "LSODA")
    )
    rates = RATES[:6] if quick else RATES
    return (*flowkit, *scipys, Contender("descent", "descent", rates, _descent, 2.0))


def _flowkit(
    solver: dfx.AbstractSolver | None, case: Case, end: End, rtol: float, budget: float
) -> Solved:
    del budget
    trajectory = fk.integrate(case.flow, case.y0, end.ts, solver=solver, rtol=rtol)
    stats = trajectory.stats
    states = jax.tree.map(lambda leaf: leaf[1:], trajectory.states)
    failure = None if trajectory.result.successful else trajectory.result.reason
    return Solved(states, stats.get("num_evaluations"), stats["num_accepted_steps"], failure)


class OutOfTimeError(Exception):
    """A solve of SciPy's that goes on for too long."""


def _vector_field(case: Case, budget: float) -> Callable:
    """The field on vectors, compiled: SciPy sees NumPy, without a copy on a CPU."""
    rate = compiled_rate(case)
    deadline, calls = time.perf_counter() + budget, 0

    def field(t: float, y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls % SCIPY_PERIOD == 0 and time.perf_counter() > deadline:
            raise OutOfTimeError
        return np.asarray(rate(y))

    return field


@cache
def compiled_rate(case: Case) -> Callable:
    """The field of a case on vectors, compiled."""
    flow, (_, unravel) = case.flow, ravel_pytree(case.y0)
    return jax.jit(lambda y: ravel_pytree(flow(0.0, unravel(y)))[0])


def _scipy(method: str, case: Case, end: End, rtol: float, budget: float) -> Solved:
    """SciPy with the absolute tolerance that flowkit takes; LSODA with a diagonal Jacobian."""
    y0 = flat(case.y0)
    options: dict[str, Any] = {"lband": 0, "uband": 0} if method == "LSODA" else {}
    empty = np.empty((len(end.ts) - 1, 0))
    try:
        solution = scipy.integrate.solve_ivp(
            _vector_field(case, budget),
            (0.0, end.time),
            y0,
            method=method,
            t_eval=end.ts[1:],
            rtol=rtol,
            atol=rtol * np.sqrt(np.mean(y0**2)),
            **options,
        )
    except OutOfTimeError:
        return Solved(empty, None, 0, f"{OUT_OF_BUDGET}: not done after {budget:.0f} s")
    if not solution.success or solution.y.shape[1] < SAVES:
        return Solved(empty, solution.nfev, 0, solution.message)
    return Solved(factors_from(case, solution.y.T), solution.nfev, -1)


def _descent(case: Case, end: End, fraction: float, budget: float) -> Solved:
    """Descent with the field as gradient: one compilation for all learning rates."""
    del budget
    stretch = int(np.ceil(end.time * end.sharpness / (2 * fraction) / SAVES))
    rate = end.time / (stretch * SAVES)
    states = jax.block_until_ready(_descended(case.flow, case.y0, rate, stretch))
    finite = all(np.isfinite(leaf).all() for leaf in states)
    return Solved(
        states, stretch * SAVES, stretch * SAVES, None if finite else "the state is not finite"
    )


@jax.jit
def _descended(flow: Any, y0: PyTree, rate: Scalar, stretch: Scalar) -> PyTree:
    def step(_: Any, y: PyTree) -> PyTree:
        return jax.tree.map(lambda W, velocity: W + rate * velocity, y, flow(0.0, y))

    def save(y: PyTree, _: Any) -> tuple[PyTree, PyTree]:
        y = lax.fori_loop(0, stretch, step, y)
        return y, y

    return lax.scan(save, y0, length=SAVES)[1]
