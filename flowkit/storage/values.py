"""Nested Python values as JSON text, from which they come back equal and of the same type.

JSON has one kind of sequence, text keys only and finite numbers only. What goes beyond that is an
object of one key: a tuple is `{"$tuple": [..]}`, a non-finite number `{"$float": "nan"}`, and a
mapping with other keys than text, or with one text that starts with `$`, is
`{"$dict": [[key, value], ..]}`. Scalars of NumPy and JAX become Python's.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

_FROM_TAG = {"$tuple": tuple, "$float": float, "$dict": dict}


def as_text(value: Any, name: str) -> str:
    """A value as JSON text.

    Args:
        value: Numbers, text, None, and lists, tuples and mappings of these.
        name: What the value is called in an error.

    Returns:
        Standard JSON; a finite number is written with all its digits.

    Raises:
        ValueError: something in the value is of another kind.
    """
    return json.dumps(_tagged(value, name), allow_nan=False)


def from_text(text: str) -> Any:
    """The value that `as_text` wrote."""
    return json.loads(text, object_hook=_untagged)


def _tagged(value: Any, name: str) -> Any:
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list):
        return [_tagged(item, name) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [_tagged(item, name) for item in value]}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"Argument `{name}` must hold numbers, text, None, and lists, tuples and mappings of "
            f"these, but it holds a `{type(value).__name__}`."
        )
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _tagged(item, name) for key, item in value.items()}
    return {"$dict": [[_tagged(key, name), _tagged(item, name)] for key, item in value.items()]}


def _untagged(members: dict[str, Any]) -> Any:
    if len(members) == 1:
        [(tag, body)] = members.items()
        if tag in _FROM_TAG:
            return _FROM_TAG[tag](body)
    return members
