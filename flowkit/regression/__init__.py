"""Kernel regression: at the end of kernel gradient flow, at any time on the way, and for ensembles.

`fit` solves the flow; `select` chooses its ridge and its time; `ensemble` and `gaussian_process`
give the mean and covariance of wide networks; `conjugate_gradients` solves what does not fit in
memory.
"""

from flowkit.regression.cholesky import CholeskyRegression as CholeskyRegression
from flowkit.regression.ensembles import (
    Posterior as Posterior,
    ensemble as ensemble,
    gaussian_process as gaussian_process,
)
from flowkit.regression.fitting import fit as fit
from flowkit.regression.flow import KernelRegression as KernelRegression
from flowkit.regression.iterative import (
    IterativeSolution as IterativeSolution,
    RowTiles as RowTiles,
    conjugate_gradients as conjugate_gradients,
    nystrom as nystrom,
)
from flowkit.regression.packed import (
    PackedRegression as PackedRegression,
    StoredMatrix as StoredMatrix,
)
from flowkit.regression.selection import (
    Selection as Selection,
    mean_square as mean_square,
    misclassification as misclassification,
    select as select,
)
