"""Clocks: continuous (Diffrax) and discrete (Optax); both return a `Trajectory`."""

from flowkit.dynamics.descent import descend as descend
from flowkit.dynamics.flow import integrate as integrate
from flowkit.dynamics.optimisers import optimiser as optimiser
from flowkit.dynamics.orders import OrderStudy as OrderStudy, study_order as study_order
from flowkit.dynamics.rkc4 import RKC4 as RKC4
from flowkit.dynamics.stabilized import RKC2 as RKC2, RKL2 as RKL2
from flowkit.dynamics.stochastic import (
    SmallNoise as SmallNoise,
    sample_paths as sample_paths,
    solve_stochastic as solve_stochastic,
)
from flowkit.dynamics.sweeps import sweep as sweep
