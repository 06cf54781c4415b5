"""What a Gram matrix is, as plain data, and how two of them differ."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from flowkit.gramian.functions import Describe, describe_function, is_function
from flowkit.symbolic.exact_text import exact_text

Inputs = Shaped[np.ndarray, "..."]  # along the first axis
Description = dict[str, Any]


def describe_kernel(value: Any, within: tuple[int, ...] = ()) -> Any:
    """A kernel, or a part of one, as plain data, the same in every process.

    Args:
        value: The kernel or the part.
        within: The identities of what it is a part of.

    Raises:
        ValueError: a part is of a kind whose behaviour cannot be told from its parts.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, complex | bytes):
        return repr(value)
    if id(value) in within:
        return f"the {type(value).__name__} {len(within) - within.index(id(value))} levels up"
    describe = functools.partial(describe_kernel, within=(*within, id(value)))
    return _described(value, describe)


def _described(value: Any, describe: Describe) -> Any:
    """What consists of parts, or is a function, or has a text that says all."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = [f for f in dataclasses.fields(value) if f.compare]
        parts = {f.name: describe(getattr(value, f.name)) for f in fields}
        return {"class": _class_name(value), **parts}
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "arguments": value.args, "keywords": value.keywords}
        return {"class": "functools.partial", **{name: describe(parts[name]) for name in parts}}
    if isinstance(value, tuple | list):
        return [describe(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted((describe(part) for part in value), key=repr)
    if isinstance(value, dict):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    if is_function(value):
        return describe_function(value, describe)
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, np.dtype | slice | range) or value is Ellipsis:
        return repr(value)
    if type(value) is object:  # which has no parts, and stands for something omitted
        return "object"
    if type(value).__module__.partition(".")[0] == "sympy":
        return exact_text(value)
    raise ValueError(
        "Argument `kernel` must consist of numbers, texts, arrays, expressions, functions and "
        f"dataclasses of these to be kept in a store, but a part of it is a "
        f"`{type(value).__name__}`."
    )


def _class_name(value: Any) -> str:
    """The name of a class, with that of its module where that is not of flowkit."""
    kind = type(value)
    is_own = kind.__module__.partition(".")[0] == "flowkit"
    return kind.__qualname__ if is_own else f"{kind.__module__}.{kind.__qualname__}"


def fingerprints(inputs: Inputs, counts: Sequence[int]) -> list[str]:
    """SHA-256 of the first inputs, for several numbers of them, ascending."""
    digest, found, last = hashlib.sha256(), [], 0
    for count in counts:
        digest.update(np.ascontiguousarray(inputs[last:count]).tobytes())
        found.append(digest.hexdigest())
        last = count
    return found


def differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """Where two descriptions differ, in words: what is there, what here."""
    if isinstance(there, dict) and isinstance(here, dict) and there.keys() == here.keys():
        for key in there:
            yield from differences(there[key], here[key], f"{name}.{key}" if name else key)
    elif isinstance(there, dict) and isinstance(here, dict):
        changed = there.get("class", "another"), here.get("class", "another")
        yield f"`{name}` ({changed[0]}, not {changed[1]})"
    elif there != here:
        yield f"`{name}` ({_short(there)}, not {_short(here)})"


def differing_points(name: str, batches: list[list[Any]], inputs: Inputs) -> list[str]:
    """How inputs differ from those that begin with known batches: in number, or in value."""
    counts = [count for count, _ in batches]
    if counts[-1] > len(inputs):
        return [f"`{name}` ({counts[-1]} inputs, not {len(inputs)})"]
    found = fingerprints(inputs, counts)
    for (count, known), own in zip(batches, found, strict=True):
        if known != own:
            return [f"`{name}` (its first {count} inputs are others)"]
    return []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
