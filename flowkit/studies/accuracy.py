"""Accuracies with intervals."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, t as student

CONFIDENCE = 0.95

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


def standard_error(hits: Hits) -> float:
    """That of an accuracy in percent, sqrt(p (1 - p) / n), for independent test points."""
    return 100 * float(hits.std() / np.sqrt(len(hits)))


def gain(hits: Hits, reference: Hits) -> tuple[float, float | None]:
    """Difference of two accuracies on the same points, and half its 95 % interval, in percent.

    The interval is that of a mean of paired differences, each -1, 0 or 1.
    """
    return mean_and_margin(100.0 * (hits.astype(float) - reference))


def mean_and_margin(values: Float[np.ndarray, " n"]) -> tuple[float, float | None]:
    """Mean and half its 95 % interval (Student's) of independent values; None of a single one."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, None
    quantile = student.ppf((1 + CONFIDENCE) / 2, count - 1)
    return mean, float(quantile * values.std(ddof=1) / np.sqrt(count))
