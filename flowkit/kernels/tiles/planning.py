"""How a Gram matrix is cut into blocks of rows by lanes."""

from collections.abc import Iterator
from typing import NamedTuple

from flowkit.kernels.convolutions import Pair

TILE_BYTES = 2**17  # of one array of a tile: a few of them share a core's second cache
FEWEST_LANES = 16  # a vector of float32 where it is longest
MOST_LANES = 128  # half of those on the diagonal of a symmetric matrix are computed in vain
MOST_ENTRIES = 2**28  # positions, layers and pairs of one block: about half a second
MOST_ROWS = 128
MOST_OF_WARPS = 512  # rows or lanes; their images are in the memory of the GPU
MOST_ENTRIES_OF_WARPS = 2**36  # about 0.2 seconds of an H100
MOST_TILES_OF_WARPS = 2**23  # whose sums are kept, three numbers each


class Part(NamedTuple):
    """One block: rows and lanes from a first to before a last."""

    rows: Pair
    lanes: Pair


class Plan(NamedTuple):
    """The blocks of a Gram matrix, all filled up to one shape.

    Attributes:
        rows: Of a block.
        lanes: Of a block.
        parts: The blocks, those whose rows come first at the front.
    """

    rows: int
    lanes: int
    parts: tuple[Part, ...]


def plan(
    count: Pair,
    shape: Pair,
    *,
    offsets: int,
    layers: int,
    itemsize: int,
    triangle: bool,
    warps: bool = False,
) -> Plan:
    """Cut a Gram matrix.

    Args:
        count: Images along the rows, and in the lanes.
        shape: Height and width of the images.
        offsets: How many tiles a pair has.
        layers: The convolutions.
        itemsize: Bytes of a number in the tiles.
        triangle: Whether only the columns from the diagonal on are needed.
        warps: Whether a GPU computes them.

    Returns:
        The blocks.
    """
    rows, columns = count
    positions = shape[0] * shape[1]
    if warps:
        most, at_most, entries = MOST_OF_WARPS, MOST_OF_WARPS, MOST_ENTRIES_OF_WARPS
        entries = min(entries, MOST_TILES_OF_WARPS * positions * layers)
    else:
        most = min(MOST_LANES, max(FEWEST_LANES, TILE_BYTES // (itemsize * positions)))
        at_most, entries = MOST_ROWS, MOST_ENTRIES
    of_pair = offsets * positions * layers
    most = max(FEWEST_LANES, min(most, entries // of_pair))
    blocks = -(-columns // most)
    lanes = _multiple(-(-columns // blocks), FEWEST_LANES)
    height = max(1, min(at_most, entries // (of_pair * lanes), -(-rows // 2)))
    parts = tuple(_parts(count, height, lanes, triangle=triangle))
    return Plan(height, lanes, parts)


def _parts(count: Pair, height: int, lanes: int, *, triangle: bool) -> Iterator[Part]:
    rows, columns = count
    for top in range(0, rows, height):
        for left in range(0, columns, lanes):
            part = Part((top, min(top + height, rows)), (left, min(left + lanes, columns)))
            if not triangle or part.lanes[1] > top:
                yield part


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of
