"""Kernel recursions as pure JAX callables."""

from collections.abc import Callable
from functools import cache

from jaxtyping import Array

from flowkit.lowering.callables import lower
from flowkit.lowering.printing import GuardedPrinter, compile_expressions
from flowkit.lowering.ranges import Real, as_floats
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V
from flowkit.symbolic.kernel_recursions import KernelRecursion


@lower.register
@cache
def lower_recursion(recursion: KernelRecursion) -> Callable:
    """Definition after definition: written out in one expression they would double each layer."""
    symbols = [VAR_U, VAR_V, COV]
    functions = []
    for symbol, expression in recursion.definitions:
        functions.append(compile_expressions(symbols, [expression], GuardedPrinter))
        symbols = [*symbols, symbol]
    ntk, nngp = (symbols.index(output) for output in recursion.outputs)

    def kernels(var_u: Real, var_v: Real, cov: Real) -> tuple[Array, Array]:
        values = list(as_floats(var_u, var_v, cov))
        for function in functions:
            values.append(function(*values)[0])
        return values[ntk], values[nngp]

    return kernels
