"""flowkit: derive, integrate and verify gradient-flow dynamics of deep learning.

A derivation becomes a field, a field becomes a trajectory, two trajectories become an agreement,
agreements become a report.
"""

import importlib
from typing import Any

from flowkit import (
    dynamics as dynamics,
    gramian as gramian,
    initial as initial,
    kernels as kernels,
    networks as networks,
    observables as observables,
    regression as regression,
    rules as rules,
    symbolic as symbolic,
    until as until,
)
from flowkit.agreement import (
    Agreement as Agreement,
    compare as compare,
    fitted_order as fitted_order,
)
from flowkit.claim import Claim as Claim, Verdict as Verdict
from flowkit.dynamics import (
    OrderStudy as OrderStudy,
    descend as descend,
    integrate as integrate,
    study_order as study_order,
    sweep as sweep,
)
from flowkit.fields import (
    DerivedFlow as DerivedFlow,
    EndToEndFlow as EndToEndFlow,
    FactorFlow as FactorFlow,
    KernelFlow as KernelFlow,
    ModelFlow as ModelFlow,
    ModifiedFlow as ModifiedFlow,
    ReshuffledFlow as ReshuffledFlow,
    SpectralFlow as SpectralFlow,
    StochasticFlow as StochasticFlow,
)
from flowkit.gramian import gram as gram
from flowkit.lowering import LoweringError as LoweringError, lower as lower
from flowkit.minibatches import Minibatches as Minibatches
from flowkit.problems import (
    GaussianSensing as GaussianSensing,
    MatrixCompletion as MatrixCompletion,
    MatrixSensing as MatrixSensing,
    WeightedCompletion as WeightedCompletion,
)
from flowkit.spectrum import Spectrum as Spectrum
from flowkit.trajectory import Result as Result, Trajectory as Trajectory

__version__ = "0.1.0"

# Rooms that load Matplotlib or scikit-learn, imported at first use (PEP 562).
_LAZY = {
    "baselines": "flowkit.baselines",
    "datasets": "flowkit.datasets",
    "estimators": "flowkit.estimators",
    "report": "flowkit.report",
}
_LAZY_NAMES = {"verify": "flowkit.claims.verification"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(_LAZY[name])
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(_LAZY_NAMES[name]), name)
    raise AttributeError(f"module 'flowkit' has no attribute {name!r}")
