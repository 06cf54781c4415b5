"""Many solves side by side under `vmap`: who has ended leaves, who waits joins.

Lanes of one call step on until the last of them has made its steps. So a call makes a bounded
number of steps, lanes at different solvers of the policy go to different calls, and after each
call lanes that have ended make room.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field as dataclass_field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from flowkit.dynamics.checkpoint import Checkpoint
from flowkit.dynamics.grid import Case
from flowkit.dynamics.policy import Watched
from flowkit.dynamics.run import Run
from flowkit.dynamics.segment import Stretch, advance
from flowkit.dynamics.stepping import UNLIMITED
from flowkit.fields import AbstractVectorField

FEWEST_STEPS = 32  # of a call
SHARE = 8  # a call makes at most this part of the steps that every lane of it has made before
SHRINK = 4  # the sizes of a batch fall by this factor, as each has to be compiled


@dataclass(frozen=True)
class Lane:
    """A solve that has begun, and where it is kept."""

    case: Case
    run: Run
    keep: Checkpoint | None

    @property
    def ended(self) -> bool:
        return self.run.progress.result is not None

    def interrupt(self) -> None:
        """End it where it is, and keep that."""
        if self.keep is not None:
            self.keep.write(self.run.progress, now=True)
        self.run.interrupt()


@dataclass
class Tally:
    """Steps of all lanes, those that only waited for others included."""

    lane_steps: int = 0
    wasted: int = 0

    def count(self, size: int, steps: Sequence[int]) -> None:
        """A call of so many lanes, of which these took so many steps and others were padding."""
        self.lane_steps += size * max(steps)
        self.wasted += size * max(steps) - sum(steps)


@dataclass
class Pool:
    """Cases of one structure, on their way through a batch.

    Attributes:
        waiting: Cases that have not begun.
        begin: Begins one.
        batch: The most lanes of a call.
        tally: Where steps are counted.
        lanes: Solves that have begun and not ended.
    """

    waiting: deque[Case]
    begin: Callable[[Case], Lane]
    batch: int
    tally: Tally
    lanes: list[Lane] = dataclass_field(default_factory=list)
    _varies: PyTree = dataclass_field(init=False)

    def __post_init__(self):
        self._varies = _varying([case.flow for case in self.waiting]) if self.batch > 1 else None

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.lanes)

    def step(self) -> list[Lane]:
        """One call; returns the lanes that have ended, which are to be taken out of `lanes`."""
        self._fill()
        if chosen := self._fullest():
            self._advance(chosen)
        return [lane for lane in self.lanes if lane.ended]

    def _fill(self) -> None:
        """Begin waiting cases until a batch is full; some end where they begin."""
        while self.waiting and len(self._at_first_solver()) < self.batch:
            case = self.waiting.popleft()
            self.lanes.append(self.begin(case))

    def _at_first_solver(self) -> list[Lane]:
        return [lane for lane in self.lanes if not lane.run.progress.using]

    def _fullest(self) -> list[Lane]:
        """As many lanes as go together; the later solver first, as its lanes end sooner."""
        queues: dict[tuple[int, Hashable, Hashable], list[Lane]] = {}
        for lane in self.lanes:
            if not lane.ended:
                queues.setdefault(_queue(lane.run), []).append(lane)
        fullness = lambda key: (min(len(queues[key]), self.batch), key[0])
        return queues[max(queues, key=fullness)][: self.batch] if queues else []

    def _advance(self, chosen: list[Lane]) -> None:
        before = [lane.run.progress.num_steps for lane in chosen]
        if len(chosen) == 1:
            size = 1
            next(chosen[0].run.stretches())
        else:
            size = _size(len(chosen), self.batch)
            allowance = max(FEWEST_STEPS, min(before) // SHARE)
            stretches = _advance_together(chosen, size, allowance, self._varies)
            for lane, stretch in zip(chosen, stretches, strict=True):
                lane.run.progress = lane.run._after(stretch)
        for lane in chosen:
            if lane.keep is not None:
                lane.keep.write(lane.run.progress)
        after = [lane.run.progress.num_steps for lane in chosen]
        self.tally.count(size, [b - a for a, b in zip(before, after, strict=True)])


def _queue(run: Run) -> tuple[int, Hashable, Hashable]:
    """What runs share that go together: the solver, and the static parts of the condition."""
    arrays, others = eqx.partition(run.until, eqx.is_array)
    return run.progress.using, jax.tree.structure(arrays), tuple(jax.tree.leaves(others))


def _size(count: int, batch: int) -> int:
    """The least size of a batch that holds so many."""
    size = batch
    while size > SHRINK and -(-size // SHRINK) >= count:
        size = -(-size // SHRINK)
    return size


def _advance_together(
    lanes: list[Lane], size: int, allowance: int, varies: PyTree
) -> list[Stretch]:
    runs = [lane.run for lane in lanes]
    runs += runs[:1] * (size - len(runs))
    split = [eqx.partition(run.flow, varies) for run in runs]
    per_lane = [
        (flow, run.controller, run.until, run.progress.carry, *_bounds(run, allowance))
        for run, (flow, _) in zip(runs, split, strict=True)
    ]
    solver = runs[0].solvers[runs[0].progress.using]
    stacked = jax.tree.map(_stack, *per_lane)
    return _apart(_advance_all(split[0][1], solver, *stacked), len(lanes))


def _bounds(run: Run, allowance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The window, the last time and the number of steps of a run's next stretch."""
    done = run.progress
    window, t1 = run._window(done.num_saved)
    left = UNLIMITED if run.max_steps is None else run.max_steps - done.num_steps
    return window, np.asarray(t1), np.asarray(min(allowance, left))


