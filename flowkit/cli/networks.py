"""The kernel that options of the command line describe."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from flowkit.kernels import (
    AbstractKernel,
    Convolutional,
    FlipAveraged,
    FullyConnected,
    UnitDiagonal,
)
from flowkit.kernels.wrappers import Axis

Network = Literal["convolutional", "fully-connected"]
Flip = Literal["width", "height", "both"]


def kernel_of(
    network: Network,
    depth: int,
    activation: str,
    *,
    of_images: Mapping[str, Any],
    flip: Flip | None = None,
    unit_diagonal: bool = False,
    **layers: Any,
) -> AbstractKernel:
    """The kernel of a network, averaged over flips, then scaled to a unit diagonal.

    Args:
        network: "convolutional" or "fully-connected".
        depth: The number of weight layers.
        activation: What `flowkit.symbolic.dual` takes.
        of_images: Arguments of `Convolutional` alone.
        flip: The axis of the flips.
        unit_diagonal: Whether the diagonal is 1.
        **layers: Arguments that both networks take.

    Returns:
        The kernel.

    Raises:
        ValueError: an argument of images is given for a fully connected network, or the kernel
            refuses one.
    """
    if network == "convolutional":
        kernel: AbstractKernel = Convolutional(depth, activation, **of_images, **layers)
    else:
        _refuse({**of_images, **({} if flip is None else {"flip": flip})})
        kernel = FullyConnected(depth, activation, **layers)
    if flip is not None:
        kernel = FlipAveraged(kernel, get_args(Axis) if flip == "both" else (flip,))
    if unit_diagonal:
        kernel = UnitDiagonal(kernel)  # pyright: ignore[reportCallIssue]  (`axes` is a property)
    return kernel


def _refuse(of_images: Mapping[str, Any]) -> None:
    for name, value in of_images.items():
        raise ValueError(
            f"Argument `{name}` must be left out of a fully connected network, but it is `{value}`."
        )
