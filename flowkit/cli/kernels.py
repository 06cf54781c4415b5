"""`flowkit kernel`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table

from flowkit.cli.networks import Flip, Network, kernel_of
from flowkit.cli.terminal import PLACES, options_of, refusing, reporting
from flowkit.cli.texts import ascending
from flowkit.kernels.checks import Kind
from flowkit.kernels.convolutions import Padding
from flowkit.kernels.layers import Convention, Parametrization
from flowkit.symbolic.activations import ACTIVATIONS

# Arguments of the kernels -> options, where their names differ.
RENAMED = {"train": "--trained-layers", "train_biases": "--trained-biases", "x": "IMAGES"}

_network = partial(typer.Option, rich_help_panel="Network")
_convolution = partial(typer.Option, rich_help_panel="Network, if convolutional")
_output = partial(typer.Option, rich_help_panel="Gram matrix and regression")


def kernel(
    images: Annotated[
        str,
        typer.Argument(
            help="`digits`; `cifar`, drawn from the folder --data; a CIFAR-10 folder, from the "
            "start of its files; a .npy file; or a .npz with `images`."
        ),
    ],
    labels: Annotated[
        Path | None, typer.Option(help="Labels of a .npy file, as .npy; a .npz has `labels`.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="CIFAR-10 folder, either format, for `cifar`.")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Images to take, or several numbers, 10,20,40, the smaller sets parts of the "
            "largest. From `cifar` equally many of each class.",
            show_default="all",
        ),
    ] = None,
    test: Annotated[
        int | None,
        typer.Option(help="Further images to test on.", show_default="none; all of `cifar`"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the draw from the digits or `cifar`.", show_default="0"),
    ] = None,
    network: Annotated[Network, _network(help="Kind of network.")] = "convolutional",
    depth: Annotated[
        str,
        _network(
            help="Weight layers, the read-out's dense one included; or several numbers, 3,11."
        ),
    ] = "3",
    activation: Annotated[str, _network(help=f"One of {', '.join(ACTIVATIONS)}.")] = "relu",
    convention: Annotated[
        Convention, _network(help="How variances count fan-in: see `flowkit.kernels`.")
    ] = "arora",
    parametrization: Annotated[
        Parametrization,
        _network(help="Deviations as factors (NTK), or in the draw (standard; needs --width)."),
    ] = "ntk",
    width: Annotated[int | None, _network(help="Units or channels that `standard` counts.")] = None,
    weight_variance: Annotated[
        float | None, _network(help="sigma_w^2.", show_default="1 / E[s(x)^2], 2 for the ReLU")
    ] = None,
    bias_variance: Annotated[float, _network(help="sigma_b^2; 0 means no biases.")] = 0.0,
    trained_layers: Annotated[
        str | None,
        _network(
            help="Layers whose weights are trained: `all`, `inner` (the first and the last fixed, "
            "not left out, in either convention), `none`, or 2,3.",
            show_default="all; inner for gap in arora",
        ),
    ] = None,
    trained_biases: Annotated[
        str | None,
        _network(
            help="Layers whose biases are trained; needs --bias-variance.",
            show_default="as --trained-layers",
        ),
    ] = None,
    readout: Annotated[
        str | None,
        _convolution(
            help="`gap` (global average pooling), `flatten`, or `lap:C`, the local average "
            "pooling LAP(C) over windows of side 2 C + 1.",
            show_default="gap",
        ),
    ] = None,
    filter_size: Annotated[
        str | None,
        _convolution(help="Odd side of the filters, or height x width, as 3x5.", show_default="3"),
    ] = None,
    padding: Annotated[
        Padding | None,
        _convolution(
            help="Padding of the images; valid: filters stay inside.", show_default="zero"
        ),
    ] = None,
    strides: Annotated[
        str | None, _convolution(help="A size, or by layer, as 1:2,3:2x1.", show_default="1")
    ] = None,
    pooling: Annotated[
        str | None,
        _convolution(help="Windows of average pooling, as --strides.", show_default="1"),
    ] = None,
    flip: Annotated[
        Flip | None,
        _convolution(help="Average over mirror images along an axis.", show_default="none"),
    ] = None,
    kind: Annotated[Kind, _output(help="Tangent kernel, or covariance of outputs.")] = "ntk",
    unit_diagonal: Annotated[  # noqa: FBT002
        bool, _output("--unit-diagonal", help="K(x, z) / sqrt(K(x, x) K(z, z)), after flips.")
    ] = False,
    ridge: Annotated[
        float, _output(help="Ridge of the regression; needs labels and --test.")
    ] = 0.0,
    float32: Annotated[  # noqa: FBT002
        bool, _output("--float32", help="Single precision.")
    ] = False,
    rows: Annotated[
        int | None,
        _output(
            min=1,
            help="Rows and columns of a tile, which is what an interruption loses at most.",
            show_default="a 16th of the images, from 16 to 256",
        ),
    ] = None,
    estimate: Annotated[  # noqa: FBT002
        bool,
        _output("--estimate", help="Say first how many hours it takes, after 10 s of calibration."),
    ] = False,
    out: Annotated[Path, _output(help="Folder for the matrices.")] = Path("gram"),
) -> None:
    """Gram matrices of images, and with labels how well kernel regression classifies.

    With several depths or numbers of images, and for `cifar`, a table and a figure of accuracies,
    next to those of RBF ridge regression and to published ones; the matrices of a depth are then
    in a folder of its own.

    An interrupted run goes on when it is started again, and with more images in the same folder,
    those of before first, only what is new is computed (with the extra `scale`).
    """
    from flowkit.studies.curves import measure
    from flowkit.studies.kernel_accuracy import Request
    from flowkit.studies.reading import check_sizes, read_images
    from flowkit.studies.study import Study

    options = options_of(kernel)
    with reporting(options) as bar:
        sizes, depths = ascending("train", train), ascending("depth", depth)
        with refusing(options | PLACES):
            read = read_images(
                images,
                labels=labels,
                data=data,
                train=max(sizes, default=None),
                test=test,
                seed=seed,
                dtype="float32" if float32 else "float64",
            )
            check_sizes(sizes, read)
        with refusing(options | PLACES | RENAMED):
            kernels = {
                each: kernel_of(
                    network,
                    each,
                    activation,
                    written={
                        "readout": readout,
                        "filter_size": filter_size,
                        "padding": padding,
                        "strides": strides,
                        "pooling": pooling,
                    },
                    flip=flip,
                    unit_diagonal=unit_diagonal,
                    convention=convention,
                    parametrization=parametrization,
                    width=width,
                    weight_variance=weight_variance,
                    bias_variance=bias_variance,
                    trained_layers=trained_layers,
                    trained_biases=trained_biases,
                )
                for each in depths
            }
            found = measure(
                kernels,
                read,
                sizes or (len(read.images),),
                Request(kind, rows, ridge),
                out=out,
                bar=bar,
                source=images,
                seed=seed or 0,
                estimated=estimate,
            )
    console = Console()
    if isinstance(found, Study):
        found.show(console)
    elif found:
        console.print(_accuracy_table(found))
    console.print(f"Gram matrices: {out}")


def _accuracy_table(found: dict[str, dict[str, float]]) -> Table:
    table = Table("images", "accuracy (%)", "95 % interval", box=HORIZONTALS)
    for name, row in found.items():
        table.add_row(name, f"{row['accuracy']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}")
    return table
