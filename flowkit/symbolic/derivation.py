"""Derivations: the frozen objects in which the symbolic room hands out its results."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy as sp
from sympy import MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.hadamard import HadamardPower
from sympy.printing.mathml import MathMLPresentationPrinter

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.gradient import Expression, gradient
from flowkit.symbolic.presentation import latex, markdown

Variable = sp.Symbol | MatrixSymbol

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
    """

    name: str
    state: tuple[Variable, ...]
    rates: tuple[Expression, ...]
    data: tuple[Variable, ...]
    source: str
    conserved: tuple[Expression, ...] = ()
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

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


def vanishing(*defects: sp.Expr) -> Verdict:
    """A proof that expressions simplify to zero, or what is left of them."""
    left = [sp.simplify(defect) for defect in defects]
    return Verdict(
        passed=all(defect == 0 for defect in left),
        kind="proved",
        measured="defects " + ", ".join(map(str, left)),
        expected="defects " + ", ".join("0" for _ in left),
    )


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
            powers, inverses, traces, determinants, element-wise functions) and scalar symbols;
            declare these real (`Symbol("a", real=True)`), or |a| has no real derivative.
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
    gradients = gradient(loss, parameters)
    sizes = {size for matrix in loss.atoms(MatrixSymbol) for size in matrix.shape}
    data = loss.free_symbols - sizes - {*parameters, TIME}
    rates = tuple(-gradients[p] for p in parameters)
    rates = tuple(r.doit() if isinstance(r, MatrixExpr) else r for r in rates)
    return Derivation(
        name="gradient flow",
        state=parameters,
        rates=rates,
        data=tuple(sorted(data, key=lambda symbol: symbol.name)),
        source="d(parameter)/dt = -d(loss)/d(parameter)",
        claims=(_witness_claim(loss, parameters, rates),),
    )


def _check_loss(loss: sp.Expr, parameters: tuple[Variable, ...]) -> None:
    if isinstance(loss, MatrixExpr | sp.MatrixBase) or not isinstance(loss, sp.Expr):
        raise ValueError(
            f"Argument `loss` must be a scalar SymPy expression, but it is a "
            f"`{type(loss).__name__}`; take its trace."
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
        check=lambda: _check_witness(loss, parameters, rates),
    )


def _check_witness(
    loss: sp.Expr, parameters: tuple[Variable, ...], rates: tuple[Expression, ...]
) -> Verdict:
    """Differentiate entry by entry at size 2, with SymPy's scalar rules only."""
    entries = _entries_at_size(2, loss)
    scalar_loss = _explicit(loss, entries)
    defects = [
        sp.simplify(scalar_loss.diff(entry) + value)
        for parameter, rate in zip(parameters, rates, strict=True)
        for entry, value in zip(flat(parameter, entries), flat(rate, entries), strict=True)
    ]
    wrong = sum(defect != 0 for defect in defects)
    return Verdict(
        passed=wrong == 0,
        kind="proved",
        measured=f"{wrong} entries differ",
        expected="0 entries differ",
        numbers={"entries that differ": wrong},
    )


def _entries_at_size(size: int, loss: sp.Basic) -> dict[sp.Basic, sp.Basic]:
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


def _explicit(expression: sp.Basic, entries: dict[sp.Basic, sp.Basic]) -> sp.Basic:
    """Evaluate node by node on explicit matrices; `doit` alone leaves some nodes standing."""
    sizes = {symbol: size for symbol, size in entries.items() if size.is_Integer}
    return _evaluate(expression.subs(sizes), entries)


def _evaluate(node: sp.Basic, entries: dict[sp.Basic, sp.Basic]) -> sp.Basic:
    if node in entries or not node.args:
        return entries.get(node, node)
    arguments = [_evaluate(argument, entries) for argument in node.args]
    if isinstance(node, sp.Trace):
        return arguments[0].trace()
    if isinstance(node, HadamardPower):
        base, exponent = arguments
        return base.applyfunc(lambda entry: entry**exponent)
    value = node.func(*arguments).doit()
    return value.as_explicit() if isinstance(value, MatrixExpr) else value


def flat(expression: Expression, entries: dict[sp.Basic, sp.Basic]) -> list[sp.Expr]:
    """The entries of an expression, row by row, with explicit sizes and matrices for symbols."""
    concrete = _explicit(expression, entries)
    return sp.flatten(concrete) if isinstance(concrete, sp.MatrixBase) else [concrete]
