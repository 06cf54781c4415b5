"""What a value is, in one digest that another process computes again."""

import functools
import hashlib
import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(value: PyTree) -> str:
    """A digest of a pytree: its structure, static parts, numbers, bits of arrays, and functions.

    A function counts by its name, its code and defaults, and what it closes over. Functions that
    it calls by a global name are not followed.

    Args:
        value: Any pytree.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in _parts(value, frozenset()):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(value: PyTree, seen: frozenset[int]) -> Iterator[bytes]:
    arrays, others = eqx.partition(value, eqx.is_array)
    yield _text(eqx.tree_pformat(value, short_arrays=True))
    for array in jax.tree.leaves(arrays):
        yield from _bits(array)
    for leaf in jax.tree.leaves(others):
        yield from _leaf(leaf, seen)


def _leaf(leaf: Any, seen: frozenset[int]) -> Iterator[bytes]:
    """What the text of a leaf does not say."""
    if not callable(leaf) or id(leaf) in seen:
        return
    seen = seen | {id(leaf)}
    if isinstance(leaf, functools.partial):
        yield from _parts((leaf.func, leaf.args, leaf.keywords), seen)
    if isinstance(leaf, types.MethodType):
        yield from _parts((leaf.__func__, leaf.__self__), seen)
    function = inspect.unwrap(leaf)
    if isinstance(function, types.FunctionType):
        yield from _code(function.__code__)
        inside = [cell.cell_contents for cell in function.__closure__ or ()]
        yield from _parts((inside, function.__defaults__, function.__kwdefaults__), seen)


def _code(code: types.CodeType) -> Iterator[bytes]:
    yield _text(f"{code.co_qualname} {code.co_names}")
    yield code.co_code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield _text(repr(constant))


def _bits(array: Any) -> Iterator[bytes]:
    is_key = isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    values = np.asarray(jax.random.key_data(array) if is_key else array)
    yield _text(f"{values.dtype}{values.shape}")
    yield values.tobytes()


def _text(text: str) -> bytes:
    return _ADDRESS.sub("", text).encode()
