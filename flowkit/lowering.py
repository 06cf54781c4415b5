"""The door between SymPy and JAX: derivations in, pure JAX callables out."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, singledispatch

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
import sympy as sp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num
from sympy import MatrixExpr, MatrixSymbol
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.numpy import JaxPrinter

from flowkit.symbolic.closed_forms import START, TARGET, VALUE, ModeSolution
from flowkit.symbolic.derivation import TIME, Derivation
from flowkit.symbolic.duals import COV, VAR_U, VAR_V, DualActivation
from flowkit.symbolic.products import share_products

Rates = Callable[
    [Float[Array, ""] | float, Mapping[str, Array], Mapping[str, Array]], dict[str, Array]
]
_Real = Num[ArrayLike, "..."]


class LoweringError(ValueError):
    """An expression holds a node that has no JAX counterpart here."""


@singledispatch
def lower(symbolic: object) -> Callable:
    """Turn a symbolic object into a pure JAX callable, cached per object and jit-able.

    A `Derivation` becomes `rates(t, state, data)`: dictionaries keyed by symbol name in (further
    keys of `data` are ignored), a dictionary of rates out, per unit of flow time. Matrix products
    that several rates have in common are evaluated once. Symbolic sizes are read off the arrays.

    A `ModeSolution` becomes `s(t, start, target)`, vectorised, with start above or below target.

    A `DualActivation` becomes `(var_u, var_v, cov) -> (kappa, kappa_dot)`, arguments broadcast. A
    correlation beyond 1 counts as 1, a correlation of zero variance as 0. Values and gradients are
    finite on the diagonal cov = sqrt(var_u var_v), and identical arguments have correlation 1.

    Args:
        symbolic: A `Derivation`, a `ModeSolution` or a `DualActivation`.

    Returns:
        The callable.

    Raises:
        LoweringError: a node of the expression cannot be printed as JAX; the message names it.
        ValueError: (when called) a symbol is missing from the dictionaries, or shapes disagree.
    """
    raise ValueError(
        f"Argument `symbolic` must be a Derivation, a ModeSolution or a DualActivation, but it is "
        f"a `{type(symbolic).__name__}`."
    )


@lower.register
@cache
def _lower_derivation(derivation: Derivation) -> Rates:
    symbols = (*derivation.state, *derivation.data)
    matrices = [s for s in symbols if isinstance(s, MatrixSymbol)]
    sizes = sorted({n for m in matrices for n in m.shape if n.is_Symbol}, key=str)
    function = _compile((TIME, *symbols, *sizes), derivation.rates)

    def rates(
        t: Float[Array, ""] | float, state: Mapping[str, Array], data: Mapping[str, Array]
    ) -> dict[str, Array]:
        arrays = [_pick(state, s.name, "state") for s in derivation.state]
        arrays += [_pick(data, s.name, "data") for s in derivation.data]
        bound = _bind_sizes(symbols, arrays)
        values = function(t, *arrays, *(bound[size] for size in sizes))
        return {s.name: value for s, value in zip(derivation.state, values, strict=True)}

    return rates


@cache
def lower_conserved(derivation: Derivation) -> Callable[[Mapping[str, Array]], tuple[Array, ...]]:
    """Turn a derivation's conserved quantities into a JAX callable of the state.

    Args:
        derivation: A derivation whose conserved quantities depend on its state alone.

    Returns:
        `quantities(state)`: a dictionary keyed by symbol name in, one array per law out.

    Raises:
        LoweringError: as for `lower`.
    """
    function = _compile(derivation.state, derivation.conserved)

    def quantities(state: Mapping[str, Array]) -> tuple[Array, ...]:
        return tuple(function(*(_pick(state, s.name, "state") for s in derivation.state)))

    return quantities


@lower.register
@cache
def _lower_mode_solution(solution: ModeSolution) -> Callable:
    if solution.value is not None:
        explicit = _compile((TIME, START, TARGET), [solution.value])
        return jnp.vectorize(lambda t, start, target: explicit(t, start, target)[0])
    elapsed = _compile((VALUE, START, TARGET), [solution.time])
    return jnp.vectorize(lambda t, start, target: _invert(elapsed, t, start, target))


def _invert(elapsed: Callable, t: Array, start: Array, target: Array) -> Array:
    """The s between start and target with elapsed(s, start, target) = t, by bisection on log s."""
    t, start, target = (jnp.asarray(x, dtype=float) for x in (t, start, target))
    t = eqx.error_if(t, t < 0, "`t` must not be negative: only s(t) at depths 1 and 2 runs back.")
    value = lambda fraction: start ** (1 - fraction) * target**fraction

    def too_late(fraction, _):
        """Sign of elapsed - t, exact at the ends of the bracket."""
        sign = jnp.where(elapsed(value(fraction), start, target)[0] > t, 1.0, -1.0)
        return jnp.where(fraction <= 0, -1.0, jnp.where(value(fraction) == target, 1.0, sign))

    tolerance = 4 * float(jnp.finfo(start.dtype).eps)
    solver = optx.Bisection(rtol=tolerance, atol=tolerance)
    bracket = {"lower": 0.0, "upper": 1.0}
    found = optx.root_find(too_late, solver, 0.5, options=bracket, max_steps=256, throw=False)
    return jnp.where(start == target, target, value(found.value))


@lower.register
@cache
def _lower_dual(dual: DualActivation) -> Callable:
    function = _compile((VAR_U, VAR_V, COV), (dual.kappa, dual.kappa_dot), _GuardedPrinter)

    def kappas(
        var_u: Num[ArrayLike, "..."], var_v: Num[ArrayLike, "..."], cov: Num[ArrayLike, "..."]
    ) -> tuple[Array, Array]:
        floats = (jnp.asarray(x) for x in (var_u, var_v, cov))
        floats = (x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float) for x in floats)
        arrays = jnp.broadcast_arrays(*floats)
        kappa, kappa_dot = (value * jnp.ones_like(arrays[2]) for value in function(*arrays))
        return kappa, kappa_dot

    return kappas


def _pick(values: Mapping[str, Array], name: str, argument: str) -> Array:
    if name not in values:
        raise ValueError(
            f"Argument `{argument}` must hold the key `{name}`, but it has {sorted(values)}."
        )
    return values[name]


def _bind_sizes(symbols: Sequence[sp.Basic], arrays: Sequence[Array]) -> dict[sp.Basic, int]:
    """Match symbolic shapes against the arrays' shapes."""
    bound: dict[sp.Basic, int] = {}
    for symbol, array in zip(symbols, arrays, strict=True):
        expected = symbol.shape if isinstance(symbol, MatrixSymbol) else ()
        shape = jnp.shape(array)
        known = tuple(bound.get(n, int(n) if n.is_Integer else n) for n in expected)
        fits = len(shape) == len(known) and all(
            not isinstance(k, int) or k == n for k, n in zip(known, shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join(map(str, known)) + ")"
            raise ValueError(f"`{symbol}` must have shape {wanted}, but it has {shape}.")
        bound.update({n: size for n, size in zip(expected, shape, strict=True) if n.is_Symbol})
    return bound


def _compile(
    arguments: Sequence[sp.Basic], expressions: Sequence, kind: type[JaxPrinter] | None = None
) -> Callable[..., tuple]:
    """Print as JAX code with `_Printer`, shared products first, and evaluate to a function."""
    known = set(arguments)
    for expression in expressions:
        if unknown := expression.free_symbols - known:
            names = ", ".join(sorted(map(str, unknown)))
            raise LoweringError(f"Cannot lower `{expression}`: {names} is neither state nor data.")
    printer = (kind or _Printer)({"fully_qualified_modules": False, "inline": True})
    helpers = (symmetric_power, guarded_root, guarded_arccos)
    modules = [{helper.__name__: helper for helper in helpers}, "jax"]
    try:
        return sp.lambdify(
            arguments, tuple(expressions), modules=modules, printer=printer, cse=share_products
        )
    except PrintMethodNotImplementedError as error:
        raise LoweringError(f"Cannot lower: {error}".splitlines()[0]) from error


def symmetric_power(
    matrix: Float[Array, "n n"], exponent: float | Float[Array, ""]
) -> Float[Array, "n n"]:
    """Real power of a positive semidefinite matrix; rounding below zero counts as zero."""
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.maximum(eigenvalues, 0.0)[None, :] ** exponent) @ vectors.T


class _Printer(JaxPrinter):
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

    def _print_MatMul(self, expr):
        coefficient, factors = expr.as_coeff_matrices()
        product = " @ ".join(f"({self._print(factor)})" for factor in factors)
        return product if coefficient == 1 else f"({self._print(coefficient)})*({product})"

    def _print_MatAdd(self, expr):
        return " + ".join(f"({self._print(term)})" for term in expr.args)

    def _print_Transpose(self, expr):
        return f"({self._print(expr.arg)}).T"

    def _print_Inverse(self, expr):
        return f"jax.numpy.linalg.inv({self._print(expr.arg)})"

    def _print_MatPow(self, expr):
        base, exponent = self._print(expr.base), self._print(expr.exp)
        if expr.exp.is_Integer:
            return f"jax.numpy.linalg.matrix_power({base}, {exponent})"
        if expr.base != expr.base.T:
            return self._refuse(expr, "a fractional power needs a symmetric base")
        return f"symmetric_power({base}, {exponent})"

    def _print_HadamardProduct(self, expr):
        return "*".join(f"({self._print(factor)})" for factor in expr.args)

    def _print_HadamardPower(self, expr):
        return f"({self._print(expr.base)})**({self._print(expr.exp)})"

    def _print_ElementwiseApplyFunction(self, expr):
        slot = sp.Dummy("x")
        body = self._print(expr.function(slot))
        return f"(lambda {self._print(slot)}: {body})({self._print(expr.expr)})"

    def _print_MatrixElement(self, expr):
        return f"({self._print(expr.parent)})[{self._print(expr.i)}, {self._print(expr.j)}]"

    def _print_erf(self, expr):
        return f"jax.scipy.special.erf({self._print(expr.args[0])})"


def guarded_root(x: Array, at_zero: float) -> Array:
    """The square root; `at_zero` with gradient 0 at zero and at rounding below it."""
    return jnp.where(x <= 0, at_zero, jnp.sqrt(jnp.where(x <= 0, 1.0, x)))


def guarded_arccos(x: Array) -> Array:
    """The arc cosine of x clipped to [-1, 1], with gradient 0 at the ends."""
    outside = jnp.abs(x) >= 1
    end = jnp.where(x > 0, 0.0, jnp.pi)
    return jnp.where(outside, end, jnp.arccos(jnp.where(outside, 0.0, x)))


class _GuardedPrinter(_Printer):
    """Prints square roots and arc cosines with values and gradients that stay finite.

    Roots that multiply are printed as one: sqrt(a * a) is a exactly, sqrt(a) * sqrt(a) is not.
    """

    def _print_acos(self, expr):
        return f"guarded_arccos({self._print(expr.args[0])})"

    def _print_Pow(self, expr, rational=False):  # noqa: FBT002  (SymPy's signature)
        half = abs(expr.exp) == sp.S.Half
        return self._print_Mul(expr) if half else super()._print_Pow(expr, rational=rational)

    def _print_Mul(self, expr):
        factors = sp.Mul.make_args(expr)
        under = lambda exponent: [f for f in factors if isinstance(f, sp.Pow) and f.exp == exponent]
        roots, divisors = under(sp.S.Half), under(-sp.S.Half)
        rest = sp.Mul(*(f for f in factors if f not in roots + divisors))
        product = lambda powers: "*".join(f"({self._print(p.base)})" for p in powers)
        text = f"({super()._print_Mul(rest) if rest.is_Mul else self._print(rest)})"
        text += f"*guarded_root({product(roots)}, 0.0)" if roots else ""
        return text + (f"/guarded_root({product(divisors)}, 1.0)" if divisors else "")
