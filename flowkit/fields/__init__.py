"""Vector fields: what is integrated, each built on a lowered derivation."""

from flowkit.fields.base import (
    AbstractLiftedField as AbstractLiftedField,
    AbstractVectorField as AbstractVectorField,
    lift as lift,
    position as position,
)
from flowkit.fields.derived import DerivedFlow as DerivedFlow
from flowkit.fields.factors import (
    FactorFlow as FactorFlow,
    check_factors as check_factors,
    check_problem as check_problem,
)
from flowkit.fields.kernel import KernelFlow as KernelFlow
from flowkit.fields.model import ModelFlow as ModelFlow, check_scalar_loss as check_scalar_loss
from flowkit.fields.modified import ModifiedFlow as ModifiedFlow
from flowkit.fields.product import EndToEndFlow as EndToEndFlow
from flowkit.fields.spectral import SpectralFlow as SpectralFlow
from flowkit.fields.stochastic import (
    AbstractStochasticField as AbstractStochasticField,
    ReshuffledFlow as ReshuffledFlow,
    StochasticFlow as StochasticFlow,
)
