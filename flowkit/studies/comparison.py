"""What was measured beside what was published."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Number = int | float
Range = tuple[Number | None, Number | None]  # None is an open end


@dataclass(frozen=True)
class Comparison:
    """A published number, or the range in which it is said to lie, and what was measured.

    Attributes:
        quantity: What was measured, at which settings.
        measured: What is held against it: a value per seed, or per seed and setting.
        published: A number or a range; None at an end of the range leaves it open.
        source: Paper and place.
        tolerance: How far, as a share of the published number, a value may lie beyond it.
    """

    quantity: str
    measured: Sequence[Number]
    published: Number | Range
    source: str
    tolerance: Number = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The range in which a value agrees, the tolerance included; infinite where open."""
        published = self.published
        low, high = published if isinstance(published, tuple) else (published, published)
        low = -np.inf if low is None else float(low - self.tolerance * abs(low))
        high = np.inf if high is None else float(high + self.tolerance * abs(high))
        return low, high

    @property
    def inside(self) -> int:
        """The number of values that agree."""
        low, high = self.bounds
        return sum(bool(low <= value <= high) for value in self.measured)

    @property
    def within(self) -> bool:
        """Whether all values agree."""
        return self.inside == len(self.measured) > 0

    def cells(self) -> tuple[str, ...]:
        """Quantity, measured, published, whether within, source, as texts."""
        values = list(self.measured)
        measured = f"{np.mean(values):.4g}"
        if len(values) > 1:
            measured += f" ({min(values):.3g} to {max(values):.3g})"
        many = len(values) > 1 and 0 < self.inside < len(values)
        verdict = f"{self.inside} of {len(values)}" if many else ("yes" if self.within else "no")
        return self.quantity, measured, self._published(), verdict, self.source

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        low, high = (None if np.isinf(bound) else float(bound) for bound in self.bounds)
        published = self.published
        return {
            "quantity": self.quantity,
            "measured": float(np.mean(self.measured)),
            "values": [float(value) for value in self.measured],
            "published": list(published) if isinstance(published, tuple) else published,
            "agrees_from": low,
            "agrees_to": high,
            "inside": self.inside,
            "within": self.within,
            "source": self.source,
        }

    def _published(self) -> str:
        margin = f" +- {100 * self.tolerance:g} %" if self.tolerance else ""
        if not isinstance(self.published, tuple):
            return f"{self.published:g}{margin}"
        low, high = self.published
        if low is None:
            return f"at most {high:g}{margin}"
        if high is None:
            return f"at least {low:g}{margin}"
        return f"{low:g} to {high:g}{margin}"
