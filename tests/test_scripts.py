"""The examples run and do what they say; derivations run where they are rendered, in test_pages."""

import ast
import re
import runpy
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
LONG = (
    "A2_sweep",
    "A3_what_training_follows",
    "A4_your_own_loss",
    "B0_first_completion",
    "B1_real_temperatures",
    "B2_depth_or_nuclear_norm",
    "B3_why_norms_fail",
    "B4_inpainting",
    "C2_learning_curve",
    "C3_kernel_flow",
    "C4_ridge_or_early_stopping",
)
SCRIPTS = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem)
    for path in sorted(ROOT.glob("examples/*.py"))
]


def _main(path):
    return runpy.run_path(str(path))["main"]


@pytest.mark.parametrize("path", SCRIPTS)
def test_the_script_runs(path, tmp_path, capsys):
    arguments = {"figure": tmp_path / "figure.png"} if "figure: Path" in path.read_text() else {}
    with jax.numpy_dtype_promotion("standard"):  # as users have it, and Optax's Adam needs
        _main(path)(**arguments)
    assert capsys.readouterr().out
    for written in arguments.values():
        assert written.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("folder", ["examples", "derivations"])
def test_every_script_is_in_its_index(folder):
    index = (ROOT / folder / "README.md").read_text()
    for path in ROOT.glob(f"{folder}/*.py"):
        assert f"`{path.name}`" in index


def test_the_example_of_the_readme_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(code.strip().splitlines()) <= 16
    exec(compile(ast.parse(code), "README.md", "exec"), {})
    slope = float(capsys.readouterr().out.split()[-1])
    assert slope == pytest.approx(1, abs=0.05)


def test_the_readme_points_at_files_that_exist():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
