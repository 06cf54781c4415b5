"""Every derivation runs from top to bottom, and its page in derivations/pages is what it prints."""

import runpy
from pathlib import Path

import jax
import pytest

FOLDER = Path(__file__).parents[1] / "derivations"
SCRIPTS = sorted(FOLDER.glob("[A-Z][0-9]*.py"))
RENDERER = runpy.run_path(str(FOLDER / "render.py"))
SCRIPT = '''"""A title with a_b in it.

Some introduction.
"""

import sympy as sp


def main() -> None:
    """Do it."""
    x = sp.Symbol("x_1")
    # 1. The square of x_1 is
    #        x_1 * x_1,
    #    as everyone knows.
    for power in (2, 3):
        print(sp.latex(x**power))
        print(f"at {power}: two words, x_1^{power}")

    # 2. Nothing is printed here.
    assert x != 0  # a remark


if __name__ == "__main__":
    main()
'''


LONG = ("A4_closed_forms", "A7_scalar_and_diagonal")
CASES = [
    pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else (), id=path.stem)
    for path in SCRIPTS
]


@pytest.mark.parametrize("path", CASES)
def test_the_page_is_current(path):
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        page = RENDERER["render"](path)
    assert page == (FOLDER / "pages" / f"{path.stem}.md").read_text(encoding="utf-8")


def test_every_page_has_a_script_and_a_link():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.stem for path in (FOLDER / "pages").glob("*.md"))
    assert pages == [path.stem for path in SCRIPTS]
    assert all(f"](pages/{page}.md)" in index for page in pages)


def test_a_script_becomes_title_prose_code_and_formulas(tmp_path):
    path = tmp_path / "A0_example.py"
    path.write_text(SCRIPT)
    page = RENDERER["render"](path)
    title, introduction, _, setting, setup, *steps = page.split("\n\n")
    assert title == "# A title with a_b in it"
    assert introduction == "Some introduction."
    assert setting == "```python\nimport sympy as sp\n```"
    assert setup == '```python\nx = sp.Symbol("x_1")\n```'
    assert steps[0] == "**1.** The square of x_1 is"
    assert steps[1] == "```text\nx_1 * x_1,\n```"
    assert steps[2] == "as everyone knows."
    assert "for power in (2, 3):" in steps[3]
    assert steps[4] == "$$\nx_{1}^{2}\n$$"
    assert steps[5] == "```text\nat 2: two words, x_1^2\n```"
    assert steps[6] == "$$\nx_{1}^{3}\n$$"
    assert steps[8] == "**2.** Nothing is printed here."
    assert steps[9] == "```python\nassert x != 0  # a remark\n```\n"


def test_a_step_that_does_not_hold_has_no_page(tmp_path):
    path = tmp_path / "A0_example.py"
    path.write_text(SCRIPT.replace("assert x != 0", "assert x == 0"))
    with pytest.raises(AssertionError):
        RENDERER["render"](path)


def test_a_script_without_main_is_refused(tmp_path):
    path = tmp_path / "A0_example.py"
    path.write_text(SCRIPT.replace("def main", "def other"))
    with pytest.raises(ValueError, match="must have a function `main`"):
        RENDERER["render"](path)
