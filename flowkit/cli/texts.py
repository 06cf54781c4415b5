"""What a user writes for numbers, sizes, layers and read-outs, as the values that it means."""

import re
from typing import Any

from flowkit.kernels import LocalAverage
from flowkit.kernels.convolutions import Size, Sizes
from flowkit.kernels.readouts import Readout


def integers(name: str, text: str | None) -> tuple[int, ...] | None:
    """Integers with commas between them."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"Argument `{name}` must be integers with commas between them, but it is {text!r}."
        ) from None


def ascending(name: str, text: str | None) -> tuple[int, ...]:
    """Integers with commas between them, each once; none where there is no text."""
    return tuple(sorted(set(integers(name, text) or ())))


def size(name: str, text: str) -> Size:
    """A side, `3`, or height and width, `3x5`."""
    if (sides := re.fullmatch(r"(\d+)(?:x(\d+))?", text)) is None:
        raise ValueError(
            f"Argument `{name}` must be a number or height x width, such as 3 or 3x5, but it is "
            f"{text!r}."
        )
    height, width = sides.groups()
    return int(height) if width is None else (int(height), int(width))


def sizes(name: str, text: str) -> Sizes:
    """A size for all convolutions, or by layer, `1:2,3:2x1`."""
    if ":" not in text:
        return size(name, text)
    parts = [part.partition(":") for part in text.split(",")]
    if not all(layer.isdecimal() for layer, _, _ in parts):
        raise ValueError(
            f"Argument `{name}` must be a size or sizes by layer, such as 2 or 1:2,3:2x1, but it "
            f"is {text!r}."
        )
    found = {int(layer): size(name, side) for layer, _, side in parts}
    if len(found) < len(parts):
        raise ValueError(f"Argument `{name}` must name each layer once, but it is {text!r}.")
    return found


def filter_size(name: str, text: str) -> Size:
    """A size with a middle."""
    found = size(name, text)
    if not all(side % 2 for side in (found if isinstance(found, tuple) else (found,))):
        raise ValueError(f"Argument `{name}` must be odd, but it is {text!r}.")
    return found


def layers(name: str, text: str | None, depth: int) -> tuple[int, ...] | None:
    """The layers 1 to depth: `all`, `inner` (neither the first nor the last), `none`, or `2,3`."""
    if text is None:
        return None
    named = {"all": range(1, depth + 1), "inner": range(2, depth), "none": ()}
    if text in named:
        return tuple(named[text])
    if re.fullmatch(r"\d+(,\d+)*", text) is None:
        raise ValueError(
            f"Argument `{name}` must be all, inner, none or layers with commas between them, but "
            f"it is {text!r}."
        )
    found = integers(name, text)
    if found is not None and not all(1 <= layer <= depth for layer in found):
        raise ValueError(
            f"Argument `{name}` must hold layers from 1 to the depth, {depth}, but it is {text!r}."
        )
    return found


def readout(name: str, text: str) -> Readout:
    """`gap`, `flatten`, or `lap:4` for the local average pooling LAP(4)."""
    if text in ("gap", "flatten"):
        return text
    if (reach := re.fullmatch(r"lap:(\d+)", text)) is None:
        raise ValueError(
            f"Argument `{name}` must be gap, flatten or lap:C, such as lap:4, but it is {text!r}."
        )
    return LocalAverage(int(reach[1]))


PARSERS = {"readout": readout, "filter_size": filter_size, "strides": sizes, "pooling": sizes}


def of_images(*, padding: str | None, **texts: str | None) -> dict[str, Any]:
    """What is given of the arguments that a convolutional network alone has."""
    found = {name: PARSERS[name](name, text) for name, text in texts.items() if text is not None}
    return found if padding is None else found | {"padding": padding}
