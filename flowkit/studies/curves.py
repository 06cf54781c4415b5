"""Accuracy of kernel regression by depth and by number of training images."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress as Bar

from flowkit.gramian.descriptions import describe_kernel
from flowkit.kernels import AbstractKernel
from flowkit.storage.folders import writing_to
from flowkit.studies.accuracy import Hits, accuracy_row, gain, standard_error
from flowkit.studies.classification import NAMES, Data, cntk, rbf_hits, regression_hits
from flowkit.studies.curve_charts import CurveRow, curve_chart
from flowkit.studies.images import ImageSettings
from flowkit.studies.kernel_accuracy import (
    ACCURACY,
    Accuracies,
    Kernels,
    Request,
    check,
    fitting,
    hours_left,
    write_accuracy,
    write_grams,
)
from flowkit.studies.published import CNTK_CIFAR, FULL_TEST, FULL_TRAIN, SMALL_CIFAR, SMALL_DEPTH
from flowkit.studies.reading import CIFAR, Images, check_sizes
from flowkit.studies.study import Study

REFERENCE = "RBF ridge"
LARGEST_REFERENCE = 2_000  # training images that the baseline is tuned on; beyond, minutes
NOTES = (
    "Standard errors and Wilson's 95 % intervals: of the test images. Margins: of the differences.",
    "RBF ridge: of the pixels, ridge and width by cross-validation on the training images.",
)
COMPARED = (
    f"Published: on the {FULL_TEST:,} test images of CIFAR-10; of small training sets the mean "
    "over random ones (arXiv:1910.01663, section 5), of all images arXiv:1904.11955v2, Table 1."
)

_Found = Mapping[tuple[int | None, int], Hits]  # by depth, None for the baseline, and size


def measure(
    kernels: Kernels,
    images: Images,
    sizes: Sequence[int],
    request: Request,
    *,
    out: Path,
    bar: Bar,
    source: str,
    seed: int = 0,
    estimated: bool,
) -> Study | Accuracies:
    """Write Gram matrices, and accuracies: as `write_accuracy` of one matrix, else as curves.

    Args:
        kernels: By depth. That of one depth alone has its Gram matrices in `out`, those of several
            are in a folder each, `out/depth-3`.
        images: As read.
        sizes: Numbers of training images; the largest is that of all.
        request: What is computed of each kernel.
        out: A folder; what an earlier run left in it is used.
        bar: Shows how far the matrices are.
        source: What the images are called; "cifar" gets curves also of one matrix.
        seed: Of the cross-validation of the baseline of curves.
        estimated: Whether to say first how long it will take.

    Returns:
        What there is to show; empty without labels or without images to test on.

    Raises:
        ValueError: a folder holds another Gram matrix or cannot be written, there is a ridge where
            nothing is classified, a size breaks a round of the images, or a kernel or the
            regression refuses.
    """
    data = fitting(next(iter(kernels.values())), images)
    for kernel in kernels.values():
        check(kernel, data, request)
    folders = {depth: out if len(kernels) == 1 else out / f"depth-{depth}" for depth in kernels}
    if estimated:
        bar.console.print(hours_left(kernels, data, request, folders))
    with writing_to(out):
        if len(kernels) == len(sizes) == 1 and source != CIFAR:
            (kernel,) = kernels.values()
            return write_accuracy(kernel, data, request, out=out, bar=bar)
        study = write_curves(
            kernels,
            data,
            sizes,
            request,
            folders=folders,
            out=out,
            bar=bar,
            source=source,
            seed=seed,
        )
    return study or {}


def write_curves(
    kernels: Kernels,
    images: Images,
    sizes: Sequence[int],
    request: Request,
    *,
    folders: Mapping[int, Path],
    out: Path,
    bar: Bar,
    source: str,
    seed: int = 0,
) -> Study | None:
    """Write Gram matrices of each depth, and accuracies by depth and size with a figure of them.

    The smaller training sets are the first images of the largest, whose Gram matrices serve all;
    accuracies at different sizes are correlated.

    Args:
        kernels: By depth.
        images: As the kernels take them; accuracies need labels and images to test on.
        sizes: Numbers of training images; the largest is that of all.
        request: What is computed of each kernel.
        folders: Where the Gram matrices of each depth are kept.
        out: Gets `accuracy.json` and `figure.png`.
        bar: Shows how far the matrices are.
        source: What the images are called; those called "cifar" are compared with published ones.
        seed: Of the cross-validation of the baseline.

    Returns:
        A row for each depth and size, and for ridge regression with an RBF kernel of the pixels on
        the same images; None without labels or without images to test on.

    Raises:
        ValueError: as `check_sizes` or `write_grams`.

    Source:
        Checked by tests/studies/test_curves.py.
    """
    check_sizes(sizes, images)
    data, found = _labelled(images), {}
    for depth, kernel in kernels.items():
        gram, test = write_grams(kernel, images, request, out=folders[depth], bar=bar)
        if data is None or test is None:
            continue
        for n in sizes:
            part = _first(data, n)
            found[depth, n] = regression_hits(gram[:n, :n], test[:, :n], part, request.ridge)
    if data is None:
        return None
    for n in sizes:
        if _is_tunable(part := _first(data, n)):
            found[None, n] = rbf_hits(part, seed)
    names = {depth: _name(kernel, depth, request) for depth, kernel in kernels.items()}
    rows = tuple(_row(names, key, found, is_cifar=source == CIFAR) for key in found)
    study = _study(kernels, data, rows, request, source=source, seed=seed)
    study.write(out, results=ACCURACY)
    return study


def _labelled(images: Images) -> Data | None:
    if images.labels is None or images.test_images is None or images.test_labels is None:
        return None
    return Data(images.images, images.labels, images.test_images, images.test_labels)


def _first(data: Data, size: int) -> Data:
    return dataclasses.replace(data, images=data.images[:size], labels=data.labels[:size])


def _is_tunable(data: Data) -> bool:
    """Whether the baseline can be: by cross-validation, in time, of images that differ."""
    return 2 <= len(data.labels) <= LARGEST_REFERENCE and bool(data.images.std(0).any())


def _name(kernel: AbstractKernel, depth: int, request: Request) -> str:
    """What the papers call a kernel of theirs; the kind of any other."""
    own = describe_kernel(kernel)
    if request.kind == "ntk" and not request.ridge:
        for readout, name in NAMES.items():
            if describe_kernel(cntk(readout, depth)[1]) == own:
                return name
    return request.kind.upper()


def published_percent(name: str, depth: int, size: int) -> float | None:
    """The accuracy in print of a kernel on CIFAR-10, equally many training images of each class.

    Of the 50,000 those are all there are. The first 2,000, also in print, are no such draw.

    Args:
        name: That of the papers.
        depth: Weight layers.
        size: Training images.

    Returns:
        Percent of the 10,000 test images; None where none is in print.
    """
    if name == NAMES["gap"] and depth == SMALL_DEPTH and size in SMALL_CIFAR:
        return SMALL_CIFAR[size].cntk
    readout = {name: readout for readout, name in NAMES.items()}.get(name, "")
    return CNTK_CIFAR.get((readout, depth), {}).get(size) if size == FULL_TRAIN else None


def _row(
    names: Mapping[int, str], key: tuple[int | None, int], found: _Found, *, is_cifar: bool
) -> CurveRow:
    (depth, size), hits, reference = key, found[key], found.get((None, key[1]))
    row = CurveRow(
        REFERENCE if depth is None else names[depth],
        depth,
        size,
        **accuracy_row(hits),
        standard_error=standard_error(hits),
    )
    if depth is None:
        return row
    difference, margin = (None, None) if reference is None else gain(hits, reference)
    published = published_percent(row.method, depth, size) if is_cifar else None
    return dataclasses.replace(row, minus_RBF=difference, margin=margin, published=published)


def _study(
    kernels: Kernels,
    data: Data,
    rows: tuple[CurveRow, ...],
    request: Request,
    *,
    source: str,
    seed: int,
) -> Study:
    test = len(data.test_labels)
    name = "CIFAR-10" if source == CIFAR else Path(source).name
    sizes = tuple(sorted({row.train for row in rows}))
    is_compared = any(row.published is not None for row in rows)
    return Study(
        name="kernel",
        title=f"{name}: kernel regression, {test:,} test images",
        settings=ImageSettings(
            tuple(kernels), sizes, test, seed=seed, float32=data.images.dtype == np.float32
        ),
        rows=tuple(map(dataclasses.asdict, rows)),
        chart=curve_chart(name, rows, test),
        notes=(*NOTES, COMPARED) if is_compared else NOTES,
        details={
            "kind": request.kind,
            "ridge": request.ridge,
            "kernels": [describe_kernel(kernel) for kernel in kernels.values()],
        },
    )