@eqx.filter_jit
def _advance_all(
    shared: AbstractVectorField,
    solver: Watched,
    flows: AbstractVectorField,
    *others: PyTree,
) -> Stretch:
    def one(flow, controller, until, carry, window, t1, allowance):
        whole = eqx.combine(flow, shared)
        return advance(whole, solver, controller, until, carry, window, t1, allowance, None)

    return eqx.filter_vmap(one)(flows, *others)


def _apart(stretch: Stretch, count: int) -> list[Stretch]:
    """The stretch of each lane, on the host; of the saved states only those that are meant."""
    rest = jax.device_get(stretch._replace(saved=None))
    counts = rest.num_saved[:count]
    rows = 1 << max(int(counts.max()) - 1, 0).bit_length()  # few lengths, as each is compiled
    saved = jax.device_get(jax.tree.map(lambda leaf: leaf[:count, :rows], stretch.saved))
    lane = lambda i: jax.tree.map(lambda leaf: leaf[i], rest)
    chunk = lambda i: jax.tree.map(lambda leaf: leaf[i, : counts[i]].copy(), saved)
    return [lane(i)._replace(saved=chunk(i)) for i in range(count)]


def _stack(*leaves: PyTree) -> PyTree:
    first = leaves[0]
    if not eqx.is_array(first):
        return first
    if isinstance(first, jax.Array) and jnp.issubdtype(first.dtype, jax.dtypes.prng_key):
        return jnp.stack(leaves)
    return np.stack([np.asarray(leaf) for leaf in leaves])


def _varying(trees: list[PyTree]) -> PyTree:
    """Which arrays differ between trees of one structure; the others stay unbatched."""
    return jax.tree.map(lambda *leaves: eqx.is_array(leaves[0]) and not _equal(leaves), *trees)


def _equal(leaves: tuple[Array, ...]) -> bool:
    first, *others = leaves
    others = [leaf for leaf in others if leaf is not first]
    if isinstance(first, jax.Array) and jnp.issubdtype(first.dtype, jax.dtypes.prng_key):
        return not others
    return all(np.array_equal(first, leaf) for leaf in others)


def alike(cases: Sequence[Case]) -> list[deque[Case]]:
    """Cases by structure: those of a group agree in all but the numbers in their arrays."""
    groups: list[tuple[PyTree, deque[Case]]] = []
    for case in cases:
        shape = _structure((case.flow, case.y0))
        for known, members in groups:
            if bool(eqx.tree_equal(known, shape)):
                members.append(case)
                break
        else:
            groups.append((shape, deque([case])))
    return [members for _, members in groups]


def _structure(tree: PyTree) -> PyTree:
    """Shapes and types in place of arrays, and whatever else there is."""
    return jax.tree.map(
        lambda leaf: (leaf.shape, str(leaf.dtype)) if eqx.is_array(leaf) else leaf, tree
    )
