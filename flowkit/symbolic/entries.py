"""Flows of matrices written out: one scalar symbol for every entry, at explicit sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp
from sympy import MatPow, MatrixSymbol

from flowkit.symbolic.derivation import Derivation, Variable
from flowkit.symbolic.gradient import Expression
from flowkit.symbolic.witness import flat

Sizes = Mapping[sp.Symbol | str, int]


@dataclass(frozen=True)
class EntryFlow:
    """A flow of scalars: d(state)/dt = rates.

    Attributes:
        state: One symbol per scalar or matrix entry, the entry (i, j) of W named `W_i_j`.
        rates: The rate of each, per unit of flow time, in `state` and in the entries of the data.
    """

    state: tuple[sp.Symbol, ...]
    rates: tuple[sp.Expr, ...]


def symbolic_sizes(derivation: Derivation) -> tuple[sp.Symbol, ...]:
    """The symbols that stand for sizes of a flow's matrices, by name."""
    matrices = [x for x in _symbols(derivation) if isinstance(x, MatrixSymbol)]
    sizes = {size for matrix in matrices for size in matrix.shape if not size.is_Integer}
    return tuple(sorted(sizes, key=str))


def entry_flow(derivation: Derivation, sizes: Sizes | None = None) -> EntryFlow:
    """Write a flow out, entry by entry.

    Args:
        derivation: A flow of scalar and matrix symbols.
        sizes: An integer for every symbolic size, by symbol or name.

    Returns:
        The flow of the entries, row by row in the order of the state.

    Raises:
        ValueError: `sizes` leaves a size open, names a symbol that is none, or holds a number
            that is no positive integer; or a rate has a fractional or negative matrix power.
    """
    for rate in derivation.rates:
        _refuse_roots(rate)
    numbers = _numbers(derivation, sizes or {})
    entries = dict(numbers)
    for matrix in (x for x in _symbols(derivation) if isinstance(x, MatrixSymbol)):
        fixed = matrix.subs(numbers)
        entries[fixed] = _explicit_matrix(fixed)
    write_out = lambda parts: tuple(entry for part in parts for entry in flat(part, entries))
    return EntryFlow(state=write_out(derivation.state), rates=write_out(derivation.rates))


def _symbols(derivation: Derivation) -> tuple[Variable, ...]:
    return (*derivation.state, *derivation.data)


def _explicit_matrix(matrix: MatrixSymbol) -> sp.ImmutableMatrix:
    name = lambda i, j: sp.Symbol(f"{matrix.name}_{i}_{j}", real=True)
    return sp.ImmutableMatrix(*matrix.shape, name)


def _numbers(derivation: Derivation, sizes: Sizes) -> dict[sp.Symbol, sp.Integer]:
    by_name = {str(size): number for size, number in sizes.items()}
    known = {size.name: size for size in symbolic_sizes(derivation)}
    if by_name.keys() != known.keys():
        raise ValueError(
            f"Argument `sizes` must give each of {_listed(known)}, but it gives {_listed(by_name)}."
        )
    for name, number in by_name.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(
                f"Argument `sizes` must hold positive integers, but `{name}` is `{number!r}`."
            )
    return {known[name]: sp.Integer(number) for name, number in by_name.items()}


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def _refuse_roots(rate: Expression) -> None:
    """A root or an inverse of an explicit matrix is no polynomial, and may take hours to find."""
    for power in rate.atoms(MatPow) if isinstance(rate, sp.Basic) else ():
        if not (power.exp.is_Integer and power.exp >= 0):
            raise ValueError(
                f"Argument `derivation` must have polynomial rates, but one holds `{power}`."
            )
