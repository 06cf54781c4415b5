"""A sweep that outlives its process: a folder of finished points, and of runs on their way.

The folder holds `sweep.npz`, which says what all points share, `point-DIGEST.npz` for each point
that has ended, written whole or not at all, and `run-DIGEST/` with the checkpoint of a long solve
that has not. DIGEST stands for the values of the point, so that a sweep over more values of the
same names finds the points that it shares with the one before.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.dynamics.grid import Case
from flowkit.dynamics.identity import fingerprint
from flowkit.dynamics.outcomes import Outcome
from flowkit.storage import load_arrays, save_arrays
from flowkit.trajectory import Result


@dataclass(frozen=True)
class Ledger:
    """Where the points of a sweep are kept.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @staticmethod
    def open(folder: Path, shared: Mapping[str, object]) -> "Ledger":
        """The ledger of a sweep, new or found.

        Args:
            folder: The folder; made if missing.
            shared: What all points share, by the names of the arguments of `sweep`.

        Raises:
            ValueError: the folder holds another sweep.
        """
        identity = {name: fingerprint(value) for name, value in shared.items()}
        path = folder / "sweep.npz"
        if path.exists():
            _, stored = load_arrays(path)
            _check_same(stored, identity, f"{folder} holds a sweep with another")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_arrays(path, {}, identity)
        return Ledger(folder)

    def read(self, case: Case) -> Outcome | None:
        """How a point ended; None if it has not.

        Raises:
            ValueError: what was solved at this point is not what would be solved now.
        """
        path = self._path(case, "point").with_suffix(".npz")
        if not path.exists():
            return None
        arrays, stored = load_arrays(path)
        _check_same(
            stored["identity"], _identity(case), f"at {case.label} {self.folder} holds another"
        )
        pick = lambda kind: {n[len(kind) :]: a for n, a in arrays.items() if n.startswith(kind)}
        return Outcome(Result(**stored["result"]), pick("series/"), pick("ends/"))

    def write(self, case: Case, outcome: Outcome) -> None:
        """Keep how a point ended, in place of the checkpoint of its run."""
        arrays = {f"series/{name}": array for name, array in outcome.series.items()}
        arrays |= {f"ends/{name}": array for name, array in outcome.ends.items()}
        stored = {
            "identity": _identity(case),
            "point": dict(case.point),
            "result": vars(outcome.result),
        }
        save_arrays(self._path(case, "point").with_suffix(".npz"), arrays, stored)
        shutil.rmtree(self.checkpoint(case), ignore_errors=True)

    def checkpoint(self, case: Case) -> Path:
        """The folder for the run of a point."""
        return self._path(case, "run")

    def _path(self, case: Case, kind: str) -> Path:
        return self.folder / f"{kind}-{fingerprint(dict(case.point))[:16]}"


def _identity(case: Case) -> dict[str, str]:
    return {
        "field": fingerprint(case.flow),
        "y0": fingerprint(case.y0),
        "observables": fingerprint(dict(case.observables)),
    }


def _check_same(stored: Mapping[str, str], now: Mapping[str, str], found: str) -> None:
    different = [name for name, value in now.items() if stored.get(name) != value]
    if different:
        raise ValueError(
            f"Argument `store` must be an empty folder or one of this sweep, but {found} "
            f"`{different[0]}`."
        )
