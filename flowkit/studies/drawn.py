"""Charts as plain data, for the files of studies."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

DIGITS = 6  # significant ones: far more than a picture shows


def drawn(chart: Any) -> Any:
    """What a chart draws, as JSON can hold it.

    Args:
        chart: A chart of `flowkit.claim`, or a value of one of its fields.

    Returns:
        Its fields by name, less those that are as they are by default. Numbers have 6 significant
        digits; those that are not finite are None.
    """
    if dataclasses.is_dataclass(chart):
        fields = {field: getattr(chart, field.name) for field in dataclasses.fields(chart)}
        return {f.name: drawn(value) for f, value in fields.items() if not _is_default(f, value)}
    if isinstance(chart, Mapping):
        return {label: drawn(value) for label, value in chart.items()}
    if isinstance(chart, str | int | np.integer | None):
        return int(chart) if isinstance(chart, np.integer) else chart
    if isinstance(chart, Sequence | np.ndarray):
        return [drawn(value) for value in chart]
    value = float(chart)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _is_default(field: dataclasses.Field, value: Any) -> bool:
    is_empty = isinstance(value, Mapping | tuple | str) and not value
    return is_empty or (isinstance(value, bool | None) and value == field.default)
