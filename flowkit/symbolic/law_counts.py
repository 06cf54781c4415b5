"""How many quantities the training of a model conserves: the rank of a Lie algebra.

The loss moves the parameters by combinations of the gradients of the model's outputs. What no loss
and no data change is constant along each gradient, hence along their brackets, and nothing else is
needed: near a generic point there are D - r independent laws, for D parameters and a Lie algebra
of rank r. Source: Marcotte, Gribonval, Peyre 2023 (arXiv:2307.00144).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.conservation import SOURCE, check_degree, law_claim
from flowkit.symbolic.derivation import defined
from flowkit.symbolic.lie_algebra import (
    along,
    first_integrals,
    generated_fields,
    independent,
    polynomial,
    random_point,
    split_by_data,
)


@dataclass(frozen=True)
class LawCount:
    """The number of conservation laws of a model, and those that are polynomials.

    Attributes:
        outputs: The model's outputs as functions of its parameters.
        parameters: What is trained.
        rank: The rank r of the Lie algebra that the outputs' gradients generate.
        laws: The number of independent laws near a generic point, D - r.
        polynomial_laws: Independent laws up to the degree that was asked for.
        claims: What is stated about the count, each with a check.
    """

    outputs: tuple[sp.Expr, ...]
    parameters: tuple[sp.Symbol, ...]
    rank: int
    laws: int
    polynomial_laws: tuple[sp.Expr, ...]
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was counted."""
        return f"conservation laws of {len(self.parameters)} parameters"

    @property
    def source(self) -> str:
        """Where the count is published."""
        return SOURCE

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """Each law that was found, as a constant."""
        return tuple(defined(f"c_{{{i}}}", law) for i, law in enumerate(self.polynomial_laws, 1))


def count_laws(
    parametrization: Sequence[sp.Expr], parameters: Sequence[sp.Symbol], *, degree: int = 2
) -> LawCount:
    """Count the conservation laws of gradient flow on l(phi_1, .., phi_k), for every loss l.

    The loss may depend on the outputs in any way, and on their values at many inputs.

    Args:
        parametrization: The outputs phi_i, polynomials in the parameters with rational
            coefficients. Every other symbol is an input, which may take any value; a regularizer
            is one more output.
        parameters: What is trained.
        degree: The highest total degree at which laws are searched for.

    Returns:
        The count, with claims that each law found is conserved and that the count holds. Laws
        found and counted agree unless some law is no polynomial of this degree.

    Raises:
        ValueError: an output is no polynomial in the parameters, the parameters are none, no
            symbols or repeated, or `degree` is no positive integer.

    Source:
        arXiv:2307.00144. Checked by tests/symbolic/test_conservation.py.
    """
    check_degree(degree)
    parameters = tuple(parameters)
    if not parameters or not all(isinstance(x, sp.Symbol) for x in parameters):
        raise ValueError(f"Argument `parameters` must hold symbols, but it is `{parameters}`.")
    if len(set(parameters)) < len(parameters):
        raise ValueError(f"Argument `parameters` must not repeat, but it is `{parameters}`.")
    return _count(tuple(map(sp.sympify, parametrization)), parameters, degree)


@cache
def _count(
    outputs: tuple[sp.Expr, ...], parameters: tuple[sp.Symbol, ...], degree: int
) -> LawCount:
    ring, fields = split_by_data(parameters, _gradients(outputs, parameters))
    rank = len(generated_fields(fields, random_point(ring, seed=0)))
    count = LawCount(
        outputs=outputs,
        parameters=parameters,
        rank=rank,
        laws=len(parameters) - rank,
        polynomial_laws=tuple(law.as_expr() for law in first_integrals(ring, fields, degree)),
    )
    return replace(count, claims=count_claims(count))


def _gradients(
    outputs: tuple[sp.Expr, ...], parameters: tuple[sp.Symbol, ...]
) -> list[list[sp.Expr]]:
    return [[output.diff(x) for x in parameters] for output in outputs]


def count_claims(count: LawCount) -> tuple[Claim, ...]:
    """The claims that each law of a count is conserved, and that their number is what it says."""
    gradients = _gradients(count.outputs, count.parameters)
    conserved = (law_claim(law, gradients, count.parameters) for law in count.polynomial_laws)
    bounded = Claim(
        name=f"{count.laws} laws of {len(count.parameters)} parameters",
        statement=f"There are {count.laws} independent laws: the number of parameters less the "
        f"rank of the Lie algebra, {count.rank}.",
        source=SOURCE,
        check=lambda: _check_bounds(count),
    )
    return (*conserved, bounded)


