"""What a value is, in one digest that another process computes again.

Nothing that differs between two processes enters it: no address, no hash of Python's own, no order
of a set. Values count by what they hold, functions by what they do:

- Arrays by type, shape and bits; containers by their items in their order; other objects by their
  class and by what they would hand to `pickle`, or else by their attributes.
- Functions by code, defaults, attributes, what they close over, and the globals that they name,
  also those that they name in modules (`module.name`). Line numbers and names do not count.
- Classes by their members and bases.
- What a library keeps under a name (`jax.numpy.sin`, `flowkit.FactorFlow`) by that name, and the
  globals of a library's functions are not followed. A library is flowkit itself, the standard
  library and all that is installed in `site-packages`. Its version does not count.
- What cannot be read, such as a lock, an open file or a function in C, by its type and its own
  qualified name, if it has one. Modules that a function imports in its body are not followed.
"""

import copyreg
import dis
import functools
import hashlib
import re
import sys
import types
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.tree_util import PyTreeDef

PLAIN = (type(None), bool, int, float, complex, str, bytes, types.EllipsisType)
DEEPEST = 50_000  # calls of Python; 5000 functions in a row take half of them
INSTALLED = {"site-packages", "dist-packages"}

_ADDRESS = re.compile(r"( at)? 0x[0-9a-f]+")
_CACHES = (type(jax.jit(lambda: 0)), functools._lru_cache_wrapper)
_WRAPPERS = (*_CACHES, staticmethod, classmethod)


def fingerprint(value: Any) -> str:
    """A digest of any value: equal in every process where the value is the same, and only there.

    Args:
        value: Any value; see the head of this module for what counts.

    Returns:
        Hexadecimal digits.
    """
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(max(usual, DEEPEST))  # functions that name one another make long chains
    try:
        return _Reading().digest(value).hex()
    finally:
        sys.setrecursionlimit(usual)


