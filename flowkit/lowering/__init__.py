"""The door between SymPy and JAX: derivations in, pure JAX callables out."""

from flowkit.lowering.activations import lower_activation as lower_activation
from flowkit.lowering.callables import (
    lower as lower,
    lower_conserved as lower_conserved,
    lower_expression as lower_expression,
)
from flowkit.lowering.duals import quadrature_error as quadrature_error, rule_claim as rule_claim
from flowkit.lowering.printing import LoweringError as LoweringError
from flowkit.lowering.recursions import lower_recursion as lower_recursion
