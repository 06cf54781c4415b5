"""Turn every literate script into a page of Markdown, `derivations/pages/NAME.md`.

The docstring becomes the title and the introduction, numbered comments become prose, the code stays
code, and what a step prints stands below it: formulas as formulas, the rest as text. The scripts
run, so that a page can only be written for a derivation that holds.
"""

import ast
import contextlib
import inspect
import itertools
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowkit.symbolic.presentation import display, escape

FOLDER = Path(__file__).parent
PAGES = FOLDER / "pages"
BODY = "    "  # main's indentation
STEP = re.compile(rf"{BODY}# (?P<number>\d+)\. ")
FORMULA_SIGNS = re.compile(r"[\\^_=]")
TWO_WORDS = re.compile(r"(?<![\\{\w])[A-Za-z]{2,}:? +[A-Za-z]{2,}\b")


@dataclass(frozen=True)
class Step:
    """One numbered step of a script: its lines, and its first line in the file, from 1."""

    first: int
    lines: tuple[str, ...]

    @property
    def comment(self) -> int:
        """How many lines the numbered comment has; none in front of the first step."""
        if not self.lines or not STEP.match(self.lines[0]):
            return 0
        rest = (i for i, x in enumerate(self.lines) if not x.startswith(f"{BODY}#"))
        return next(rest, len(self.lines))


class Recorder:
    """A standard output that notes which line of a script's `main` wrote what."""

    def __init__(self, script: Path):
        self.script = str(script)
        self.written: list[tuple[int, str]] = []

    def write(self, text: str) -> int:
        frame = sys._getframe(1)
        while frame and (frame.f_code.co_filename, frame.f_code.co_name) != (self.script, "main"):
            frame = frame.f_back
        self.written.append((frame.f_lineno if frame else 0, text))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def scripts() -> list[Path]:
    """The literate scripts, named by a letter and a number."""
    return sorted(FOLDER.glob("[A-Z][0-9]*.py"))


def render(script: Path) -> str:
    """Run a script, and write it out as a page of Markdown.

    Args:
        script: A file with a docstring and a function `main` with numbered comments.

    Returns:
        The page; the same text on every run.

    Raises:
        AssertionError: a step of the derivation does not hold.
        ValueError: the file has no docstring, or no `main` with one.
    """
    source = script.read_text(encoding="utf-8")
    module = ast.parse(source)
    title, _, introduction = _docstring(module, script).partition("\n")
    main, setting = _parts(module, source, script)
    printed = _run(script)
    blocks = [f"# {escape(title.rstrip('.'))}"]
    blocks += _prose(introduction.strip("\n").splitlines())
    blocks += [f"This page is made from [`{script.name}`](../{script.name}) by `render.py`."]
    blocks += _code(setting)
    for step in _steps(main, source):
        blocks += _render_step(step, printed)
    return "\n\n".join(blocks) + "\n"


def _docstring(node: ast.Module | ast.FunctionDef, script: Path) -> str:
    text = ast.get_docstring(node)
    if not text:
        raise ValueError(f"`{script.name}` must have a docstring here, but it has none.")
    return text


def _parts(module: ast.Module, source: str, script: Path) -> tuple[ast.FunctionDef, list[str]]:
    """The function `main`, and the lines before it that are no docstring: imports, helpers."""
    functions = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    if not functions:
        raise ValueError(f"`{script.name}` must have a function `main`, but it has none.")
    (main,) = functions
    lines = source.splitlines()
    before = lines[module.body[0].end_lineno : main.lineno - 1]
    after = lines[main.end_lineno :]
    guard = next((i for i, line in enumerate(after) if line.startswith("if __name__")), len(after))
    return main, before + after[:guard]


def _run(script: Path) -> list[tuple[int, str]]:
    main: Callable[[], None] = runpy.run_path(str(script))["main"]
    recorder = Recorder(script)
    with contextlib.redirect_stdout(recorder):
        main()
    return recorder.written


def _steps(main: ast.FunctionDef, source: str) -> list[Step]:
    """The body of `main` without its docstring, cut in front of every numbered comment."""
    lines = source.splitlines()[: main.end_lineno]
    start = main.body[0].end_lineno if ast.get_docstring(main) else main.lineno
    cuts = [i for i, line in enumerate(lines) if i >= start and STEP.match(line)]
    bounds = [start, *cuts, len(lines)]
    return [Step(a + 1, tuple(lines[a:b])) for a, b in itertools.pairwise(bounds)]


def _render_step(step: Step, printed: list[tuple[int, str]]) -> list[str]:
    comment = [line.removeprefix(f"{BODY}#") for line in step.lines[: step.comment]]
    code = [line.removeprefix(BODY) for line in step.lines[step.comment :]]
    last = step.first + len(step.lines)
    output = "".join(text for line, text in printed if step.first <= line < last)
    return _prose(_numbered(comment)) + _code(code) + _output(output)


def _numbered(comment: list[str]) -> list[str]:
    """The comment's lines at the margin, the number in bold."""
    if not comment:
        return []
    number, _, first = comment[0].strip().partition(" ")
    margin = len(number) + 2
    rest = [line[margin:] if line[:margin].isspace() else line.strip() for line in comment[1:]]
    return [f"**{number}** {first}", *rest]


def _prose(lines: list[str]) -> list[str]:
    """Paragraphs, with indented lines set apart as formulas in plain text."""
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        kind = "formula" if line.startswith("  ") else "prose" if line.strip() else "gap"
        if not blocks or blocks[-1][0] != kind:
            blocks.append((kind, []))
        blocks[-1][1].append(line)
    return [_block(kind, lines) for kind, lines in blocks if kind != "gap"]


def _block(kind: str, lines: list[str]) -> str:
    if kind == "formula":
        return "```text\n" + inspect.cleandoc("\n".join(["", *lines])) + "\n```"
    number = re.match(r"\*\*\d+\.\*\* ", lines[0])
    head = number[0] if number else ""
    return head + escape("\n".join([lines[0].removeprefix(head), *lines[1:]]))


def _code(lines: list[str]) -> list[str]:
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip("\n")
    return [f"```python\n{text}\n```"] if text else []


def _output(text: str) -> list[str]:
    """Printed formulas as `$$` blocks, everything else as it is."""
    blocks: list[str] = []
    for line in filter(None, text.splitlines()):
        plain = f"```text\n{line}\n```"
        if _is_formula(line):
            blocks.append(display(line))
        elif blocks and blocks[-1].startswith("```"):
            blocks[-1] = blocks[-1].removesuffix("```") + f"{line}\n```"
        else:
            blocks.append(plain)
    return blocks


def _is_formula(line: str) -> bool:
    """Signs of mathematics, and no two plain words side by side."""
    without_text = re.sub(r"\\(text|operatorname|mathrm)\{[^}]*\}", "", line)
    return bool(FORMULA_SIGNS.search(line)) and not TWO_WORDS.search(without_text)


def main() -> None:
    """Write the page of every script."""
    PAGES.mkdir(exist_ok=True)
    for script in scripts():
        (PAGES / f"{script.stem}.md").write_text(render(script), encoding="utf-8")


if __name__ == "__main__":
    main()
