"""The estimator of infinitely wide convolutional networks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from flowkit.estimators.base import INFINITY, AbstractKernelClassifier, Rows
from flowkit.kernels import AbstractKernel, Convolutional

Shape = tuple[int, ...]
IMAGE_AXES = 3


class CNTKClassifier(AbstractKernelClassifier):
    """Classification of images by an infinitely wide convolutional network, trained to time t.

    One output per class is fitted to e_c - 0.1, by gradient flow of 1/2 the sum of squares from
    outputs zero. Images are an array of images x height x width x channels, or rows of as many
    features in that order, for which `image_shape` must say how to fold them: it is never guessed.

    Args:
        depth: The number of weight layers of the default kernel, `fk.kernels.Convolutional`:
            depth - 1 convolutions and a read-out. The defaults are CNTK-GAP as published.
        activation: Its activation, by name.
        filter_size: Its filters' size.
        readout: "gap", or "flatten" for CNTK-V.
        train_ends: Whether its first and last layer are trained; None as published.
        kernel: Another kernel of `fk.kernels` that takes images; or "precomputed".
        kind: "ntk", or "nngp" to train the last layer alone.
        image_shape: Height, width and channels of an image; one of them may be -1, as in
            `numpy.reshape`. None where images are given unflattened.
        ridge: Added to the diagonal of the Gram matrix.
        relative_ridge: Whether the ridge counts in units of the Gram matrix's mean diagonal.
        t: Flow time at which training stops.

    Attributes:
        classes_: The labels, in the order of the outputs.
        image_shape_: Height, width and channels, where images were given and not a Gram matrix.
        regression_: The `fk.regression.KernelRegression` of the training points, for every time.
        X_fit_: The training images, flattened.
        n_features_in_: height x width x channels.

    Source:
        Arora et al. 2019, arXiv:1904.11955, sections 4 and 6. Checked by tests/test_estimators.py.
    """

    def __init__(
        self,
        depth: int = 3,
        activation: str = "relu",
        *,
        filter_size: int = 3,
        readout: str = "gap",
        train_ends: bool | None = None,
        kernel: AbstractKernel | str | None = None,
        kind: str = "ntk",
        image_shape: Sequence[int] | None = None,
        ridge: float = 0.0,
        relative_ridge: bool = False,
        t: float = INFINITY,
    ):
        self.depth = depth
        self.activation = activation
        self.filter_size = filter_size
        self.readout = readout
        self.train_ends = train_ends
        self.kernel = kernel
        self.kind = kind
        self.image_shape = image_shape
        self.ridge = ridge
        self.relative_ridge = relative_ridge
        self.t = t

    def _default_kernel(self) -> AbstractKernel:
        return Convolutional(
            self.depth,
            self.activation,
            filter_size=self.filter_size,
            readout=self.readout,
            train_ends=self.train_ends,
        )

    def _inputs(self, rows: Rows) -> Float[np.ndarray, "points height width channels"]:
        return rows.reshape(len(rows), *self.image_shape_)

    def _check_rows(self, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
        """Images flattened; sets `image_shape_` in a fit and holds to it afterwards."""
        shape = None
        X = np.asarray(X) if isinstance(X, list | tuple) else X
        if getattr(X, "ndim", None) == 1 + IMAGE_AXES:
            images = np.asarray(X)
            shape, X = images.shape[1:], images.reshape(len(images), -1)
        checked = super()._check_rows(X, y, **checks)
        if self._is_precomputed:
            return checked
        if checks.get("reset", True):
            features = (checked[0] if isinstance(checked, tuple) else checked).shape[1]
            self.image_shape_ = _image_shape(self.image_shape, shape, features)
        elif shape not in (None, self.image_shape_):
            raise ValueError(
                f"Argument `X` must hold images of shape {self.image_shape_}, as in the fit, but "
                f"they have shape {shape}."
            )
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None or self._is_precomputed
        return tags


def _image_shape(stated: Sequence[int] | None, given: Shape | None, features: int) -> Shape:
    """The shape that was stated, given with the images, or both in agreement."""
    if stated is None:
        if given is None:
            raise ValueError(
                "Argument `X` must be images x height x width x channels where `image_shape` is "
                "None, but it has rows of features: state `image_shape` to fold them."
            )
        return given
    shape = _complete(stated, features)
    if given not in (None, shape):
        raise ValueError(
            f"Argument `X` must hold images of shape {shape}, as `image_shape` says, but they have "
            f"shape {given}."
        )
    return shape


def _complete(stated: Sequence[int], features: int) -> Shape:
    """The shape with its -1 filled in."""
    known = math.prod(size for size in stated if size != -1)
    open_axes = sum(size == -1 for size in stated)
    valid = len(stated) == IMAGE_AXES and known > 0 and all(s == -1 or s > 0 for s in stated)
    if not valid or open_axes > 1 or features % known or (known != features and not open_axes):
        raise ValueError(
            f"Argument `image_shape` must be height, width and channels of {features} features in "
            f"all, one of them -1 if it is open, but it is `{stated}`."
        )
    return tuple(features // known if size == -1 else int(size) for size in stated)
