"""Derivations as text: LaTeX, and Markdown with formulas that GitHub draws."""

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import sympy as sp

from flowkit.claim import Claim

# What Markdown would read as its own; code stays, and _ after a letter opens nothing.
_SPECIAL = re.compile(r"`[^`]*`|[\\*~$]|<(?=[A-Za-z/!?])|(?<![^\W_])_")
_LIST_MARKER = re.compile(r"[-+*=#>] ")


Depth = int | sp.Symbol


@runtime_checkable
class Derived(Protocol):
    """What every result of the symbolic room can say about itself."""

    @property
    def name(self) -> str:
        """What was derived."""
        ...

    @property
    def source(self) -> str:
        """Where it is published."""
        ...

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The result, one equation per quantity."""
        ...

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is stated about it, each with a check."""
        ...


def parse_depth(text: str) -> Depth:
    """A depth as it is typed: digits are a number, a name is a symbol that stands for any."""
    if text.isidentifier():
        return sp.Symbol(text, integer=True, positive=True)
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"Argument `depth` must be a number or a letter, but it is {text!r}."
        ) from None


def latex(equations: Sequence[sp.Eq]) -> str:
    """Equations as LaTeX, one `aligned` environment."""
    lines = (f"{sp.latex(e.lhs)} &= {sp.latex(e.rhs)}" for e in equations)
    return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"


def markdown(derived: Derived) -> str:
    """A page in Markdown: title, source, equations and claims.

    Args:
        derived: A result with a name, a source, equations and claims.

    Returns:
        The page. Each equation is a `$$` block of its own, which GitHub draws.
    """
    title = derived.name[:1].upper() + derived.name[1:]
    blocks = [f"# {escape(title)}", f"Source: {escape(derived.source)}."]
    blocks += [display(sp.latex(equation)) for equation in derived.equations]
    if derived.claims:
        blocks += ["## Claims", "\n".join(_item(claim) for claim in derived.claims)]
    return "\n\n".join(blocks) + "\n"


def display(formula: str) -> str:
    """A formula in LaTeX as a `$$` block of Markdown, in what GitHub takes.

    It refuses `operatorname`, and would read a line that begins with a minus as a list.
    """
    formula = formula.replace(r"\operatorname{", r"\mathrm{")
    start = "{} " if _LIST_MARKER.match(formula) else ""
    return f"$$\n{start}{formula}\n$$"


def escape(text: str) -> str:
    """Plain text as Markdown that shows the same characters; `code` stays code."""
    keep_or_escape = lambda match: match[0] if match[0].startswith("`") else "\\" + match[0]
    return _SPECIAL.sub(keep_or_escape, text)


def _item(claim: Claim) -> str:
    return f"- **{escape(claim.name)}.** {escape(claim.statement)} ({escape(claim.source)})"
