"""SymPy expressions printed as JAX code."""

from collections.abc import Callable, Sequence

import sympy as sp
from sympy import MatrixExpr
from sympy.printing.numpy import JaxPrinter

from flowkit.lowering.gaps import GUARDS
from flowkit.lowering.powers import symmetric_power
from flowkit.symbolic.gradient import Expression
from flowkit.symbolic.products import share_products
from flowkit.symbolic.semidefinite import has_real_powers, real_powers


class LoweringError(ValueError):
    """An expression holds a node that has no JAX counterpart here."""


class Printer(JaxPrinter):
    """SymPy's JAX printer with the nodes it gets wrong; anything unknown is refused by name."""

    def _refuse(self, expression: sp.Basic, reason: str) -> str:
        raise LoweringError(
            f"Cannot lower `{expression}`, a `{type(expression).__name__}`: {reason}."
        )

    def emptyPrinter(self, expr):
        return self._refuse(expr, "it has no JAX counterpart here")

    def _print_not_supported(self, expr):
        return self._refuse(expr, "it has no JAX counterpart here")

    _print_Basic = _print_not_supported
    _print_Expr = _print_not_supported
    _print_MatrixExpr = _print_not_supported
    _print_Sum = _print_not_supported
    _print_Product = _print_not_supported

    def _print_Function(self, expr):
        if isinstance(expr, sp.core.function.AppliedUndef):
            return self._refuse(expr, "the function is not defined")
        if any(isinstance(a, MatrixExpr | sp.MatrixBase) for a in expr.args):
            return self._refuse(expr, "write `matrix.applyfunc(f)` for an element-wise function")
        return super()._print_Function(expr)

    def _print_Trace(self, expr):
        return f"jax.numpy.trace({self._print(expr.arg)})"

    def _print_Determinant(self, expr):
        return f"jax.numpy.linalg.det({self._print(expr.arg)})"

    def _print_Identity(self, expr):
        return f"jax.numpy.eye({self._print(expr.rows)})"

    def _print_ZeroMatrix(self, expr):
        return f"jax.numpy.zeros(({self._print(expr.rows)}, {self._print(expr.cols)}))"

    def _print_OneMatrix(self, expr):
        return f"jax.numpy.ones(({self._print(expr.rows)}, {self._print(expr.cols)}))"

    def _print_MatMul(self, expr):
        coefficient, factors = expr.as_coeff_matrices()
        product = " @ ".join(f"({self._print(factor)})" for factor in factors)
        return product if coefficient == 1 else f"({self._print(coefficient)})*({product})"

    def _print_MatAdd(self, expr):
        return " + ".join(f"({self._print(term)})" for term in expr.args)

    def _print_Transpose(self, T):
        return f"({self._print(T.arg)}).T"

    def _print_Inverse(self, expr):
        return f"jax.numpy.linalg.inv({self._print(expr.arg)})"

    def _print_MatPow(self, expr):
        base, exponent = self._print(expr.base), self._print(expr.exp)
        if expr.exp.is_Integer:
            return f"jax.numpy.linalg.matrix_power({base}, {exponent})"
        return f"symmetric_power({base}, {exponent})"

    def _print_HadamardProduct(self, expr):
        return "*".join(f"({self._print(factor)})" for factor in expr.args)

    def _print_HadamardPower(self, expr):
        return f"({self._print(expr.base)})**({self._print(expr.exp)})"

    def _print_ElementwiseApplyFunction(self, expr):
        slot = sp.Dummy("x")
        body, matrix = expr.function(slot), self._print(expr.expr)
        if not body.has(slot):
            return f"jax.numpy.full_like({matrix}, {self._print(body)})"
        return f"(lambda {self._print(slot)}: {self._print(body)})({matrix})"

    def _print_MatrixElement(self, expr):
        return f"({self._print(expr.parent)})[{self._print(expr.i)}, {self._print(expr.j)}]"

    def _print_erf(self, expr):
        return f"jax.scipy.special.erf({self._print(expr.args[0])})"


