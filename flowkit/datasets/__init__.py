"""Real data: samples that come with flowkit and scikit-learn, and readers of CIFAR-10 folders."""

from flowkit.datasets.cifar import cifar10 as cifar10
from flowkit.datasets.samples import (
    digits as digits,
    seattle_temperatures as seattle_temperatures,
)
from flowkit.datasets.subsets import equal_per_class as equal_per_class, split as split
