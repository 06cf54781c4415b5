"""Completion methods to hold a flow against; each returns a `Completed` matrix with its facts."""

from flowkit.baselines.alternating import (
    alternating_least_squares as alternating_least_squares,
    tuned_alternating_least_squares as tuned_alternating_least_squares,
)
from flowkit.baselines.completed import Certificate as Certificate, Completed as Completed
from flowkit.baselines.nuclear import minimum_nuclear_norm as minimum_nuclear_norm
from flowkit.baselines.offsets import (
    row_plus_column_effects as row_plus_column_effects,
    row_plus_column_means as row_plus_column_means,
)
from flowkit.baselines.shrinkage import (
    soft_impute as soft_impute,
    soft_impute_path as soft_impute_path,
    tuned_soft_impute as tuned_soft_impute,
)
