"""Accuracies with intervals."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, norm

CONFIDENCE = 0.95
DEVIATIONS = float(norm.ppf((1 + CONFIDENCE) / 2))

Hits = Bool[np.ndarray, " test"]


def hits_of(scores: Float[np.ndarray, "test classes"], labels: Int[np.ndarray, " test"]) -> Hits:
    """Which points are classified correctly by the largest score."""
    return np.asarray(scores).argmax(1) == labels


def accuracy_row(hits: Hits) -> dict[str, float]:
    """Accuracy in percent and its 95 % interval (Wilson's, for independent test points)."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "accuracy": 100 * float(hits.mean()),
        "low": 100 * float(interval.low),
        "high": 100 * float(interval.high),
    }


def gain(hits: Hits, reference: Hits) -> tuple[float, float]:
    """Difference of two accuracies on the same points, and half its 95 % interval, in percent.

    The interval is that of a mean of paired differences, each -1, 0 or 1.
    """
    return mean_and_margin(100.0 * (hits.astype(float) - reference))


def mean_and_margin(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean and half the 95 % interval of independent values; no margin for a single one."""
    if len(values) < 2:
        return float(values.mean()), 0.0
    return float(values.mean()), DEVIATIONS * float(values.std(ddof=1) / np.sqrt(len(values)))
