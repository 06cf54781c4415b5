"""Functions of a state that are recorded along a trajectory.

A state is a tuple of factors (W_1, .., W_N), one matrix, or its `Spectrum`; observables of the
product accept all three. User-defined observables are plain functions of the state; one that
depends on time as well is an `AbstractTimedObservable`.
"""

from flowkit.observables.curvature import Sharpness as Sharpness
from flowkit.observables.product import (
    Alignment as Alignment,
    LossOf as LossOf,
    MatrixState as MatrixState,
    SchattenNorm as SchattenNorm,
    balance as balance,
    effective_rank as effective_rank,
    end_to_end as end_to_end,
    log_abs_det as log_abs_det,
    nuclear_norm as nuclear_norm,
    schatten_norm as schatten_norm,
    singular_values as singular_values,
)
from flowkit.observables.recording import (
    checked_observables as checked_observables,
    record as record,
    record_until_interrupted as record_until_interrupted,
)
from flowkit.observables.tangent import (
    KernelDistance as KernelDistance,
    product_kernel as product_kernel,
)
from flowkit.observables.timed import (
    AbstractTimedObservable as AbstractTimedObservable,
    DistanceTo as DistanceTo,
    Observable as Observable,
)
