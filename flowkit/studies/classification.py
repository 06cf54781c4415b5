"""Classification by kernel regression, as in the papers, and the baselines it is held against."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from rich.progress import Progress as Bar
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import GridSearchCV, KFold

from flowkit.gramian.meter import Report
from flowkit.kernels import AbstractKernel, Convolutional
from flowkit.regression import CholeskyRegression, KernelRegression, fit
from flowkit.studies.accuracy import Hits, hits_of
from flowkit.studies.matrices import kept_gram
from flowkit.studies.work import Work

CLASSES = 10
LABEL_OFFSET = -0.1  # targets are e_c - 0.1, as published
NAMES = {"flatten": "CNTK-V", "gap": "CNTK-GAP"}
FOLDS = 5
RIDGES = np.geomspace(1e-6, 1e3, 10)
WIDTHS = np.geomspace(1e-2, 1e1, 7)  # of the RBF's exponent, times the mean square distance

Gram = Float[np.ndarray, "train train"]
TestGram = Float[np.ndarray, "test train"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Labelled images to train on and to test on."""

    images: Float[np.ndarray, "train ..."]
    labels: Int[np.ndarray, " train"]
    test_images: Float[np.ndarray, "test ..."]
    test_labels: Int[np.ndarray, " test"]

    @property
    def classes(self) -> int:
        """How many classes there are, from 0."""
        return int(max(self.labels.max(), self.test_labels.max())) + 1

    def flat(self) -> "Data":
        """Each image as one row of features."""
        images, test_images = (x.reshape(len(x), -1) for x in (self.images, self.test_images))
        return dataclasses.replace(self, images=images, test_images=test_images)


@dataclasses.dataclass(frozen=True)
class Grams:
    """Gram matrices of a study: where they are kept, and the bar that shows how far they are."""

    folder: Path
    bar: Bar

    @classmethod
    def beside(cls, work: Work) -> "Grams":
        """Those of a study, in its folder."""
        return cls(work.out / "grams", work.bar)

    def of(self, name: str, kernel: AbstractKernel, data: Data) -> tuple[Gram, TestGram]:
        """The kernel among the training images, and of test images with training images."""
        images, test_images = data.images, data.test_images
        with shown(self.bar, f"{name}, train") as progress:
            path = self.folder / f"{slug(name)}-train"
            gram = kept_gram(kernel, images, folder=path, progress=progress)
        with shown(self.bar, f"{name}, test") as progress:
            path = self.folder / f"{slug(name)}-test"
            test = kept_gram(kernel, test_images, images, folder=path, progress=progress)
        return gram, test


@contextmanager
def shown(bar: Bar, label: str) -> Iterator[Report]:
    """A function that shows, beside a label, how many pairs of how many are done."""
    task = bar.add_task(label)
    yield lambda done, total: bar.update(task, completed=done, total=total)
    bar.remove_task(task)


def cntk(readout: str, depth: int) -> tuple[str, Convolutional]:
    """The published kernel of a read-out, with its name."""
    return f"{NAMES[readout]}, depth {depth}", Convolutional(depth, readout=readout)


def targets(
    labels: Int[np.ndarray, " n"], dtype: np.dtype, classes: int = CLASSES
) -> Float[np.ndarray, "n classes"]:
    """One-hot labels, shifted as published."""
    return (np.eye(classes)[labels] + LABEL_OFFSET).astype(dtype)


def regression_hits(gram: Gram, test_gram: TestGram, data: Data, ridge: float = 0.0) -> Hits:
    """Exact kernel regression; without ridge what training an infinitely wide network ends in."""
    fitted = end_of_training(gram, targets(data.labels, gram.dtype, data.classes), ridge)
    return hits_of(np.asarray(fitted.predict(test_gram)), data.test_labels)


def end_of_training(
    gram: Gram, wanted: Float[np.ndarray, "train classes"], ridge: float = 0.0
) -> CholeskyRegression | KernelRegression:
    """Kernel regression: by a Cholesky factorization, or of a singular matrix by its eigenbasis.

    Singular means up to rounding: of equal images, whose labels are then averaged.

    Raises:
        ValueError: the matrix is not positive semidefinite, or the ridge is negative.
    """
    try:
        return fit(gram, wanted, ridge=ridge, solver="cholesky")
    except ValueError:  # not definite beyond rounding: zero eigenvalues are left out
        return fit(gram, wanted, ridge=ridge)


def linear_hits(data: Data, seed: int) -> Hits:
    """Linear ridge regression; the ridge by cross-validation on the training images."""
    flat = data.flat()
    search = _tuned(Ridge(), flat.images, data, seed)
    return hits_of(search.predict(flat.test_images), data.test_labels)


def rbf_hits(data: Data, seed: int) -> Hits:
    """RBF kernel ridge regression; ridge and width by cross-validation on the training images."""
    flat = data.flat()
    near = euclidean_distances(flat.images, squared=True)  # once for all widths
    far = euclidean_distances(flat.test_images, flat.images, squared=True)
    gammas = WIDTHS / (2 * flat.images.var(0).sum())  # the mean square distance
    model = KernelRidge(kernel="precomputed")
    searches = [_tuned(model, np.exp(-gamma * near), data, seed) for gamma in gammas]
    # Of equals the one of the least ridge, then of the least width, as of one grid of both.
    scores = np.stack([search.cv_results_["mean_test_score"] for search in searches], axis=1)
    best = int(scores.argmax()) % len(gammas)
    return hits_of(searches[best].predict(np.exp(-gammas[best] * far)), data.test_labels)


def _tuned(
    model: KernelRidge | Ridge, inputs: Float[np.ndarray, "train _"], data: Data, seed: int
) -> GridSearchCV:
    """The model with the ridge of the best cross-validated accuracy, fitted to all inputs."""
    folds = KFold(min(FOLDS, len(data.labels)), shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"alpha": RIDGES}, scoring=_argmax_accuracy, cv=folds)
    return search.fit(inputs, targets(data.labels, inputs.dtype, data.classes))


def _argmax_accuracy(
    model: KernelRidge | Ridge,
    images: Float[np.ndarray, "n features"],
    wanted: Float[np.ndarray, "n classes"],
) -> float:
    return float(hits_of(model.predict(images), wanted.argmax(1)).mean())


def slug(name: str) -> str:
    """A name as part of a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
