"""A trajectory as labelled data, and on disk; the format is described in `flowkit.storage`."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

import flowkit
from flowkit.storage.arrays import (
    NETCDF_TYPES,
    Arrays,
    as_bits,
    as_numeric,
    checked_path,
    existing_path,
    from_bits,
    load_arrays,
    replacing,
    save_arrays,
)
from flowkit.storage.structure import Shelf, described, leaf_names, rebuilt, rebuilt_like
from flowkit.storage.values import as_text, from_text
from flowkit.trajectory import Result, Trajectory

if TYPE_CHECKING:
    import xarray

FORMAT = "flowkit trajectory"
FORMAT_VERSION = 1
SUFFIXES = (".npz", ".nc", ".zarr")
ENGINES = {".nc": "netcdf4", ".zarr": "zarr"}
PACKAGES = {".nc": ("xarray", "netCDF4"), ".zarr": ("xarray", "zarr"), ".npz": ()}
NESTED = ("stats", "structure", "numpy_arrays", "types")  # as text in a dataset's attributes
UNITS = (
    "time and final_time count in the unit of the clock; states and final are in the problem's "
    "units; every other variable is in those that its observable returns"
)


@dataclass(frozen=True)
class _Content:
    """What the format consists of: arrays by name, and attributes."""

    arrays: Arrays
    attributes: dict[str, Any]


def save_trajectory(trajectory: Trajectory, path: str | PathLike[str]) -> None:
    """Write a trajectory to a file or folder, in the format of `flowkit.storage`.

    Arrays are stored bit for bit. An existing `path` is replaced, once the new one is complete.

    Args:
        trajectory: The trajectory. Its `interpolation` is not stored.
        path: Ends in `.npz`, or in `.nc` (NetCDF) or `.zarr`, which need the extra `labelled`.

    Raises:
        ValueError: the suffix is another one, or something in the trajectory cannot be stored.
        FileNotFoundError: the folder to write to does not exist.
        ImportError: the extra is needed and not installed.
    """
    path = checked_path(path, SUFFIXES)
    check_installed(*PACKAGES[path.suffix])
    content = _content(trajectory)
    if path.suffix == ".npz":
        save_arrays(path, content.arrays, content.attributes)
        return
    dataset = _labelled(content, *as_bits(content.arrays, NETCDF_TYPES))
    # With NaN as the fill value, a chunk of NaNs counts as empty, and comes back with other bits.
    encoding: Any = {name: {"_FillValue": None} for name in dataset.variables}
    with replacing(path) as new:
        if path.suffix == ".nc":
            dataset.to_netcdf(new, engine="netcdf4", format="NETCDF4", encoding=encoding)
        else:
            dataset.to_zarr(str(new), zarr_format=2, consolidated=True, encoding=encoding)


def load_trajectory(path: str | PathLike[str], *, like: PyTree = None) -> Trajectory:
    """Read what `save_trajectory` wrote.

    What was a JAX array is one again, what was a NumPy array too, of the same type and bits. The
    interpolation of a dense trajectory is not stored: `at` answers at saved times only.

    Args:
        path: The file or folder.
        like: A state of the same structure, of which the values are not read. Needed where the
            state is made of other nodes than tuples, lists and dicts, such as Equinox modules. An
            observable with such nodes comes back with a dict of its fields for each.

    Returns:
        The trajectory.

    Raises:
        FileNotFoundError: nothing is at `path`.
        ValueError: it is no trajectory, or damaged, or in a newer format; `like` is needed, or
            does not fit; or a JAX array of 64 bits is to be read while JAX's x64 mode is off.
        ImportError: the extra `labelled` is needed and not installed.
    """
    path = existing_path(path, SUFFIXES)
    check_installed(*PACKAGES[path.suffix])
    content = _read(path)
    attributes, structure = content.attributes, content.attributes["structure"]
    numpy_arrays = {"time", "final_time", *attributes["numpy_arrays"]}
    arrays: dict[str, Any] = {
        name: array if name in numpy_arrays else _as_jax(array, name, path)
        for name, array in content.arrays.items()
    }
    build = rebuilt if like is None else lambda part, arrays: rebuilt_like(part, arrays, like)
    return Trajectory(
        ts=arrays["time"],
        states=build(structure["states"], arrays),
        final=build(structure["final"], arrays),
        final_time=float(arrays["final_time"]),
        observables=rebuilt(structure["observables"], arrays, strict=False),
        result=Result(bool(attributes["successful"]), attributes["reason"]),
        stats=attributes["stats"],
        clock=attributes["clock"],
    )


def to_dataset(trajectory: Trajectory) -> "xarray.Dataset":
    """A trajectory as a labelled dataset.

    Args:
        trajectory: The trajectory.

    Returns:
        Every array of the states, of the final state and of the observables as a variable of that
        name, along the coordinate `time`, with the attributes of the format of `flowkit.storage`.

    Raises:
        ImportError: xarray is not installed.
        ValueError: a leaf holds no numbers, or not one entry for each time.
    """
    check_installed("xarray")
    content = _content(trajectory)
    return _labelled(content, content.arrays, {})


def _content(trajectory: Trajectory) -> _Content:
    shelf = Shelf(frozenset({"time", "final_time", "attributes"}))
    structure = {
        "states": described(trajectory.states, shelf, ("states",)),
        "final": described(trajectory.final, shelf, ("final",)),
        "observables": described(dict(trajectory.observables), shelf),
    }
    arrays = {name: as_numeric(leaf, name) for name, leaf in shelf.leaves.items()}
    arrays["time"] = as_numeric(trajectory.ts, "time")
    arrays["final_time"] = np.asarray(trajectory.final_time, float)
    _check_shapes(arrays, structure)
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "flowkit_version": flowkit.__version__,
        "units": UNITS,
        "clock": trajectory.clock,
        "successful": int(trajectory.result.successful),
        "reason": trajectory.result.reason,
        "stats": from_text(as_text(trajectory.stats, "stats")),
        "structure": structure,
        "numpy_arrays": [n for n, leaf in shelf.leaves.items() if not isinstance(leaf, jax.Array)],
    }
    return _Content(arrays, attributes)


def _check_shapes(arrays: Arrays, structure: Mapping[str, Any]) -> None:
    """Refuse a trajectory whose arrays are not what the format says."""
    times = arrays["time"].shape
    for part in ("states", "observables"):
        for name in leaf_names(structure[part]).values():
            if arrays[name].shape[:1] != times:
                raise ValueError(
                    f"Array `{name}` must have one entry for each of the {times[0]} times, but its "
                    f"shape is {arrays[name].shape}."
                )
    states, final = leaf_names(structure["states"]), leaf_names(structure["final"])
    of_states = {path: arrays[name].shape[1:] for path, name in states.items()}
    if of_states != {path: arrays[name].shape for path, name in final.items()}:
        raise ValueError("Attribute `final` must have the structure of one state, but it has not.")


def _labelled(content: _Content, arrays: Arrays, types: dict[str, str]) -> "xarray.Dataset":
    """The dataset of a content, whose arrays may be stored as other types."""
    import xarray

    structure = content.attributes["structure"]
    states, final = leaf_names(structure["states"]), leaf_names(structure["final"])
    axes_of = {name: states[path] for path, name in final.items()}
    variables = {}
    for name, array in arrays.items():
        has_time = name not in axes_of and name != "final_time"
        axes = range(content.arrays[name].ndim - has_time)
        dims = [f"{axes_of.get(name, name)}:axis_{k}" for k in axes]
        parts = ["parts:real_imaginary"] * (array.ndim - content.arrays[name].ndim)
        variables[name] = (["time"] * has_time + dims + parts, array)
    variables["time"] += ({"long_name": content.attributes["clock"]},)
    attributes = content.attributes | {"types": types}
    flat = {k: as_text(v, k) if k in NESTED else v for k, v in attributes.items()}
    return xarray.Dataset(variables, attrs=flat)


def _read(path: Path) -> _Content:
    attributes: Any
    if path.suffix == ".npz":
        arrays, attributes = load_arrays(path)
    else:
        arrays, attributes = _read_dataset(path)
    if not isinstance(attributes, Mapping) or attributes.get("format") != FORMAT:
        raise ValueError(f"Argument `path` must be a stored trajectory, but `{path}` is not one.")
    if attributes["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"Argument `path` must be of format version {FORMAT_VERSION} or older, but `{path}` is "
            f"of version {attributes['format_version']}, written by flowkit "
            f"{attributes['flowkit_version']}; a newer flowkit reads it."
        )
    if path.suffix != ".npz":
        attributes = {k: from_text(v) if k in NESTED else v for k, v in attributes.items()}
        arrays = from_bits(arrays, attributes["types"])
    leaves = [leaf_names(part).values() for part in attributes["structure"].values()]
    if lost := {"time", "final_time"}.union(*leaves) - arrays.keys():
        raise ValueError(f"Argument `path` must be whole, but `{path}` lacks `{min(lost)}`.")
    return _Content(arrays, dict(attributes))


def _read_dataset(path: Path) -> tuple[Arrays, dict[str, Any]]:
    import xarray

    options: Any = {"consolidated": False} if path.suffix == ".zarr" else {}
    try:
        with xarray.open_dataset(
            path, engine=ENGINES[path.suffix], decode_cf=False, **options
        ) as dataset:
            arrays = {str(name): v.values for name, v in dataset.variables.items()}
            return arrays, dict(dataset.attrs)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"Argument `path` must be a stored trajectory, but `{path}` cannot be read."
        ) from error


def _as_jax(array: Shaped[np.ndarray, "..."], name: str, path: Path) -> Array:
    converted = jnp.asarray(array)
    if converted.dtype != array.dtype:
        raise ValueError(
            f"Argument `path` must hold types that JAX now has, but `{name}` of `{path}` is of "
            f"type {array.dtype}; set jax.config.update('jax_enable_x64', True) before."
        )
    return converted


def check_installed(*packages: str) -> None:
    """Refuse, with an ImportError, what needs a package that is missing."""
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"Labelled data needs `{package}`, which is not installed: "
                f"pip install 'gradient-flowkit[labelled]'. A .npz file needs no extra."
            ) from error
