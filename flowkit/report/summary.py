"""The result of checking a catalogue of claims, as a table and as JSON."""

import json
import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.table import Table

from flowkit.claim import Claim, Verdict

ARXIV_WIDTH = len("arXiv:1802.06509,")  # stays whole on a narrow console
PACKAGES = ("sympy", "jax", "diffrax", "equinox", "optax", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Entry:
    """One checked claim.

    Attributes:
        claim: The claim.
        verdict: How its check ended.
        seconds: How long it took.
        traceback: Where the check broke, if it did.
    """

    claim: Claim
    verdict: Verdict
    seconds: float
    traceback: str = ""


@dataclass(frozen=True)
class Report:
    """What a run of the catalogue found.

    Attributes:
        entries: The checked claims, in order.
        remaining: Names of claims that were not checked because the run was interrupted.
    """

    entries: tuple[Entry, ...]
    remaining: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every claim was checked and holds."""
        return not self.remaining and all(entry.verdict.passed for entry in self.entries)

    def summary(self) -> str:
        """The outcome in one line."""
        held = sum(entry.verdict.passed for entry in self.entries)
        seconds = sum(entry.seconds for entry in self.entries)
        line = f"{held} of {len(self.entries)} claims hold ({seconds:.0f} s of checks)"
        return f"{line}; interrupted, {len(self.remaining)} not checked" if self.remaining else line

    def table(self) -> Table:
        """A Rich table: claim, source, what was measured, expected, verdict."""
        table = Table(title=self.summary(), title_justify="left", show_lines=True, box=HORIZONTALS)
        for heading in ("claim", "source", "measured", "expected"):
            least = ARXIV_WIDTH if heading == "source" else None
            table.add_column(heading, overflow="fold", min_width=least)
        table.add_column("verdict", no_wrap=True)
        for entry in self.entries:
            verdict = entry.verdict
            colour = "green" if verdict.passed else "bold red"
            word = verdict.kind if verdict.passed else "FAILED"
            cells = (entry.claim.name, entry.claim.source, verdict.measured, verdict.expected)
            table.add_row(*map(_plain, cells), f"[{colour}]{word}[/{colour}]")
        return table

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, the content of `report.json`."""
        return {
            "passed": self.passed,
            "summary": self.summary(),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "claims": [_entry_as_dict(entry) for entry in self.entries],
            "not_checked": list(self.remaining),
        }

    def write_json(self, folder: Path) -> None:
        """Write `report.json` into an existing folder, whole or not at all."""
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        unfinished = folder / "report.json.part"
        unfinished.write_text(text + "\n", encoding="utf-8")
        unfinished.replace(folder / "report.json")

    def write(self, folder: str | Path) -> Path:
        """Write `report.json`, the figures as PNG and `index.html` into a folder.

        Args:
            folder: Made if it does not exist; files of an earlier report are replaced.

        Returns:
            The path of the HTML page, which holds its figures and needs no network.
        """
        from flowkit.report.figures import draw  # Matplotlib loads only when something is drawn
        from flowkit.report.page import page

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_json(folder)
        figures: dict[str, list[bytes]] = {}
        for entry in self.entries:
            figures[entry.claim.name] = [draw(chart) for chart in entry.verdict.charts]
            for number, image in enumerate(figures[entry.claim.name], start=1):
                (folder / f"{_slug(entry.claim.name)}-{number}.png").write_bytes(image)
        (folder / "index.html").write_text(page(self, figures), encoding="utf-8")
        return folder / "index.html"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _entry_as_dict(entry: Entry) -> dict[str, Any]:
    claim, verdict = entry.claim, entry.verdict
    return {
        "name": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "passed": verdict.passed,
        "kind": verdict.kind,
        "measured": verdict.measured,
        "expected": verdict.expected,
        "numbers": {name: _finite(value) for name, value in verdict.numbers.items()},
        "seconds": round(entry.seconds, 3),
    } | ({"traceback": entry.traceback} if entry.traceback else {})


def _finite(value: float) -> float | str:
    """JSON has no infinities; they are written as words."""
    return value if math.isfinite(value) else str(value)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
