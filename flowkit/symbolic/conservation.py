"""Quantities that a flow conserves for every data, found by exact linear algebra.

Source: Marcotte, Gribonval, Peyre 2023 (arXiv:2307.00144).
"""

from collections.abc import Sequence
from functools import cache

import sympy as sp
from sympy import MatrixExpr

from flowkit.claim import Claim
from flowkit.symbolic.balancedness import conservation_claim
from flowkit.symbolic.derivation import Derivation, mathml, vanishing
from flowkit.symbolic.entries import EntryFlow, Sizes, entry_flow, symbolic_sizes
from flowkit.symbolic.lie_algebra import first_integrals, split_by_data

SOURCE = "Marcotte, Gribonval, Peyre 2023, arXiv:2307.00144"


def conserved_quantities(
    derivation: Derivation, *, degree: int = 2, sizes: Sizes | None = None
) -> tuple[sp.Expr | MatrixExpr, ...]:
    """The polynomials in the state that a flow leaves constant, whatever the data.

    All h up to a total degree with <grad h, rate> = 0, identically in the state and the data (and
    the time, where a rate holds it).

    Args:
        derivation: A flow whose rates are polynomials with rational coefficients.
        degree: The highest total degree; a flow of symbolic sizes does not use it.
        sizes: An integer for every symbolic size, by symbol or name.

    Returns:
        Functionally independent laws, the lowest degrees first, in the state or, for matrices, in
        their entries: every other law up to the degree is a function of them near a generic
        point. Without `sizes`, a flow of symbolic sizes returns the matrix laws it carries, once
        each is proved.

    Raises:
        ValueError: `degree` is no positive integer, `sizes` does not fit, a rate is no polynomial,
            or sizes are symbolic and the flow carries no law.
        ArithmeticError: the flow carries a law that it does not conserve.

    Source:
        arXiv:2307.00144. Checked by tests/symbolic/test_conservation.py.
    """
    if sizes is None and symbolic_sizes(derivation):
        return _proved(derivation)
    check_degree(degree)
    return _laws(entry_flow(derivation, sizes), degree)


def conservation_claims(
    derivation: Derivation, laws: Sequence[sp.Expr | MatrixExpr], *, sizes: Sizes | None = None
) -> tuple[Claim, ...]:
    """For each law the claim that it is constant along a flow, whatever the data.

    Args:
        derivation: The flow.
        laws: What `conserved_quantities` finds for the flow and these sizes.
        sizes: An integer for every symbolic size, or none for matrix laws of symbolic size.

    Returns:
        Claims that d(law)/dt expands to zero, one per law.

    Raises:
        ValueError: `sizes` does not fit.

    Source:
        arXiv:2307.00144. Checked by tests/symbolic/test_conservation.py.
    """
    if sizes is None and symbolic_sizes(derivation):
        rates = dict(zip(derivation.state, derivation.rates, strict=True))
        return tuple(conservation_claim(law, rates) for law in laws)
    flow = entry_flow(derivation, sizes)
    return tuple(law_claim(law, [flow.rates], flow.state) for law in laws)


def law_claim(
    law: sp.Expr, fields: Sequence[Sequence[sp.Expr]], state: Sequence[sp.Symbol]
) -> Claim:
    """The claim that <grad law, field> = 0 for each of several vector fields on the state."""
    partials = [law.diff(x) for x in state]
    along = lambda field: sp.Add(*(p * f for p, f in zip(partials, field, strict=True)))
    return Claim(
        name=f"conserved: {law}",
        statement=f"{law} is constant along the flow, for any data.",
        source=SOURCE,
        check=lambda: vanishing(*(sp.expand(along(field)) for field in fields)),
        formulas=(mathml(law),),
    )


@cache
def _laws(flow: EntryFlow, degree: int) -> tuple[sp.Expr, ...]:
    ring, fields = split_by_data(flow.state, [flow.rates])
    return tuple(law.as_expr() for law in first_integrals(ring, fields, degree))


def check_degree(degree: object) -> None:
    """Refuse what is no positive integer."""
    if not isinstance(degree, int) or isinstance(degree, bool) or degree < 1:
        raise ValueError(f"Argument `degree` must be a positive integer, but it is `{degree!r}`.")


def _proved(derivation: Derivation) -> tuple[MatrixExpr, ...]:
    """The matrix laws that a flow of symbolic sizes carries, each one proved."""
    if not derivation.conserved:
        raise ValueError(
            f"Argument `sizes` must give {', '.join(map(str, symbolic_sizes(derivation)))}: the "
            f"{derivation.name} carries no law of symbolic size, but laws of entries can be found."
        )
    laws = derivation.conserved
    for law, claim in zip(laws, conservation_claims(derivation, laws), strict=True):
        if not (verdict := claim.check()).passed:
            raise ArithmeticError(f"The law `{law}` is not conserved: {verdict.measured}.")
    return laws
