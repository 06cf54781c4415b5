"""The house keeps its rooms: imports, file lengths and module forms follow the architecture."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import pytest

import flowkit

PACKAGE = Path(flowkit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]
CASES = list(zip(FILES, NAMES, strict=True))

# Library -> the rooms that may import it.
ROOMS = {
    "sympy": ("symbolic/", "lowering/"),
    "diffrax": ("dynamics/",),
    "optax": ("dynamics/",),
    "matplotlib": ("report/",),
}
SYMBOLIC_KNOWS = {"sympy", "mpmath", "flowkit", "numpy"}  # mpmath is what SymPy computes with
HEAVY = ("matplotlib", "sklearn", "cvxpy", "dask", "distributed", "xarray", "netCDF4", "zarr")
LONGEST_FILE = 300


def _imported(path: Path) -> set[str]:
    """Top-level names of the modules a file imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
    return modules


@pytest.mark.parametrize(("path", "name"), CASES, ids=NAMES)
def test_libraries_stay_in_their_rooms(path, name):
    for library, rooms in ROOMS.items():
        if library in _imported(path):
            assert name.startswith(rooms), f"{name} imports {library}, which lives in {rooms}"


def test_the_symbolic_room_knows_sympy_alone():
    standard = set(sys.stdlib_module_names)
    for path, name in CASES:
        if name.startswith("symbolic/"):
            assert _imported(path) - standard <= SYMBOLIC_KNOWS, name


def test_the_rule_would_catch_an_intruder(tmp_path):
    intruder = tmp_path / "intruder.py"
    intruder.write_text("def f():\n    import matplotlib.pyplot\n")
    assert "matplotlib" in _imported(intruder)


@pytest.mark.parametrize(("path", "name"), CASES, ids=NAMES)
def test_files_stay_short_and_are_named_for_what_they_hold(path, name):
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE
    assert not {"utils", "core", "common", "helpers"} & set(Path(name).with_suffix("").parts)


def _modules():
    for info in pkgutil.walk_packages([str(PACKAGE)], "flowkit."):
        yield importlib.import_module(info.name)


def test_every_equinox_module_is_abstract_or_final():
    classes = {
        value
        for module in _modules()
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, eqx.Module)
        and value.__module__.startswith("flowkit")
    }
    assert len(classes) > 8
    for kind in classes:
        if kind.__name__.lstrip("_").startswith("Abstract"):
            continue
        assert vars(kind).get("__final__"), f"{kind.__name__} is neither abstract nor final"
        assert not kind.__subclasses__()


def test_importing_flowkit_loads_no_heavy_library():
    code = f"import flowkit, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_flowkit_changes_no_jax_setting():
    code = (
        "import jax; before = dict(jax.config.values); import flowkit, flowkit.claims;"
        "print(before == dict(jax.config.values))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_public_names_resolve():
    for name in ("verify", "report", "datasets", "baselines", "estimators"):
        assert getattr(flowkit, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = flowkit.nonsense