class GuardedPrinter(Printer):
    """Prints roots, angles and hyperbolic functions with values and gradients that stay finite.

    Roots that multiply are printed as one: sqrt(a * a) is a exactly, sqrt(a) * sqrt(a) is not. A
    root that divides is infinite at zero, with gradient 0.
    """

    def _print_atan2(self, expr):
        y, x = (self._print(argument) for argument in expr.args)
        return f"guarded_angle({y}, {x})"

    def _print_atan(self, expr):
        return f"arctangent({self._print(expr.args[0])})"

    def _print_Pow(self, expr, rational=False):  # noqa: FBT002  (SymPy's signature)
        return (
            self._print_Mul(expr) if _is_root(expr) else super()._print_Pow(expr, rational=rational)
        )

    def _print_Mul(self, expr):
        factors = sp.Mul.make_args(expr)
        for kind, name in ((sp.sinh, "damped_sinh"), (sp.cosh, "damped_cosh")):
            if waves := [f for f in factors if isinstance(f, kind)]:
                return self._damped(expr, waves[0], name)
        halves = [f for f in factors if isinstance(f, sp.Pow) and _is_root(f)]
        under = lambda exponent: [f for f in halves if f.exp == exponent]
        roots, divisors = under(sp.S.Half), under(-sp.S.Half)
        rest = sp.Mul(*(f for f in factors if f not in halves))
        product = lambda powers: "*".join(f"({self._print(p.base)})" for p in powers)
        text = f"({super()._print_Mul(rest) if rest.is_Mul else self._print(rest)})"
        text += f"*guarded_root({product(roots)}, 0.0)" if roots else ""
        text += f"*guarded_inverse_root({product(divisors)})" if divisors else ""
        for power in halves:  # a root to the third: its derivatives overflow later
            if abs(power.exp) != sp.S.Half:
                sign = 1 if power.exp > 0 else -1
                text += f"*({self._print(sp.sqrt(power.base) ** sign)})**{abs(2 * power.exp)}"
        return text

    def _damped(self, expr: sp.Expr, wave: sp.Expr, name: str) -> str:
        """A product with e^exponent and sinh(x) or cosh(x), these two in one call."""
        factors = sp.Mul.make_args(expr)
        decays = [f for f in factors if isinstance(f, sp.exp)]
        exponent, argument = sp.Add(*(f.as_base_exp()[1] for f in decays)), wave.args[0]
        rest = sp.Mul(*(f for f in factors if f != wave and f not in decays))
        call = f"{name}({self._print(exponent)}, {self._print(argument)})"
        return call if rest == 1 else f"({self._print(rest)})*{call}"


def _is_root(factor: sp.Basic) -> bool:
    exponent = factor.exp if isinstance(factor, sp.Pow) else sp.S.One
    return isinstance(exponent, sp.Rational) and exponent.q == 2


def compile_expressions(
    arguments: Sequence[sp.Basic],
    expressions: Sequence[Expression],
    printer: type[Printer] = Printer,
) -> Callable[..., tuple]:
    """A JAX function of `arguments` that returns all expressions, shared products evaluated once.

    Raises:
        LoweringError: an expression holds an unknown symbol or a node the printer refuses.
    """
    known, names = set(arguments), [str(argument) for argument in arguments]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise LoweringError(f"Cannot lower: two symbols are named `{repeated[0]}`.")
    for expression in expressions:
        if unknown := expression.free_symbols - known:
            names = ", ".join(sorted(map(str, unknown)))
            raise LoweringError(f"Cannot lower `{expression}`: {names} is neither state nor data.")
        _check_powers(expression)
    helpers = (symmetric_power, *GUARDS)
    modules = [{helper.__name__: helper for helper in helpers}, "jax"]
    return sp.lambdify(
        arguments,
        tuple(expressions),
        modules=modules,
        printer=printer({"fully_qualified_modules": False, "inline": True}),
        cse=share_products,  # pyright: ignore[reportArgumentType]  (a callable is documented)
    )


def _check_powers(expression: Expression) -> None:
    for power in real_powers(expression):
        if not has_real_powers(power.base):
            raise LoweringError(
                f"Cannot lower `{power}`, a `MatPow`: a real power needs a base that is positive "
                f"semidefinite by its form, such as `X.T * X`."
            )
