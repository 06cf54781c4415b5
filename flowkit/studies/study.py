"""What a study is asked for and what it finds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from flowkit.claim import Curves
from flowkit.storage.arrays import replacing

Cell = str | int | float | None
RESULTS, FIGURE = "results.json", "figure.png"


@dataclass(frozen=True)
class Settings:
    """How large a study is.

    Attributes:
        depths: Weight layers of the kernels.
        train: Training images; several numbers where the study is a learning curve.
        test: Test images; all where None.
        draws: Random training sets per number, where the study averages over them.
        shrink: Images are averaged over blocks of this side length first; 1 leaves them alone.
        seed: Of the random choice of images.
        float32: Kernels and regression in single precision.
    """

    depths: tuple[int, ...]
    train: tuple[int, ...]
    test: int | None = None
    draws: int = 1
    shrink: int = 1
    seed: int = 0
    float32: bool = False

    def __post_init__(self):
        for name in ("depths", "train"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(
                    f"Argument `{name}` must hold integers of at least 1, but it is {values}."
                )
        for name in ("test", "draws", "shrink"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Argument `{name}` must be at least 1, but it is `{value}`.")

    @property
    def only_train(self) -> int:
        """The number of training images of a study that takes one."""
        if len(self.train) != 1:
            raise ValueError(
                f"Argument `train` must be one number for this study, but it is {self.train}."
            )
        return self.train[0]

    @property
    def dtype(self) -> str:
        return "float32" if self.float32 else "float64"


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        name: The name on the command line.
        title: One line.
        settings: What it was asked for.
        rows: One row per result; equal keys, in the order of the table. Accuracies are in percent.
        chart: The rows as a picture.
        notes: What a reader has to know to compare.
        details: What else the numbers depend on, as plain data.
    """

    name: str
    title: str
    settings: Settings
    rows: tuple[Mapping[str, Cell], ...]
    chart: Curves
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> Table:
        """The rows as a Rich table."""
        table = Table(
            title=self.title,
            title_justify="left",
            box=HORIZONTALS,
            show_edge=False,
            padding=0,  # nine columns fit into 80 characters
        )
        for heading in self.rows[0]:
            words = heading.split("_")
            longest = max(map(len, words))
            table.add_column(" ".join(words), justify="right", min_width=longest)
        for row in self.rows:
            table.add_row(*map(_shown, row.values()))
        return table

    def show(self, console: Console) -> None:
        """Print the table and the notes."""
        console.print(self.table())
        for note in self.notes:
            console.print(note, highlight=False)

    def as_dict(self) -> dict[str, Any]:
        """The study as plain data, the content of its JSON file."""
        from flowkit.report.summary import versions

        return {
            "study": self.name,
            "title": self.title,
            "settings": asdict(self.settings),
            **self.details,
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }

    def write(self, folder: Path, *, results: str = RESULTS) -> None:
        """Write the results and `figure.png` into a folder, which is made if need be."""
        from flowkit.report.figures import draw

        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / results) as new:
            text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
            new.write_text(text + "\n", encoding="utf-8")
        with replacing(folder / FIGURE) as new:
            new.write_bytes(draw(self.chart))


def changed(settings: Settings, **given: Any) -> Settings:
    """The settings with everything replaced that is given, that is, not None."""
    kept = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return Settings(**(kept | {name: value for name, value in given.items() if value is not None}))


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
