"""An expression as text that says all of it."""

import sympy as sp


def exact_text(expression: sp.Basic) -> str:
    """An expression with the assumptions of its symbols and all digits of its numbers."""
    return sp.srepr(expression)
