"""What a function does, in short: its name if it is of a library, otherwise a hash of its code."""

import dis
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

Describe = Callable[[Any], Any]

RULES = ("jvp", "fwd", "bwd")  # of `jax.custom_jvp` and `jax.custom_vjp`


def is_function(value: Any) -> bool:
    """Whether it is a function, or one in the wrapping of a library, such as that of `jax.jit`."""
    kinds = types.FunctionType | types.MethodType | types.BuiltinFunctionType
    return isinstance(value, kinds) or hasattr(value, "__wrapped__") or _is_of_library(value)


def describe_function(function: Any, describe: Describe) -> Any:
    """The name of a function of a library; of another one also what it does.

    Args:
        function: What `is_function` takes for one.
        describe: How to describe what it refers to.

    Returns:
        The description, with a hash of the code and of all that it refers to.
    """
    if _is_of_library(function):
        return _name(function)
    if isinstance(function, types.MethodType):
        return {"method": describe(function.__func__), "of": describe(function.__self__)}
    if not isinstance(function, types.FunctionType):
        rules = {rule: describe(getattr(function, rule, None)) for rule in RULES}
        said = {rule: text for rule, text in rules.items() if text is not None}
        wrapped = describe(function.__wrapped__)
        return {"class": _name(type(function)), "wrapped": wrapped, **said}
    return f"{_name(function)} {_hash(_behaviour(function, describe))}"


def _behaviour(function: types.FunctionType, describe: Describe) -> Any:
    """The code of a function, and the values of all names in it."""
    names, around = function.__code__.co_freevars, function.__globals__
    cells = {n: _content(c) for n, c in zip(names, function.__closure__ or (), strict=True)}
    is_own = not _is_library(around.get("__name__", ""))
    read = {n: around[n] for n in _globals(function) if is_own and n in around}
    return [
        _code(function.__code__, describe),
        *(describe(values) for values in (cells, read, function.__defaults__)),
        describe(function.__kwdefaults__),
    ]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not there yet
        return None


def _globals(function: types.FunctionType) -> list[str]:
    """The names that a function, and those within it, read from its module."""
    found = set()
    for code in _codes(function.__code__):
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                found.add(step.argval)
    return sorted(found)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _code(code: types.CodeType, describe: Describe) -> Any:
    constants = [
        _code(c, describe) if isinstance(c, types.CodeType) else describe(c) for c in code.co_consts
    ]
    numbers = code.co_argcount, code.co_kwonlyargcount, code.co_flags
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, numbers]


def _is_of_library(function: Any) -> bool:
    """Whether it is what a library, or Python, or flowkit, has under its name."""
    module, name = (getattr(function, a, None) for a in ("__module__", "__qualname__"))
    if not isinstance(module, str) or not isinstance(name, str) or not _is_library(module):
        return False
    try:
        return attrgetter(name)(sys.modules[module]) is function
    except (AttributeError, KeyError):
        return False


@functools.cache
def _is_library(module: str) -> bool:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "flowkit":
        return True
    path = getattr(sys.modules.get(top), "__file__", None) or ""
    return path.startswith(tuple(sysconfig.get_path(name) for name in ("purelib", "platlib")))


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _hash(description: Any) -> str:
    return hashlib.sha256(repr(description).encode()).hexdigest()[:16]