class _Reading:
    """One walk through a value, which knows what it has read and what it stands in."""

    def __init__(self):
        self._read: dict[int, tuple[Any, bytes]] = {}  # the values, too, so that no id returns
        self._inside: dict[int, int] = {}

    def digest(self, value: Any) -> bytes:
        if type(value) in PLAIN:
            return _hash(type(value).__name__.encode(), repr(value).encode())
        if id(value) in self._read:
            return self._read[id(value)][1]
        if id(value) in self._inside:
            return _hash(b"again", str(len(self._inside) - self._inside[id(value)]).encode())
        self._inside[id(value)] = len(self._inside)
        digest = _hash(*self._parts(value))
        del self._inside[id(value)]
        self._read[id(value)] = (value, digest)
        return digest

    def _parts(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        yield _full_name(kind).encode()
        if isinstance(value, jax.Array | np.generic) or kind is np.ndarray:
            yield from self._array(value)
        elif kind in (list, tuple):
            yield from map(self.digest, value)
        elif kind in (dict, types.MappingProxyType):
            yield from map(self.digest, (part for item in value.items() for part in item))
        elif kind in (set, frozenset):
            yield from sorted(map(self.digest, value))
        elif kind is types.CodeType:
            yield from self._code(value)
        elif kind is types.ModuleType:
            yield value.__name__.encode()
        elif name := _library_name(value):
            yield name.encode()
        elif kind is types.FunctionType:
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        else:
            yield from self._object(value)

    def _array(self, array: Any) -> Iterator[bytes]:
        if isinstance(array, jax.Array):
            yield str(array.aval).encode()  # a key's way of drawing, and weak types
            if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
                array = jax.random.key_data(array)
        values = np.asarray(array)
        yield f"{values.dtype.descr}{values.dtype}{values.shape}".encode()
        yield self.digest(values.tolist()) if values.dtype.hasobject else values.tobytes()

    def _code(self, code: types.CodeType) -> Iterator[bytes]:
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        yield from map(self.digest, (counts, names, code.co_code, code.co_exceptiontable))
        yield from map(self.digest, code.co_consts)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        code = function.__code__
        given = (function.__defaults__, function.__kwdefaults__, vars(function))
        yield from map(self.digest, (code, *given))
        for cell in function.__closure__ or ():
            try:
                yield self.digest(cell.cell_contents)
            except ValueError:
                yield b"an empty cell"
        if not _is_library(function.__globals__.get("__name__")):
            known, attributes = function.__globals__, _attributes(code)
            yield from self._names(known, _globals(code) & known.keys(), attributes)

    def _names(
        self, known: dict[str, Any], names: set[str], attributes: set[str]
    ) -> Iterator[bytes]:
        """Globals, and what a function may ask of those that are modules."""
        for name in sorted(names):
            yield name.encode()
            value = known[name]
            yield self.digest(value)
            own = isinstance(value, types.ModuleType) and not _is_library(value.__name__)
            if own and value.__dict__ is not known:
                yield from self._names(
                    vars(value), (attributes - {name}) & vars(value).keys(), attributes - {name}
                )

    def _class(self, cls: type) -> Iterator[bytes]:
        yield _full_name(cls).encode() if _is_library(cls.__module__) else cls.__qualname__.encode()
        yield from map(self.digest, cls.__bases__)
        for name, member in sorted({} if _is_library(cls.__module__) else vars(cls).items()):
            if not name.startswith("__") or hasattr(type(member), "__get__"):
                yield name.encode()
                yield self.digest(member)

    def _object(self, value: Any) -> Iterator[bytes]:
        if isinstance(value, types.MethodType):
            yield from map(self.digest, (value.__func__, value.__self__))
        elif isinstance(value, property):
            yield from map(self.digest, (value.fget, value.fset, value.fdel))
        elif isinstance(value, _WRAPPERS):
            yield self.digest(getattr(value, "__wrapped__"))  # noqa: B009, as types hide it
        elif isinstance(value, PyTreeDef):
            yield from map(self.digest, (value.node_data(), value.children()))
        elif isinstance(value, Jaxpr):
            yield _ADDRESS.sub("", str(value)).encode()
        elif isinstance(value, ClosedJaxpr):
            yield from map(self.digest, (value.jaxpr, value.consts))
        else:
            yield self.digest(type(value))
            yield from map(self.digest, _state(value))


def _state(value: Any) -> list[Any]:
    """What an object is made of, as far as it tells."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        made: Any = reduce(value) if reduce else value.__reduce_ex__(2)
    except Exception:  # whatever an object does that is not made to be pickled
        return [getattr(value, "__dict__", None), _full_name(value)]
    if isinstance(made, str):
        return [_full_name(value), made]
    items, pairs = (list(part or ()) for part in (*made, None, None, None)[3:5])
    return [*made[:3], items, pairs]


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _full_name(value: Any) -> str:
    """Module and qualified name of what has them, such as a class or a function."""
    names = (getattr(value, name, "") for name in ("__module__", "__qualname__", "__name__"))
    return _ADDRESS.sub("", " ".join(name for name in names if isinstance(name, str)))


def _library_name(value: Any) -> str | None:
    """The name under which a library keeps this very object."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str) or not isinstance(module, str) or not _is_library(module):
        return None
    try:
        found = attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None
    return f"{module}.{name}" if found is value else None


@functools.cache
def _is_library(module: object) -> bool:
    if not isinstance(module, str):
        return False
    root = module.partition(".")[0]
    if root == "flowkit" or root in sys.stdlib_module_names or root == "builtins":
        return True
    loaded = sys.modules.get(root)
    places = [getattr(loaded, "__file__", None) or "", *getattr(loaded, "__path__", ())]
    return any(INSTALLED & set(Path(place).parts) for place in places)


def _globals(code: types.CodeType) -> set[str]:
    """The globals that code and the functions inside it name."""
    loads = (i for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    return {i.argval for i in loads}.union(*map(_globals, _inner(code)))


def _attributes(code: types.CodeType) -> set[str]:
    return set(code.co_names).union(*map(_attributes, _inner(code)))


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
