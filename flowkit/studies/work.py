"""Where a study works: its folder, its progress bar, and the parts that are done already."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.progress import Progress as Bar

import flowkit
from flowkit.storage.arrays import replacing
from flowkit.studies.settings import Plain

PARTS = "parts"
DIGITS = 12  # of the hash in a part's file name

Case = Mapping[str, Plain]


@dataclass(frozen=True)
class Work:
    """What a study is given beside its settings.

    Attributes:
        out: The folder of the study; what an earlier run left in it is used.
        bar: Shows how far the study is.
        given: A file or folder of the user's, for the studies that need one.
    """

    out: Path
    bar: Bar
    given: Path | None = None

    @property
    def data(self) -> Path:
        """The file or folder of the user's.

        Raises:
            ValueError: none was given.
        """
        if self.given is None:
            raise ValueError("Argument `data` must be given, but it is `None`.")
        return self.given

    def parts(
        self,
        name: str,
        solve: Callable[..., Mapping[str, Any]],
        cases: Sequence[Case],
        *,
        version: int,
    ) -> list[dict[str, Any]]:
        """Results of `solve(**case)` for each case, in their order; each is kept once it is there.

        A result is a file under `parts`, found again by the name, the whole case, both versions and
        whether x64 is on, so that a study that was killed, or is asked for more, computes only what
        is missing. A damaged file counts as missing.

        Args:
            name: What is solved; also the label of the progress bar.
            solve: Takes a case by keyword and gives plain data: mappings, lists, finite numbers,
                texts. It must depend on nothing that is not in the case.
            cases: Plain values by name, all that the result depends on.
            version: Of `solve`: another number makes earlier results void.

        Returns:
            The results, as JSON gives them back.
        """
        folder = self.out / PARTS
        folder.mkdir(parents=True, exist_ok=True)
        task = self.bar.add_task(name, total=len(cases))
        found = []
        for case in cases:
            self.bar.update(task, description=f"{name}: {_label(case)}")
            key = _key(name, case, version)
            found.append(_kept(folder / _file_name(key), key, lambda case=case: solve(**case)))
            self.bar.advance(task)
        self.bar.remove_task(task)
        return found


def _key(name: str, case: Case, version: int) -> dict[str, Any]:
    """All that a result depends on, JAX's precision included."""
    return {
        "part": name,
        "case": dict(case),
        "version": [flowkit.__version__, version],
        "x64": bool(jax.config.jax_enable_x64),  # pyright: ignore[reportAttributeAccessIssue]
    }


def _kept(path: Path, key: Mapping[str, Any], solve: Callable[[], Mapping[str, Any]]) -> dict:
    """The result in a file, or that of `solve`, which is written there first."""
    kept = _content(path)
    if "result" not in kept or {name: kept.get(name) for name in key} != key:
        text = json.dumps({**key, "result": solve()}, allow_nan=False)
        with replacing(path) as new:
            new.write_text(text + "\n", encoding="utf-8")
        kept = json.loads(text)
    return kept["result"]


def _content(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none, or a damaged one."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _file_name(key: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    words = "".join(c if c.isalnum() else "-" for c in key["part"].lower())
    return f"{words}-{digest[:DIGITS]}.json"


def _label(case: Case) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in case.items()
    )
