"""The symbolic room: SymPy derivations, each with claims that can be checked."""

from flowkit.symbolic.breaking import (
    StepDefect as StepDefect,
    decayed_factor_flow as decayed_factor_flow,
    step_defect as step_defect,
)
from flowkit.symbolic.closed_forms import (
    ModeSolution as ModeSolution,
    mode_solution as mode_solution,
)
from flowkit.symbolic.conservation import (
    conservation_claims as conservation_claims,
    conserved_quantities as conserved_quantities,
)
from flowkit.symbolic.convolutional_recursions import (
    ConvolutionalRecursion as ConvolutionalRecursion,
    cntk_recursion as cntk_recursion,
)
from flowkit.symbolic.derivation import Derivation as Derivation, derive as derive
from flowkit.symbolic.diagonal_networks import (
    DiagonalNetwork as DiagonalNetwork,
    diagonal_network as diagonal_network,
)
from flowkit.symbolic.duals import DualActivation as DualActivation, dual as dual
from flowkit.symbolic.factorization import (
    end_to_end_flow as end_to_end_flow,
    factor_flow as factor_flow,
    singular_value_flow as singular_value_flow,
)
from flowkit.symbolic.gradient import (
    UnsupportedExpressionError as UnsupportedExpressionError,
    expand as expand,
    rate_along as rate_along,
)
from flowkit.symbolic.kernel_dynamics import kernel_flow as kernel_flow
from flowkit.symbolic.kernel_recursions import (
    KernelRecursion as KernelRecursion,
    ntk_recursion as ntk_recursion,
)
from flowkit.symbolic.kernel_solution import (
    KernelSolution as KernelSolution,
    kernel_solution as kernel_solution,
    ridge_flow as ridge_flow,
)
from flowkit.symbolic.law_counts import (
    LawCount as LawCount,
    count_laws as count_laws,
    linear_network_laws as linear_network_laws,
    relu_network_laws as relu_network_laws,
)
from flowkit.symbolic.modified import (
    modified_flow as modified_flow,
    momentum_flow as momentum_flow,
    penalised_flow as penalised_flow,
)
from flowkit.symbolic.norms import (
    entry_sum as entry_sum,
    frobenius_norm as frobenius_norm,
    nuclear_norm as nuclear_norm,
    schatten_norm as schatten_norm,
    squared_norm as squared_norm,
)
from flowkit.symbolic.operator import (
    EndToEndSpectrum as EndToEndSpectrum,
    end_to_end_spectrum as end_to_end_spectrum,
)
from flowkit.symbolic.quadrature import QuadratureDual as QuadratureDual
from flowkit.symbolic.riccati import (
    RiccatiSolution as RiccatiSolution,
    riccati_solution as riccati_solution,
)
from flowkit.symbolic.rules import rule_flow as rule_flow
from flowkit.symbolic.sampling import (
    StochasticDerivation as StochasticDerivation,
    reshuffled_flow as reshuffled_flow,
    sgd_equation as sgd_equation,
)
from flowkit.symbolic.saturation import (
    TwoCoordinates as TwoCoordinates,
    two_coordinates as two_coordinates,
)
from flowkit.symbolic.scalars import (
    ScalarFactors as ScalarFactors,
    scalar_factors as scalar_factors,
)
from flowkit.symbolic.spectral import singular_vector_flow as singular_vector_flow
from flowkit.symbolic.stationary import (
    RankPreservation as RankPreservation,
    StationaryVectors as StationaryVectors,
    rank_preservation as rank_preservation,
    stationary_vectors as stationary_vectors,
)
from flowkit.symbolic.two_layers import (
    TwoLayerRiccati as TwoLayerRiccati,
    two_layer_riccati as two_layer_riccati,
)
