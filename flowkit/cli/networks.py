"""The kernel that options of the command line describe."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from flowkit.cli.texts import layers as layers_of, of_images
from flowkit.kernels import (
    AbstractKernel,
    Convolutional,
    FlipAveraged,
    FullyConnected,
    UnitDiagonal,
)
from flowkit.kernels.layers import Parametrization
from flowkit.kernels.wrappers import Axis

Network = Literal["convolutional", "fully-connected"]
Flip = Literal["width", "height", "both"]


def kernel_of(
    network: Network,
    depth: int,
    activation: str,
    *,
    written: Mapping[str, str | None],
    flip: Flip | None = None,
    unit_diagonal: bool = False,
    **shared: Any,
) -> AbstractKernel:
    """The kernel of a network, averaged over flips, then scaled to a unit diagonal.

    Args:
        network: "convolutional" or "fully-connected".
        depth: The number of weight layers.
        activation: What `flowkit.symbolic.dual` takes.
        written: Arguments of `Convolutional` alone, as on the command line; None if left out.
        flip: The axis of the flips.
        unit_diagonal: Whether the diagonal is 1.
        **shared: Options of both networks, with those of `_layers`.

    Returns:
        The kernel.

    Raises:
        ValueError: an option has no meaning beside the others, or the kernel refuses it.
    """
    layers = _layers(depth, **shared)
    if network == "convolutional":
        kernel: AbstractKernel = Convolutional(depth, activation, **of_images(**written), **layers)
    else:
        _refuse({**written, "flip": flip})
        kernel = FullyConnected(depth, activation, **layers)
    if flip is not None:
        kernel = FlipAveraged(kernel, get_args(Axis) if flip == "both" else (flip,))
    if unit_diagonal:
        kernel = UnitDiagonal(kernel)  # pyright: ignore[reportCallIssue]  (`axes` is a property)
    return kernel


def _refuse(of_images: Mapping[str, str | None]) -> None:
    for name, text in of_images.items():
        if text is not None:
            raise ValueError(
                f"Argument `{name}` must be left out of a fully connected network, but it is "
                f"`{text}`."
            )


def _layers(
    depth: int,
    *,
    parametrization: Parametrization,
    width: int | None,
    bias_variance: float,
    trained_layers: str | None,
    trained_biases: str | None,
    **others: Any,
) -> dict[str, Any]:
    """Arguments of both networks, from options that are what they say together."""
    _check_width(parametrization, width)
    _check_biases(trained_biases, bias_variance)
    return others | {
        "parametrization": parametrization,
        "width": width,
        "bias_variance": bias_variance,
        "train": layers_of("trained_layers", trained_layers, depth),
        "train_biases": layers_of("trained_biases", trained_biases, depth),
    }


def _check_width(parametrization: Parametrization, width: int | None) -> None:
    if (parametrization == "standard") != (width is not None):
        found = "left out" if width is None else f"`{width}` with `{parametrization}`"
        raise ValueError(
            f"Argument `width` must be given with `--parametrization standard`, and only then, "
            f"but it is {found}."
        )


def _check_biases(trained: str | None, variance: float) -> None:
    if trained is not None and variance == 0:
        raise ValueError(
            f"Argument `trained_biases` must be left out without biases, which "
            f"`--bias-variance` gives, but it is `{trained}`."
        )
