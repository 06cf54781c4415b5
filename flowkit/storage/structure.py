"""The structure of a pytree, apart from its leaves, as nested lists and text.

None is null, a leaf is the name under which it is stored, and a node is an object of one or two
keys: `{"tuple": [..]}`, `{"list": [..]}`, `{"dict": [[key, child], ..]}`, and for every other class
`{"node": class, "fields": [[field, child], ..]}`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.tree_util import all_leaves, keystr, tree_flatten_with_path
from jaxtyping import PyTree

Path = tuple[str, ...]

_SEQUENCES = {tuple: "tuple", list: "list"}
_KEYS = (str, int, float, bool)
_UNSAFE = re.compile(r"[^\w .+-]+")  # not allowed in a NetCDF name, or not in a file's


@dataclass(frozen=True)
class Shelf:
    """Leaves by name. Names are readable, unique whatever the case, and allowed in every format.

    Attributes:
        reserved: Names that no leaf may get.
        leaves: The leaves.
    """

    reserved: frozenset[str]
    leaves: dict[str, Any] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def put(self, leaf: Any, path: str) -> str:
        """Store a leaf under its path, cleaned and numbered where another has the name."""
        cleaned = _UNSAFE.sub("_", unicodedata.normalize("NFC", path)).strip(" ._+-")
        name = base = cleaned or "unnamed"
        number = 1
        while name.casefold() in self.taken or name.casefold() in self.reserved:
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name.casefold())
        self.leaves[name] = leaf
        return name


def described(tree: PyTree, shelf: Shelf, path: Path = ()) -> Any:
    """The structure of a tree, whose leaves go to the shelf under their paths."""
    if tree is None:
        return None
    if all_leaves([tree]):
        return shelf.put(tree, ".".join(path))
    down = lambda part, child: described(child, shelf, (*path, str(part)))
    if type(tree) in _SEQUENCES:
        return {_SEQUENCES[type(tree)]: [down(i, child) for i, child in enumerate(tree)]}
    if type(tree) is dict and all(type(key) in _KEYS for key in tree):
        return {"dict": [[key, down(key, child)] for key, child in tree.items()]}
    children, _ = tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    fields = [[part, down(part, child)] for (part,), child in _by_text(children)]
    return {"node": type(tree).__qualname__, "fields": fields}


def rebuilt(structure: Any, arrays: Mapping[str, Any], *, strict: bool = True) -> PyTree:
    """The tree of a structure.

    Args:
        structure: From `described`.
        arrays: The leaves by name.
        strict: Refuse nodes that are no tuple, list or dict; otherwise they become dicts.

    Raises:
        ValueError: such a node was met.
    """
    if structure is None or isinstance(structure, str):
        return None if structure is None else arrays[structure]
    if "node" in structure and strict:
        raise ValueError(
            f"Argument `like` must be a state of the same structure, whose arrays are not read, "
            f"but none is given and the stored state contains a `{structure['node']}`."
        )
    down = lambda child: rebuilt(child, arrays, strict=strict)
    for kind, name in _SEQUENCES.items():
        if name in structure:
            return kind(down(child) for child in structure[name])
    return {key: down(child) for key, child in structure.get("dict", structure.get("fields"))}


def rebuilt_like(structure: Any, arrays: Mapping[str, Any], like: PyTree) -> PyTree:
    """The tree of a structure, with the nodes of another tree; leaves are matched by their paths.

    Args:
        structure: From `described`.
        arrays: The leaves by name.
        like: A tree with the same paths. A leaf of it that is no array, such as an activation
            function, may be missing from the structure and becomes None.

    Raises:
        ValueError: a path or the shape of an array differs; leading axes may have been added.
    """
    names = leaf_names(structure)
    flat, treedef = tree_flatten_with_path(like)
    wanted = dict(_by_text(flat))
    known = {p for p, leaf in wanted.items() if p in names or _shape(leaf) is not None}
    surplus, lacking = known - names.keys(), names.keys() - known
    if surplus or lacking:
        path = ".".join(min(surplus or lacking)) or "(the state itself)"
        raise ValueError(
            f"Argument `like` must have the structure of the stored state, but that has "
            f"{'no' if surplus else 'a'} leaf `{path}`."
        )
    for path in known:
        stored, shape = arrays[names[path]].shape, _shape(wanted[path])
        if shape is not None and stored[len(stored) - len(shape) :] != shape:
            raise ValueError(
                f"Argument `like` must have the shapes of the stored state, but its leaf "
                f"`{'.'.join(path)}` is {shape} and the stored one {stored}."
            )
    return treedef.unflatten([arrays[names[p]] if p in names else None for p in wanted])


def _by_text(flat: list[tuple[Any, Any]]) -> list[tuple[Path, Any]]:
    """Leaves with their paths as text."""
    return [(tuple(keystr((k,), simple=True) for k in path), leaf) for path, leaf in flat]


def leaf_names(structure: Any, path: Path = ()) -> dict[Path, str]:
    """The name of every leaf of a structure, by its path."""
    if structure is None or isinstance(structure, str):
        return {} if structure is None else {path: structure}
    if "tuple" in structure or "list" in structure:
        children = enumerate(structure.get("tuple", structure.get("list")))
    else:
        children = structure.get("dict", structure.get("fields"))
    down = (leaf_names(child, (*path, str(part))) for part, child in children)
    return {p: name for names in down for p, name in names.items()}


def _shape(leaf: Any) -> tuple[int, ...] | None:
    """The shape of an array or of a description of one; None of anything else."""
    if isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return leaf.shape
    return () if isinstance(leaf, int | float | complex | np.generic) else None
