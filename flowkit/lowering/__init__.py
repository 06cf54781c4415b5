"""The door between SymPy and JAX: derivations in, pure JAX callables out."""

from flowkit.lowering.callables import lower as lower, lower_conserved as lower_conserved
from flowkit.lowering.printing import LoweringError as LoweringError
