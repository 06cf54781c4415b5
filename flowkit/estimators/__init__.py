"""Scikit-learn's doors: regression and classification by exact kernels, and imputation."""

from flowkit.estimators.convolutional import CNTKClassifier as CNTKClassifier
from flowkit.estimators.factorization import DeepMatrixFactorization as DeepMatrixFactorization
from flowkit.estimators.fully_connected import (
    NTKClassifier as NTKClassifier,
    NTKRegressor as NTKRegressor,
)
