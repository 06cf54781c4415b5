"""Lie algebras of polynomial vector fields, and the polynomials that such fields leave constant.

Fields are tuples of elements of one polynomial ring over the rationals. Independence is decided at
a point of random integers modulo a prime. Vectors that are independent there are independent over
the rationals, and the fields on an open and dense set; so a rank found is a proven lower bound.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from math import gcd, prod
from typing import Any

import sympy as sp
from sympy import QQ
from sympy.polys.matrices import DomainMatrix
from sympy.polys.polyerrors import CoercionFailed
from sympy.polys.rings import PolyElement, PolyRing

Field = tuple[PolyElement, ...]
Point = tuple[int, ...]
Equation = dict[int, Any]  # the rational coefficient of each unknown that occurs

PRIME = 2**61 - 1  # a random point hides an independence with probability degree / PRIME at most


def split_by_data(
    state: Sequence[sp.Symbol], vectors: Sequence[Sequence[sp.Expr]]
) -> tuple[PolyRing, list[Field]]:
    """Split vectors that hold data into fields on the state: one per vector and data monomial.

    A vector sum_k (monomial k of the data) f_k vanishes on grad h for all data exactly where every
    field f_k does.

    Args:
        state: The variables of the ring.
        vectors: Per vector one polynomial for each state variable; every other symbol is data.

    Returns:
        The ring of the state, and the fields.

    Raises:
        ValueError: an entry is no polynomial with rational coefficients.
    """
    symbols = set().union(*(entry.free_symbols for vector in vectors for entry in vector))
    data = sorted(symbols - set(state), key=str)
    joint, ring = PolyRing((*state, *data), QQ), PolyRing(state, QQ)
    fields: dict[tuple, list[dict]] = {}
    for number, vector in enumerate(vectors):
        for i, entry in enumerate(vector):
            for exponents, coefficient in polynomial(joint, entry).terms():
                of_state, of_data = exponents[: len(state)], exponents[len(state) :]
                field = fields.setdefault((number, of_data), [{} for _ in state])
                field[i][of_state] = coefficient
    return ring, [tuple(ring.from_dict(part) for part in field) for field in fields.values()]


def polynomial(ring: PolyRing, expression: sp.Expr) -> PolyElement:
    """An expression as an element of a ring, or a ValueError that names it."""
    try:
        return ring.from_expr(expression)
    except (ValueError, CoercionFailed) as error:
        raise ValueError(
            f"Expression `{expression}` must be a polynomial with rational coefficients in "
            f"{', '.join(map(str, ring.symbols))}, but it is not."
        ) from error


class Span:
    """A space of vectors modulo the prime, in echelon form; it grows one vector at a time."""

    def __init__(self):
        self._rows: dict[int, list[int]] = {}

    def add(self, vector: Sequence[int]) -> bool:
        """Add a vector, and say whether it was outside of the space."""
        left = list(vector)
        for pivot, row in self._rows.items():
            if scale := left[pivot]:
                left = [(x - scale * y) % PRIME for x, y in zip(left, row, strict=True)]
        pivot = next((i for i, x in enumerate(left) if x), None)
        if pivot is None:
            return False
        inverse = pow(left[pivot], -1, PRIME)
        self._rows[pivot] = [x * inverse % PRIME for x in left]
        return True


def random_point(ring: PolyRing, seed: int) -> Point:
    """A point of random integers modulo the prime, the same for the same seed."""
    generator = random.Random(seed)
    return tuple(generator.randrange(1, PRIME) for _ in ring.gens)


def value(polynomial: PolyElement, point: Point) -> int:
    """The value of a polynomial at a point, modulo the prime."""
    total = 0
    for exponents, c in polynomial.terms():
        powers = (pow(x, e, PRIME) for x, e in zip(point, exponents, strict=True) if e)
        total += int(c.numerator) * pow(int(c.denominator), -1, PRIME) * prod(powers)
    return total % PRIME


def along(field: Field, polynomial: PolyElement) -> PolyElement:
    """The derivative <grad h, f> of a polynomial h along a field f."""
    occurring = {i for exponents in polynomial.itermonoms() for i, e in enumerate(exponents) if e}
    parts = (polynomial.diff(i) * field[i] for i in sorted(occurring) if field[i])
    return sum(parts, polynomial.ring.zero)


def bracket(first: Field, second: Field) -> Field:
    """The Lie bracket [f, g] = (Dg) f - (Df) g."""
    return tuple(along(first, g) - along(second, f) for f, g in zip(first, second, strict=True))


def generated_fields(fields: Iterable[Field], point: Point) -> list[Field]:
    """A basis, at a generic point, of the values of the Lie algebra that fields generate.

    Brackets of the newest fields with the generators, until none leaves the span. A field that
    depends on others with functions as coefficients, f = sum c_i f_i, may be left out: its
    brackets are sum c_i [g, f_i] + (g c_i) f_i, which lie in the span of what is kept. For the
    same reason a round that adds nothing is the last one.

    Args:
        fields: The generators.
        point: Where independence is decided.

    Returns:
        Fields of the algebra that are independent at the point. Their number is its dimension
        there, unless the point is one of the few at which a bracket loses its independence.

    Source:
        Marcotte, Gribonval, Peyre 2023, arXiv:2307.00144.
    """
    span = Span()
    outside = lambda field: span.add([value(f, point) for f in field])
    generators = [field for field in fields if outside(field)]
    basis = list(generators)
    for newest in basis:  # grows on the way
        for generator in generators:
            if len(basis) == len(point):
                return basis
            candidate = bracket(generator, newest)
            if outside(candidate):
                basis.append(candidate)
    return basis


def first_integrals(ring: PolyRing, fields: Sequence[Field], degree: int) -> list[PolyElement]:
    """Polynomials that every field leaves constant: <grad h, f> = 0, identically.

    The coefficients of h solve a linear system, one equation per field and monomial of <grad h, f>.

    Args:
        ring: The ring of the fields' components.
        fields: The fields.
        degree: The highest total degree of h; constants are left out.

    Returns:
        Functionally independent polynomials with coprime integer coefficients, the lowest degrees
        first; every solution is a function of them.
    """
    monomials = [m for d in range(1, degree + 1) for m in _monomials(ring, d)]
    equations: dict[tuple, Equation] = {}
    for column, monomial in enumerate(monomials):
        for number, field in enumerate(fields):
            for exponents, coefficient in along(field, monomial).terms():
                equations.setdefault((number, exponents), {})[column] = coefficient
    return independent(_solutions(ring, monomials, list(equations.values())))


def _monomials(ring: PolyRing, degree: int) -> list[PolyElement]:
    return [prod(c, start=ring.one) for c in combinations_with_replacement(ring.gens, degree)]


def _solutions(
    ring: PolyRing, monomials: list[PolyElement], equations: list[Equation]
) -> list[PolyElement]:
    """The null space; a basis vector mixes its last monomial with earlier ones only."""
    shape = (len(equations), len(monomials))
    system = DomainMatrix(dict(enumerate(equations)), shape, ring.domain)
    rows = system.nullspace().rep.to_sdm()
    combine = lambda row: sum((monomials[i] * c for i, c in row.items()), ring.zero)
    return [_primitive(combine(row)) for row in rows.values()]


def _primitive(polynomial: PolyElement) -> PolyElement:
    """Coprime integer coefficients, the leading one positive."""
    _, whole = polynomial.clear_denoms()
    common = gcd(*(int(c) for c in whole.coeffs()))
    return whole.quo_ground(whole.ring.domain(common if whole.LC > 0 else -common))


def independent(polynomials: Iterable[PolyElement], seed: int = 0) -> list[PolyElement]:
    """The first polynomials whose gradients at a random point are linearly independent."""
    span = Span()
    gradient = lambda h: [value(h.diff(x), random_point(h.ring, seed)) for x in h.ring.gens]
    return [h for h in polynomials if span.add(gradient(h))]
