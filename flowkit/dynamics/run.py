"""A solve in progress, on the host: stretch by stretch, solver by solver."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from flowkit.dynamics.policy import Watched
from flowkit.dynamics.segment import Carry, Stretch, advance, begin, hand_over
from flowkit.dynamics.stepping import UNLIMITED, StepControl
from flowkit.fields import AbstractVectorField
from flowkit.observables.recording import WINDOW_BYTES
from flowkit.trajectory import Result
from flowkit.until import AbstractCondition

DENSE_BYTES = 128 * 2**20  # of dense output that a device holds at a time
FIRST_ALLOWANCE = 32  # steps before the first return to Python; then as many as fill the pause
SHORT_PAUSE, LONG_PAUSE = 0.25, 1.0  # seconds of a stretch, within which an interrupt waits


@dataclass(frozen=True)
class Phase:
    """What one solver did, from a time on."""

    solver: str
    start: float
    num_accepted_steps: int = 0
    num_rejected_steps: int = 0

    def after(self, stretch: Stretch) -> "Phase":
        return replace(
            self,
            num_accepted_steps=self.num_accepted_steps + int(stretch.num_accepted),
            num_rejected_steps=self.num_rejected_steps + int(stretch.num_rejected),
        )


@dataclass(frozen=True)
class Progress:
    """Everything that a run has found out; replaced as a whole, so that no interrupt tears it.

    Attributes:
        carry: Where the next stretch starts.
        using: Which of the solvers it uses.
        chunks: Saved positions, stacked along time, stretch by stretch.
        num_saved: How many times they cover.
        phases: What each solver did.
        pieces: Dense output, stretch by stretch.
        result: How the run ended; None while it has not.
        fired: Whether it was the condition that ended it.
        spent: Whether it was `max_steps` that ended it.
    """

    carry: Carry
    using: int
    phases: tuple[Phase, ...]
    chunks: tuple[PyTree, ...] = ()
    num_saved: int = 0
    pieces: tuple[tuple[int, dfx.DenseInterpolation], ...] = ()
    result: Result | None = None
    fired: bool = False
    spent: bool = False

    @property
    def ending(self) -> Result:
        """How the run ended."""
        if self.result is None:
            raise RuntimeError("The run has not ended.")
        return self.result

    @property
    def t(self) -> float:
        return float(self.carry.control.t)

    @property
    def num_steps(self) -> int:
        return sum(p.num_accepted_steps + p.num_rejected_steps for p in self.phases)


@dataclass
class Run:
    """One integration: what is solved, and how far it has come.

    Attributes:
        solvers: The solvers; more than one where the policy may switch between them.
        max_steps: Accepted and rejected steps before the run fails; None for no limit.
        dense: Whether dense output is kept.
    """

    flow: AbstractVectorField
    ts: Float[np.ndarray, " time"]
    solvers: tuple[Watched, ...]
    controller: StepControl
    until: AbstractCondition | None
    max_steps: int | None
    dense: bool
    progress: Progress = field(init=False)
    _allowance: int = field(default=FIRST_ALLOWANCE, init=False)

    def start(self, y0: PyTree, state: PyTree) -> None:
        """Put the run at its first time, at a position and its lifted state."""
        t0, t1 = (jnp.asarray(t) for t in self.ts[[0, -1]])
        carry = begin(self.flow, self.solvers[0], self.controller, t0, t1, state)
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[None], y0)
        self.progress = Progress(carry, 0, (self._phase(0, float(t0)),), (first,), 1)

    def resume(self, progress: Progress, max_steps: int | None) -> None:
        """Put the run where it stood, perhaps under another `max_steps`.

        Raises:
            ValueError: it has already taken more steps than it now may.
        """
        self.progress = progress
        if max_steps == self.max_steps:
            return
        if self.max_steps is not None and progress.num_steps > self.max_steps:
            raise ValueError(
                f"Argument `max_steps` must be at least {progress.num_steps}, the steps that the "
                f"run in the checkpoint has taken, but it is {self.max_steps}."
            )
        if progress.spent:
            self.progress = self._switched(replace(progress, result=None, spent=False))
        if self.progress.result is None and self._is_spent(progress):
            self.progress = self._spent(self.progress)

    def stretches(self) -> Iterator[Progress]:
        """Step on until the run has ended, yielding at every pause."""
        while self.progress.result is None:
            began = time.perf_counter()
            self.progress = self._after(self._advance())
            self._adapt_allowance(time.perf_counter() - began)
            yield self.progress

    def interrupt(self) -> None:
        """End the run where it is, as a failure; what it has saved stays right."""
        reason = f"interrupted at t = {self.progress.t:g}"
        self.progress = replace(self.progress, result=Result(successful=False, reason=reason))

    def _advance(self) -> Stretch:
        done = self.progress
        window, t1 = self._window(done.num_saved)
        allowance = min(self._allowance, self.dense_steps or UNLIMITED)
        if self.max_steps is not None:
            allowance = min(allowance, self.max_steps - done.num_steps)
        return advance(
            self.flow,
            self.solvers[done.using],
            self.controller,
            self.until,
            done.carry,
            jnp.asarray(window),
            jnp.asarray(t1),
            jnp.asarray(allowance, int),
            self.dense_steps,
        )

    def _window(self, start: int) -> tuple[Float[np.ndarray, " saves"], float]:
        """The next times to save at, padded with the last of them, at which the stretch ends."""
        end = self._window_end(start)
        times = self.ts[start:end]
        t1 = float(times[-1] if len(times) else self.ts[-1])
        return np.pad(times, (0, self._window_size - len(times)), constant_values=t1), t1

    def _window_end(self, start: int) -> int:
        """The save that a window ends before.

        As a window's last time cuts a step short, it must not depend on where a stretch paused.
        """
        size = self._window_size
        return min((start // size + 1) * size, len(self.ts))

    @property
    def _window_size(self) -> int:
        return min(len(self.ts), _fitting(WINDOW_BYTES, self.progress.carry.state))

    @property
    def dense_steps(self) -> int | None:
        """How many steps' dense output is held at a time."""
        if not self.dense:
            return None
        stages = 10  # the interpolants of the solvers hold about as many copies of a state
        return min(256, _fitting(DENSE_BYTES // stages, self.progress.carry.state))

    def _after(self, stretch: Stretch) -> Progress:
        done = self.progress
        count = min(int(stretch.num_saved), self._window_end(done.num_saved) - done.num_saved)
        chunk = jax.tree.map(lambda leaf: np.asarray(leaf[:count]), jax.device_get(stretch.saved))
        *earlier, phase = done.phases
        after = replace(
            done,
            carry=stretch.carry,
            phases=(*earlier, phase.after(stretch)),
            chunks=(*done.chunks, chunk) if count else done.chunks,
            num_saved=done.num_saved + count,
            pieces=(*done.pieces, *self._piece(stretch)),
            fired=bool(stretch.fired),
        )
        if result := self._result(after, stretch):
            return replace(after, result=result)
        return self._spent(after) if self._is_spent(after) else self._switched(after)

    def _piece(self, stretch: Stretch) -> tuple[tuple[int, dfx.DenseInterpolation], ...]:
        if stretch.interpolation is None or not int(stretch.num_accepted):
            return ()
        return ((self.progress.using, stretch.interpolation),)

    def _result(self, after: Progress, stretch: Stretch) -> Result | None:
        """How the run ended with this stretch; None if it goes on."""
        if not _is_finite(after.carry.state):
            return Result(successful=False, reason="the state is not finite")
        if after.fired and self.until is not None:
            return Result(successful=True, reason=self.until.describe())
        if stretch.result == dfx.RESULTS.successful:
            ended = after.num_saved == len(self.ts)
            return Result(successful=True, reason="reached the last time") if ended else None
        if stretch.result != dfx.RESULTS.max_steps_reached:
            return Result(successful=False, reason=dfx.RESULTS[stretch.result].splitlines()[0])
        return None

    def _is_spent(self, progress: Progress) -> bool:
        return self.max_steps is not None and progress.num_steps >= self.max_steps

    def _spent(self, progress: Progress) -> Progress:
        reason = f"took `max_steps` = {self.max_steps} steps"
        return replace(progress, result=Result(successful=False, reason=reason), spent=True)

    def _switched(self, after: Progress) -> Progress:
        """Hand over to the policy's other solver if the steps spoke for it."""
        if not self.solvers[after.using].wants_to_leave(after.carry.solver):
            return after
        using = (after.using + 1) % len(self.solvers)
        return replace(
            after,
            carry=hand_over(self.flow, self.solvers[using], after.carry),
            using=using,
            phases=(*after.phases, self._phase(using, after.t)),
        )

    def _phase(self, using: int, start: float) -> Phase:
        return Phase(type(self.solvers[using].solver).__name__, start)

    def _adapt_allowance(self, seconds: float) -> None:
        if seconds < SHORT_PAUSE:
            self._allowance = min(2 * self._allowance, UNLIMITED // 2)
        elif seconds > LONG_PAUSE:
            self._allowance = max(self._allowance // 2, 1)

    def stats(self) -> dict[str, Any]:
        """Counts of work, added up over the solvers, and what each of them did."""
        phases = self.progress.phases
        accepted = sum(phase.num_accepted_steps for phase in phases)
        stats: dict[str, Any] = {
            "num_steps": self.progress.num_steps,
            "num_accepted_steps": accepted,
            "num_rejected_steps": self.progress.num_steps - accepted,
        }
        if all(solver.counts for solver in self.solvers):
            stats["num_evaluations"] = int(self.progress.carry.control.num_evaluations)
        stats["phases"] = tuple(vars(phase).copy() for phase in phases)
        return stats


def _fitting(size: int, state: PyTree[Shaped[Array | np.ndarray, "..."]]) -> int:
    """How many copies of a state fit into so many bytes; at least one."""
    return max(1, size // max(1, sum(leaf.nbytes for leaf in jax.tree.leaves(state))))


def _is_finite(state: PyTree) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
