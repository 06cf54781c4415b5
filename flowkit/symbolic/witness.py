"""Witnesses of a gradient: every entry of it, at a size where scalar rules apply."""

import numpy as np
import sympy as sp
from sympy import MatPow, MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.hadamard import HadamardPower

from flowkit.claim import Verdict
from flowkit.symbolic.adjoints import Variable
from flowkit.symbolic.gradient import Expression
from flowkit.symbolic.semidefinite import real_powers
from flowkit.symbolic.vanishing import vanishes

STEP = 1e-5  # of central differences, whose error is its square, and rounding over it
BOUND = 1e-7  # relative to the largest entry of the gradient

_Entries = dict[sp.Basic, sp.Basic]


def check_witness(
    loss: sp.Expr, parameters: tuple[Variable, ...], rates: tuple[Expression, ...]
) -> Verdict:
    """Hold rates against minus the derivatives of the loss by each entry, on 2 x 2 matrices.

    Proved with SymPy's scalar rules; measured by central differences where the loss holds a real
    power of a matrix, whose entries have no closed form worth simplifying.

    Args:
        loss: A scalar expression.
        parameters: The symbols it was differentiated by.
        rates: The rate of each of them.

    Returns:
        A verdict that counts the entries that differ.
    """
    check = _measure if real_powers(loss) else _prove
    return check(loss, parameters, rates)


def _prove(
    loss: sp.Expr, parameters: tuple[Variable, ...], rates: tuple[Expression, ...]
) -> Verdict:
    entries = entries_at_size(2, loss)
    scalar_loss = _explicit(loss, entries)
    defects = [
        scalar_loss.diff(entry) + value
        for parameter, rate in zip(parameters, rates, strict=True)
        for entry, value in zip(flat(parameter, entries), flat(rate, entries), strict=True)
    ]
    wrong = sum(not vanishes(defect) for defect in defects)
    return Verdict(
        passed=wrong == 0,
        kind="proved",
        measured=f"{wrong} entries differ",
        expected="0 entries differ",
        numbers={"entries that differ": wrong},
    )


def _measure(
    loss: sp.Expr, parameters: tuple[Variable, ...], rates: tuple[Expression, ...]
) -> Verdict:
    entries = entries_at_size(2, loss)
    point = _random_point(loss, entries)
    stated = [float(value) for rate in rates for value in flat(rate, _at(point, entries))]
    free = [entry for parameter in parameters for entry in flat(parameter, entries)]

    def difference(entry: sp.Symbol) -> float:
        ends = ({**point, entry: point[entry] + sign * STEP} for sign in (1, -1))
        above, below = (float(_explicit(loss, _at(end, entries))) for end in ends)
        return (above - below) / (2 * STEP)

    slopes = np.array([difference(entry) for entry in free])
    error = float(np.max(np.abs(slopes + stated)) / np.max(np.abs(slopes)))
    return Verdict(
        passed=error < BOUND,
        kind="measured",
        measured=f"largest defect {error:.1e} of the largest entry",
        expected=f"below {BOUND:.0e} (central differences)",
        numbers={"relative defect": error},
    )


def _random_point(loss: sp.Expr, entries: _Entries) -> dict[sp.Symbol, sp.Float]:
    """A value between 1/2 and 3/2 for every entry and every scalar symbol."""
    symbols = {entry for value in entries.values() for entry in value.free_symbols}
    symbols |= {s for s in loss.free_symbols if s.is_Symbol and s not in entries}
    generator = np.random.default_rng(0)
    return {s: sp.Float(generator.uniform(0.5, 1.5)) for s in sorted(symbols, key=str)}


def _at(point: dict[sp.Symbol, sp.Float], entries: _Entries) -> _Entries:
    """The entries with numbers in place of symbols."""
    return {**point, **{symbol: value.xreplace(point) for symbol, value in entries.items()}}


def entries_at_size(size: int, loss: sp.Basic) -> _Entries:
    """Fix every symbolic size, and give every matrix symbol of that size explicit entries."""
    matrices = loss.atoms(MatrixSymbol)
    sizes = {s: sp.Integer(size) for m in matrices for s in m.shape if s.is_Symbol}
    fixed = {m: m.subs(sizes) for m in matrices}
    explicit = {
        symbol: sp.ImmutableMatrix(
            *symbol.shape, sp.symbols(f"{symbol.name}_:{symbol.rows}:{symbol.cols}", real=True)
        )
        for symbol in fixed.values()
    }
    return {**sizes, **explicit}


def _explicit(expression: sp.Basic, entries: _Entries) -> sp.Basic:
    """Evaluate node by node on explicit matrices; `doit` alone leaves some nodes standing."""
    sizes = {symbol: size for symbol, size in entries.items() if size.is_Integer}
    return _evaluate(expression.subs(sizes), entries)


def _evaluate(node: sp.Basic, entries: _Entries) -> sp.Basic:
    if node in entries or not node.args:
        return entries.get(node, node)
    arguments = [_evaluate(argument, entries) for argument in node.args]
    if isinstance(node, sp.Trace):
        return arguments[0].trace()
    if isinstance(node, HadamardPower):
        base, exponent = arguments
        return base.applyfunc(lambda entry: entry**exponent)
    if isinstance(node, MatPow) and not node.exp.is_Integer:
        return _numeric_power(*arguments)
    value = node.func(*arguments).doit()
    return value.as_explicit() if isinstance(value, MatrixExpr) else value


def _numeric_power(base: sp.MatrixBase, exponent: sp.Expr) -> sp.ImmutableMatrix:
    """A real power of a positive definite matrix of numbers."""
    values, vectors = np.linalg.eigh(np.array(base.tolist(), dtype=float))
    power = (vectors * values ** float(exponent)) @ vectors.T
    return sp.ImmutableMatrix(power.tolist())


def flat(expression: Expression, entries: _Entries) -> list[sp.Expr]:
    """The entries of an expression, row by row, with explicit sizes and matrices for symbols."""
    concrete = _explicit(expression, entries)
    return sp.flatten(concrete) if isinstance(concrete, sp.MatrixBase) else [concrete]
