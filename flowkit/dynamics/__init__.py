"""Clocks: continuous (Diffrax) and discrete (Optax); both return a `Trajectory`."""

from flowkit.dynamics.descent import descend as descend
from flowkit.dynamics.flow import integrate as integrate
from flowkit.dynamics.orders import OrderStudy as OrderStudy, study_order as study_order
from flowkit.dynamics.stabilized import RKC2 as RKC2
