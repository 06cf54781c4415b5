"""What a Gram matrix is, as plain data, and how two of them differ."""

import dataclasses
import hashlib
import types
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Shaped

Inputs = Shaped[np.ndarray, "..."]  # along the first axis
Description = dict[str, Any]


def describe_kernel(value: Any) -> Any:
    """A kernel, or a part of one, as plain data."""
    if isinstance(value, eqx.Module):
        fields = {
            f.name: describe_kernel(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, **fields}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe_kernel(part) for part in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    if callable(value) and hasattr(value, "__qualname__"):
        return _described_function(value)
    return str(value)


def _described_function(function: Any) -> str:
    """The name of a function; of one that others may share its name with, its code as well."""
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" not in name or not isinstance(function, types.FunctionType):
        return name
    cells = [describe_kernel(cell.cell_contents) for cell in function.__closure__ or ()]
    code = function.__code__
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    text = repr((code.co_code, constants, code.co_names, cells, function.__defaults__))
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


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
