"""What a study finds."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from flowkit.claim import Chart
from flowkit.storage.arrays import replacing
from flowkit.studies.comparison import Comparison
from flowkit.studies.drawn import drawn

Cell = str | int | float | None
RESULTS, FIGURE = "results.json", "figure.png"
LISTED = re.compile(
    r"\[\n(?:[-+.\deE,\s]|null)+\]"
)  # numbers, of which JSON gives each a line of its own
COMPARED = ("quantity", "measured", "published", "within", "source")


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        name: The name on the command line.
        title: One line.
        settings: What it was asked for: a frozen dataclass of the study's own.
        rows: One row per result; equal keys, in the order of the table.
        chart: The picture.
        notes: What a reader has to know to compare.
        details: What else the numbers depend on, as plain data.
        comparisons: A row per published number that the settings allow to compare with.
    """

    name: str
    title: str
    settings: Any
    rows: tuple[Mapping[str, Cell], ...]
    chart: Chart
    notes: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def tables(self) -> tuple[Table, ...]:
        """The rows as a Rich table and, where there are any, the comparisons as another."""
        rows = _table(self.title)
        for heading in self.rows[0]:
            words = heading.split("_")
            longest = max(map(len, words))
            rows.add_column(" ".join(words), justify="right", min_width=longest)
        for row in self.rows:
            rows.add_row(*map(_shown, row.values()))
        if not self.comparisons:
            return (rows,)
        compared = _table("Beside published numbers: mean and range", padding=(0, 1))
        for heading in COMPARED:
            compared.add_column(heading)
        for comparison in self.comparisons:
            compared.add_row(*comparison.cells())
        return rows, compared

    def show(self, console: Console) -> None:
        """Print the tables and the notes."""
        for table in self.tables():
            console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)

    def as_dict(self) -> dict[str, Any]:
        """The study as plain data, the content of its JSON file; `figure` is what is drawn."""
        from flowkit.report.summary import versions

        return {
            "study": self.name,
            "title": self.title,
            "settings": asdict(self.settings),
            **self.details,
            "rows": [dict(row) for row in self.rows],
            "comparisons": [comparison.as_dict() for comparison in self.comparisons],
            "notes": list(self.notes),
            "figure": drawn(self.chart),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }

    def write(self, folder: Path, *, results: str = RESULTS) -> None:
        """Write the results and `figure.png` into a folder, which is made if need be."""
        from flowkit.report.figures import draw

        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / results) as new:
            text = LISTED.sub(_in_a_line, json.dumps(self.as_dict(), indent=2, allow_nan=False))
            new.write_text(text + "\n", encoding="utf-8")
        with replacing(folder / FIGURE) as new:
            new.write_bytes(draw(self.chart))


def _in_a_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]")


def _table(title: str, padding: tuple[int, int] = (0, 0)) -> Table:
    # Without padding nine columns fit into 80 characters.
    return Table(
        title=title, title_justify="left", box=HORIZONTALS, show_edge=False, padding=padding
    )


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.2f}" if cell == 0 or 0.1 <= abs(cell) < 1e5 else f"{cell:.2g}"