def _check_bounds(count: LawCount) -> Verdict:
    """Bound the number of laws from both sides, at a point that the count has not seen.

    Brackets that are independent at a point prove that there are no more laws, and laws whose
    gradients are independent prove that there are no fewer; where the bounds meet, it is a proof.
    """
    gradients = _gradients(count.outputs, count.parameters)
    ring, fields = split_by_data(count.parameters, gradients)
    most = len(count.parameters) - len(generated_fields(fields, random_point(ring, seed=1)))
    found = [polynomial(ring, law) for law in count.polynomial_laws]
    constant = [law for law in found if not any(along(field, law) for field in fields)]
    least = len(independent(constant, seed=1))
    return Verdict(
        passed=least <= count.laws == most == len(count.parameters) - count.rank,
        kind="proved" if least == most else "measured",
        measured=f"at least {least} laws and at most {most}",
        expected=f"at most {count.laws} laws, with the bounds equal where all are polynomials",
        numbers={"at least": least, "at most": most},
    )


@cache
def linear_network_laws(*widths: int) -> LawCount:
    """Count the laws of W_N ... W_1 for a deep linear network.

    Args:
        widths: The sizes d_0, .., d_N of the layers, the input first; W_j is d_j x d_{j-1}.

    Returns:
        The count over the entries of the factors. For two factors, with the claim that there are
        r(r+1)/2 laws if p >= r, else p(2r+1-p)/2: r = d_1 and p = d_0 + d_2.

    Raises:
        ValueError: fewer than two widths, or one that is no positive integer.

    Source:
        arXiv:2307.00144. Checked by tests/symbolic/test_conservation.py.
    """
    if len(widths) < 2:
        raise ValueError(f"Argument `widths` must hold at least two, but it is `{widths}`.")
    _check_widths(widths)
    factors = [
        sp.Matrix(rows, columns, _entry_names(f"W_{j}"))
        for j, (columns, rows) in enumerate(pairwise(widths), start=1)
    ]
    product = factors[0]
    for factor in factors[1:]:
        product = factor * product
    count = count_laws(tuple(product), [entry for factor in factors for entry in factor])
    if len(factors) != 2:
        return count
    published = two_factor_laws(widths[0] + widths[2], widths[1])
    return replace(count, claims=(*count.claims, published_claim(count, published)))


@cache
def relu_network_laws(inputs: int, hidden: int, outputs: int) -> LawCount:
    """Count the laws of a two-layer ReLU network, U relu(V x) without biases.

    While no unit switches between active and inactive on the data, an output is the sum of the
    products u_kj v_jl x_l over the units j that are active at the input x. These products, unit by
    unit, are all that the loss sees of the parameters: they are the parametrization.

    Args:
        inputs: The number of inputs.
        hidden: The number of hidden units.
        outputs: The number of outputs.

    Returns:
        The count, with the claim that there is one law per hidden unit.

    Raises:
        ValueError: a size is no positive integer.

    Source:
        arXiv:2307.00144. Checked by tests/symbolic/test_conservation.py.
    """
    _check_widths((inputs, hidden, outputs))
    U = sp.Matrix(outputs, hidden, _entry_names("U"))
    V = sp.Matrix(hidden, inputs, _entry_names("V"))
    products = [
        U[k, j] * V[j, l] for j in range(hidden) for k in range(outputs) for l in range(inputs)
    ]
    count = count_laws(products, (*U, *V))
    return replace(count, claims=(*count.claims, published_claim(count, hidden)))


def two_factor_laws(rows: int, rank: int) -> int:
    """The published number of laws of U V^T, for U and V with `rows` rows together.

    r(r+1)/2 if p >= r, else p(2r+1-p)/2, with p = `rows` and r = `rank`.
    """
    p, r = rows, rank
    return r * (r + 1) // 2 if p >= r else p * (2 * r + 1 - p) // 2


def published_claim(count: LawCount, published: int) -> Claim:
    """The claim that the laws counted, and the laws found, are as many as was published."""

    def check() -> Verdict:
        bounds = _check_bounds(count)
        as_published = count.laws == len(count.polynomial_laws) == published
        return replace(bounds, passed=bounds.passed and as_published, expected=f"{published} laws")

    return Claim(
        name=f"{published} laws, as published, of {len(count.parameters)} parameters",
        statement=f"The model has {published} independent laws, and polynomials are all of them.",
        source=SOURCE,
        check=check,
    )


def _entry_names(matrix: str):
    return lambda i, j: sp.Symbol(f"{matrix}_{i}_{j}", real=True)


def _check_widths(widths: tuple[int, ...]) -> None:
    for width in widths:
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ValueError(f"A width must be a positive integer, but one is `{width!r}`.")
