"""Numbers printed in papers. They are only ever compared with, never used in a result."""

from typing import NamedTuple

FULL_TRAIN, FULL_TEST = 50_000, 10_000
FIRST_TRAIN = 2_000

# (read-out, depth) -> percent on the 10,000 test images of CIFAR-10, by number of training images.
# Arora et al. 2019, arXiv:1904.11955v2, Table 1 (all 50,000, and the first 2,000).
CNTK_CIFAR = {
    ("flatten", 3): {FULL_TRAIN: 64.47, FIRST_TRAIN: 40.94},
    ("flatten", 4): {FULL_TRAIN: 65.52, FIRST_TRAIN: 42.54},
    ("flatten", 6): {FULL_TRAIN: 66.03, FIRST_TRAIN: 43.43},
    ("flatten", 11): {FULL_TRAIN: 65.90, FIRST_TRAIN: 43.42},
    ("flatten", 21): {FULL_TRAIN: 64.09, FIRST_TRAIN: 42.53},
    ("gap", 3): {FULL_TRAIN: 70.47, FIRST_TRAIN: 49.71},
    ("gap", 4): {FULL_TRAIN: 75.93, FIRST_TRAIN: 51.06},
    ("gap", 6): {FULL_TRAIN: 76.73, FIRST_TRAIN: 51.73},
    ("gap", 11): {FULL_TRAIN: 77.43, FIRST_TRAIN: 51.92},
    ("gap", 21): {FULL_TRAIN: 77.08, FIRST_TRAIN: 52.22},
}


class SmallData(NamedTuple):
    """Mean percent over random training sets of equal size per class."""

    cntk: float
    resnet: float


SMALL_DEPTH = 11

# Training images -> CNTK-GAP of depth 11 and ResNet-34, on the test images of CIFAR-10.
# Arora et al. 2020, arXiv:1910.01663, section 5.
SMALL_CIFAR = {
    10: SmallData(15.3, 14.6),
    20: SmallData(18.7, 17.5),
    40: SmallData(21.2, 19.5),
    80: SmallData(25.4, 23.3),
    160: SmallData(30.5, 28.3),
    320: SmallData(36.4, 33.2),
    640: SmallData(42.4, 41.7),
    1280: SmallData(48.7, 49.1),
}
