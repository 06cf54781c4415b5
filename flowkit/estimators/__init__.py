"""The exact kernels behind scikit-learn's doors: regression and classification."""

from flowkit.estimators.convolutional import CNTKClassifier as CNTKClassifier
from flowkit.estimators.fully_connected import (
    NTKClassifier as NTKClassifier,
    NTKRegressor as NTKRegressor,
)
