"""Samples that come with flowkit and scikit-learn, readers of the user's files, random matrices."""

from flowkit.datasets.cifar import cifar10 as cifar10
from flowkit.datasets.low_rank import LowRank as LowRank, low_rank as low_rank
from flowkit.datasets.matrices import read_matrix as read_matrix
from flowkit.datasets.movielens import (
    movielens as movielens,
    synthetic_ratings as synthetic_ratings,
)
from flowkit.datasets.samples import (
    digits as digits,
    san_francisco_temperatures as san_francisco_temperatures,
    seattle_temperatures as seattle_temperatures,
)
from flowkit.datasets.subsets import equal_per_class as equal_per_class, split as split
