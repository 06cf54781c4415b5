"""Symbolic objects as pure JAX callables."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, singledispatch

import jax.numpy as jnp
import sympy as sp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num
from sympy import MatrixSymbol

from flowkit.lowering.modes import lower_mode
from flowkit.lowering.printing import compile_expressions
from flowkit.symbolic.closed_forms import ModeSolution
from flowkit.symbolic.derivation import TIME, Derivation, Variable
from flowkit.symbolic.gradient import Expression

Real = Num[ArrayLike, "..."]
Values = Mapping[str, Real]
Rates = Callable[[Float[Array, ""] | float, Values, Values], dict[str, Array]]


@singledispatch
def lower(symbolic: object) -> Callable:
    """Turn a symbolic object into a pure JAX callable, cached per object and jit-able.

    A `Derivation` becomes `rates(t, state, data)`: dictionaries keyed by symbol name in (further
    keys of `data` are ignored), a dictionary of rates out, per unit of flow time. Matrix products
    that several rates have in common are evaluated once. Symbolic sizes are read off the arrays.

    A `ModeSolution` becomes `s(t, start, target)`, vectorised, with start above or below target,
    both positive; t(s) is inverted by bisection where there is no elementary s(t). At infinite
    depth its time is N t; a symbolic depth becomes a keyword: `s(t, start, target, *, depth)`,
    for any real depth of at least 1.

    A `DualActivation` or a `QuadratureDual` becomes `(var_u, var_v, cov) -> (kappa, kappa_dot)`,
    arguments broadcast. A correlation beyond 1 counts as 1, a correlation of zero variance as 0.
    Values (but for the infinite kappa_dot of a jump) and gradients are finite on the diagonal
    cov = sqrt(var_u var_v), and identical arguments have correlation 1.

    A `KernelRecursion` becomes `(var_u, var_v, cov) -> (ntk, nngp)`, with the same care.

    Args:
        symbolic: A `Derivation`, a `ModeSolution`, a `DualActivation`, a `QuadratureDual` or a
            `KernelRecursion`.

    Returns:
        The callable.

    Raises:
        LoweringError: a node of the expression cannot be printed as JAX; the message names it.
        ValueError: (when called) a symbol is missing from the dictionaries, or shapes disagree.
    """
    raise ValueError(
        f"Argument `symbolic` must be a Derivation, a ModeSolution, a DualActivation, a "
        f"QuadratureDual or a KernelRecursion, but it is a `{type(symbolic).__name__}`."
    )


@lower.register
@cache
def _lower_derivation(derivation: Derivation) -> Rates:
    symbols = (*derivation.state, *derivation.data)
    sizes = _sizes(symbols)
    function = compile_expressions((TIME, *symbols, *sizes), derivation.rates)

    def rates(t: Float[Array, ""] | float, state: Values, data: Values) -> dict[str, Array]:
        arrays = [_pick(state, s.name, "state") for s in derivation.state]
        arrays += [_pick(data, s.name, "data") for s in derivation.data]
        bound = _bind_sizes(symbols, arrays)
        values = function(t, *arrays, *(bound[size] for size in sizes))
        return {s.name: value for s, value in zip(derivation.state, values, strict=True)}

    return rates


@cache
def lower_expression(
    expression: Expression, arguments: tuple[Variable, ...]
) -> Callable[..., Array]:
    """Turn a scalar or matrix expression into a pure JAX callable, cached and jit-able.

    Args:
        expression: A SymPy expression, for instance a loss.
        arguments: Every symbol of it, sizes excepted: these are read off the arrays.

    Returns:
        `value(*values)`: one array per argument, in their order; the value of the expression.

    Raises:
        LoweringError: as for `lower`.
        ValueError: (when called) shapes disagree.
    """
    sizes = _sizes(arguments)
    function = compile_expressions((*arguments, *sizes), [expression])

    def value(*values: Real) -> Array:
        arrays = [jnp.asarray(value) for value in values]
        bound = _bind_sizes(arguments, arrays)
        return function(*arrays, *(bound[size] for size in sizes))[0]

    return value


@cache
def lower_conserved(derivation: Derivation) -> Callable[[Values], tuple[Array, ...]]:
    """Turn a derivation's conserved quantities into a JAX callable of the state.

    Args:
        derivation: A derivation whose conserved quantities depend on its state alone.

    Returns:
        `quantities(state)`: a dictionary keyed by symbol name in, one array per law out.

    Raises:
        LoweringError: as for `lower`.
    """
    function = compile_expressions(derivation.state, derivation.conserved)

    def quantities(state: Values) -> tuple[Array, ...]:
        return tuple(function(*(_pick(state, s.name, "state") for s in derivation.state)))

    return quantities


@lower.register
@cache
def _lower_mode_solution(solution: ModeSolution) -> Callable:
    return lower_mode(solution)


def _pick(values: Values, name: str, argument: str) -> Array:
    if name not in values:
        raise ValueError(
            f"Argument `{argument}` must hold the key `{name}`, but it has {sorted(values)}."
        )
    return jnp.asarray(values[name])


def _sizes(symbols: Sequence[Variable]) -> list[sp.Basic]:
    """The symbols that stand in the shapes of matrix symbols."""
    matrices = [symbol for symbol in symbols if isinstance(symbol, MatrixSymbol)]
    return sorted({n for m in matrices for n in m.shape if n.is_Symbol}, key=str)


def _bind_sizes(symbols: Sequence[sp.Basic], arrays: Sequence[Array]) -> dict[sp.Basic, int]:
    """Match symbolic shapes against the arrays' shapes."""
    bound: dict[sp.Basic, int] = {}
    for symbol, array in zip(symbols, arrays, strict=True):
        shape = symbol.shape if isinstance(symbol, MatrixSymbol) else ()
        known = [bound.get(n, n) for n in shape]
        fits = array.ndim == len(shape) and all(
            not sp.sympify(k).is_Integer or k == size
            for k, size in zip(known, array.shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join(map(str, known)) + ")"
            raise ValueError(f"`{symbol}` must have shape {wanted}, but it has {array.shape}.")
        bound.update({n: size for n, size in zip(shape, array.shape, strict=True) if n.is_Symbol})
    return bound
