"""Runs that outlive their process: a folder that a killed integration resumes from, bit for bit.

The folder holds `saves-00000.npz`, `saves-00001.npz`, ... with the states saved since the last
writing, and `run.npz` with everything that the next step needs and the number of those files. It is
`run.npz` that makes a writing valid, and it is replaced in one move.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from flowkit.dynamics.identity import fingerprint
from flowkit.dynamics.run import Phase, Progress, Run
from flowkit.dynamics.segment import hand_over
from flowkit.storage import load_arrays, save_arrays
from flowkit.trajectory import Result

SECONDS_BETWEEN = 10.0


@dataclass
class Checkpoint:
    """Where a run is kept, and how much of it is there already.

    Attributes:
        folder: The folder, made if missing; None to keep nothing.
        identity: What the run is, by the names of `integrate`'s arguments.
        argument: Which argument of the caller named the folder, for errors.
        max_steps: Of the run that was restored or begun; a run may go on under another.
    """

    folder: Path | None
    identity: Mapping[str, str]
    argument: str = "checkpoint"
    max_steps: int | None = field(default=None, init=False)
    _files: int = field(default=0, init=False)
    _chunks: int = field(default=0, init=False)
    _written: float = field(default=-np.inf, init=False)

    def restore(self, run: Run) -> None:
        """Bring a run that was just started to where the folder's run stopped, if it holds one.

        Raises:
            ValueError: the folder holds another run, or one that has taken too many steps.
        """
        self.max_steps = run.max_steps
        if self.folder is None or not (self.folder / "run.npz").exists():
            return
        leaves, stored = load_arrays(self.folder / "run.npz")
        self._check_identity(stored["identity"])
        (first, *_) = run.progress.chunks
        files = [_saves(self.folder, i) for i in range(stored["files"])]
        chunks = tuple(_filled(first, load_arrays(file)[0], host=True) for file in files)
        if stored["using"]:
            solver = run.solvers[stored["using"]]
            template = hand_over(run.flow, solver, run.progress.carry)
        else:
            template = run.progress.carry
        result = stored["result"]
        progress = Progress(
            carry=_filled(template, leaves),
            using=stored["using"],
            phases=tuple(Phase(**phase) for phase in stored["phases"]),
            chunks=chunks,
            num_saved=stored["num_saved"],
            result=None if result is None else Result(**result),
            fired=stored["fired"],
            spent=stored["spent"],
        )
        run.resume(progress, stored["max_steps"])
        self._files, self._chunks = stored["files"], len(chunks)

    def write(self, progress: Progress, *, now: bool = False) -> None:
        """Keep the progress, unless the last writing was a moment ago."""
        recent = time.monotonic() - self._written < SECONDS_BETWEEN
        if self.folder is None or (recent and not now):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if fresh := progress.chunks[self._chunks :]:
            joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *fresh)
            save_arrays(_saves(self.folder, self._files), _named(joined))
            self._files, self._chunks = self._files + 1, len(progress.chunks)
        stored = {
            "identity": dict(self.identity),
            "files": self._files,
            "using": progress.using,
            "phases": [asdict(phase) for phase in progress.phases],
            "num_saved": progress.num_saved,
            "result": None if progress.result is None else asdict(progress.result),
            "fired": progress.fired,
            "spent": progress.spent,
            "max_steps": self.max_steps,
        }
        save_arrays(self.folder / "run.npz", _named(progress.carry), stored)
        self._written = time.monotonic()

    def _check_identity(self, stored: Mapping[str, str]) -> None:
        different = [name for name, value in self.identity.items() if stored.get(name) != value]
        if different:
            raise ValueError(
                f"Argument `{self.argument}` must be an empty folder or one of this run, but "
                f"{self.folder} holds a run with another `{different[0]}`."
            )


def checkpoint_in(folder: str | PathLike[str] | None, **arguments: Any) -> Checkpoint:
    """A checkpoint in a folder, or nowhere, for a run with these arguments.

    A run is resumed only where `fingerprint` knows every argument again.
    """
    if folder is None:
        return Checkpoint(None, {})
    identity = {name: fingerprint(value) for name, value in arguments.items()}
    return Checkpoint(Path(folder), identity)


def _saves(folder: Path, i: int) -> Path:
    return folder / f"saves-{i:05d}.npz"


def _named(tree: PyTree) -> dict[str, np.ndarray]:
    return {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def _filled(template: PyTree, leaves: Mapping[str, np.ndarray], *, host: bool = False) -> PyTree:
    """The template's structure with other leaves."""
    structure = jax.tree.structure(template)
    values = [leaves[f"leaf_{i}"] for i in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, values if host else map(jnp.asarray, values))
