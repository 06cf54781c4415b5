"""Derivations: the frozen objects in which the symbolic room hands out its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy as sp
from sympy import MatrixExpr, MatrixSymbol
from sympy.printing.mathml import MathMLPresentationPrinter

from flowkit.claim import Claim
from flowkit.symbolic.adjoints import Variable
from flowkit.symbolic.gradient import Expression, gradient
from flowkit.symbolic.presentation import latex, markdown
from flowkit.symbolic.vanishing import vanishing as vanishing
from flowkit.symbolic.witness import check_witness

TIME = sp.Symbol("t", real=True)
"""The flow time; a rate that depends on time contains this symbol."""


@dataclass(frozen=True)
class Derivation:
    """The equations of one flow: d(state)/dt = rates(state, data).

    Attributes:
        name: What flows.
        state: The symbols that move.
        rates: The rate of each state symbol, per unit of flow time, in the order of `state`.
        data: The symbols that are given from outside.
        source: The paper and theorem that state the equations.
        conserved: Expressions in the state that are constant along the flow.
        claims: What is stated about this flow, each with a check.
        loss: The training loss in state and data, where the flow was derived from one.
    """

    name: str
    state: tuple[Variable, ...]
    rates: tuple[Expression, ...]
    data: tuple[Variable, ...]
    source: str
    conserved: tuple[Expression, ...] = ()
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)
    loss: sp.Expr | None = field(default=None, repr=False)

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """One relation per state symbol, the left side a symbol for its rate."""
        return tuple(
            sp.Eq(dotted(symbol), rate, evaluate=False)
            for symbol, rate in zip(self.state, self.rates, strict=True)
        )

    def latex(self) -> str:
        """The equations as LaTeX, one `aligned` environment."""
        return latex(self.equations)

    def markdown(self) -> str:
        """The title, the source, the equations as formulas that GitHub draws, and the claims."""
        return markdown(self)

    def mathml(self) -> tuple[str, ...]:
        """The equations as presentation MathML, which browsers draw without a library."""
        return tuple(
            mathml(rate, rate_of=symbol)
            for symbol, rate in zip(self.state, self.rates, strict=True)
        )


def mathml(expression: sp.Basic, *, rate_of: Variable | None = None) -> str:
    """Presentation MathML of an expression, as the right side of a rate where one is named."""
    printer = MathMLPresentationPrinter()
    body = printer.doprint(expression)
    if rate_of is not None:
        over = f"<mrow><mi>d</mi>{printer.doprint(rate_of)}</mrow>"
        body = f"<mfrac>{over}<mrow><mi>d</mi><mi>t</mi></mrow></mfrac><mo>=</mo>{body}"
    return f'<math display="block">{body}</math>'


def defined(name: str, value: Expression) -> sp.Eq:
    """The equation of a quantity that is called by a name in LaTeX, scalar or matrix."""
    is_matrix = isinstance(value, MatrixExpr)
    symbol = MatrixSymbol(name, *value.shape) if is_matrix else sp.Symbol(name)
    return sp.Eq(symbol, value, evaluate=False)


def dotted(symbol: Variable) -> Variable:
    """A symbol that prints as the rate of another: its letter with a dot."""
    name = rf"\dot{{{sp.latex(symbol)}}}"
    return (
        MatrixSymbol(name, *symbol.shape) if isinstance(symbol, MatrixSymbol) else sp.Symbol(name)
    )


def derive(loss: sp.Expr, parameters: Sequence[Variable]) -> Derivation:
    """Derive the gradient flow of a loss: d(parameter)/dt = -d(loss)/d(parameter).

    Args:
        loss: A scalar expression of matrix symbols (products, transposes, Hadamard products and
            powers, inverses, integer powers, traces, determinants, element-wise functions, and
            the norms of `flowkit.symbolic`) and scalar symbols; declare these real
            (`Symbol("a", real=True)`), or |a| has no real derivative.
        parameters: The symbols that are trained; every other symbol of the loss is data.

    Returns:
        The flow, with a claim that its rates are the entry-wise gradient on a small witness.

    Raises:
        ValueError: `loss` is not scalar, or a parameter is no symbol, repeated, or not in it.
        UnsupportedExpressionError: the loss holds a node without a derivative rule, by name.
    """
    loss = sp.sympify(loss)
    parameters = tuple(parameters)
    _check_loss(loss, parameters)
    descent = gradient(-loss, parameters)
    data = loss.free_symbols - _sizes(loss) - {*parameters, TIME}
    rates = tuple(descent[p] for p in parameters)
    return Derivation(
        name="gradient flow",
        state=parameters,
        rates=rates,
        data=tuple(sorted(data, key=lambda symbol: symbol.name)),
        source="d(parameter)/dt = -d(loss)/d(parameter)",
        claims=(_witness_claim(loss, parameters, rates),),
        loss=loss,
    )


def _sizes(loss: sp.Expr) -> set[sp.Basic]:
    return {size for matrix in loss.atoms(MatrixSymbol) for size in matrix.shape}


def _check_loss(loss: sp.Expr, parameters: tuple[Variable, ...]) -> None:
    if isinstance(loss, MatrixExpr | sp.MatrixBase) or not isinstance(loss, sp.Expr):
        raise ValueError(
            f"Argument `loss` must be a scalar SymPy expression, but it is a "
            f"`{type(loss).__name__}`; take its trace."
        )
    for constant in (sp.I, sp.oo, sp.zoo, sp.nan):
        if loss.has(constant):
            raise ValueError(
                f"Argument `loss` must be real and finite, but `{loss}` holds `{constant}`."
            )
    if not parameters:
        raise ValueError("Argument `parameters` must name at least one symbol, but it is empty.")
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, sp.Symbol | MatrixSymbol):
            raise ValueError(
                f"Argument `parameters` must hold symbols, but `parameters[{i}]` is "
                f"`{parameter}` of type `{type(parameter).__name__}`."
            )
        if parameter in parameters[:i]:
            raise ValueError(f"Argument `parameters` must not repeat, but `{parameter}` does.")
        _check_parameter(loss, parameter)


def _check_parameter(loss: sp.Expr, parameter: Variable) -> None:
    if parameter in _sizes(loss):
        raise ValueError(
            f"Argument `parameters` must not hold sizes of matrices, but `{parameter}` is one."
        )
    if not loss.has(parameter):
        raise ValueError(
            f"Argument `parameters` must appear in the loss, but `{parameter}` does not."
        )


def _witness_claim(
    loss: sp.Expr, parameters: tuple[Variable, ...], rates: tuple[Expression, ...]
) -> Claim:
    return Claim(
        name="entry-wise gradient",
        statement="The rates are minus the entry-by-entry derivatives of the loss.",
        source="definition of the gradient; checked on explicit 2 x 2 matrices",
        check=lambda: check_witness(loss, parameters, rates),
    )
