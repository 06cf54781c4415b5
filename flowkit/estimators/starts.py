"""What was learnt from one start, and the mean over several."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from flowkit.estimators.standardisation import Rows, Units
from flowkit.initial import Factors
from flowkit.observables import end_to_end


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a flow from one start learnt; as the attributes of `DeepMatrixFactorization`.

    Attributes:
        factors: The factors, in the standard units `units`.
        units: Offsets and scales of the factors.
        taught_units: Those along training, of the entries that were not held out.
        time: The flow time at which training stopped.
        loss: The held-out mean square there; the training one where nothing is held out.
        times: When losses were looked at.
        train_losses: Mean squares of training at these times.
        held_out_losses: Those of what is held out.
    """

    factors: Factors = field(repr=False)
    units: Units = field(repr=False)
    taught_units: Units = field(repr=False)
    time: float = 0.0
    loss: float = 0.0
    times: Float[np.ndarray, " time"] = field(default_factory=lambda: np.zeros(0), repr=False)
    train_losses: Float[np.ndarray, " time"] = field(
        default_factory=lambda: np.zeros(0), repr=False
    )
    held_out_losses: Float[np.ndarray, " times"] = field(
        default_factory=lambda: np.zeros(0), repr=False
    )

    @property
    def product(self) -> Rows:
        """The end-to-end matrix, in the standard units `units`."""
        return np.asarray(end_to_end(self.factors), float)


def mean_product(learnt: Sequence[Learnt], units: Units) -> Rows:
    """The mean of the completed matrices, in standard units."""
    if all(one.units is units for one in learnt):
        return np.mean([one.product for one in learnt], axis=0)
    return units.standardise(np.mean([one.units.restore(one.product) for one in learnt], axis=0))
