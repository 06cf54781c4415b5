"""How a Gram matrix is cut: into tiles, which are stored, and parts of tiles, which are computed.

A tile is a square of the matrix, or less at its end. Points may be appended later, in the midst of
the last tile: then it consists of parts, one for each pair of batches of points. A part is computed
in one go, so that its values do not depend on when that is.
"""

import dataclasses
from collections.abc import Iterator

Span = tuple[int, int]  # first point, and the one after the last
Tile = tuple[int, int]  # of rows, of columns


@dataclasses.dataclass(frozen=True)
class Axis:
    """The points along one side.

    Attributes:
        tile: How many points a tile has.
        batches: How many points there were after each batch; the last number is that of all.
    """

    tile: int
    batches: tuple[int, ...]

    @property
    def points(self) -> int:
        return self.batches[-1]

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return -(-self.points // self.tile)

    def span(self, index: int) -> Span:
        return index * self.tile, min((index + 1) * self.tile, self.points)

    def parts(self, index: int) -> list[Span]:
        """The points of a tile, batch by batch."""
        first, last = self.span(index)
        ends = [end for end in self.batches if first < end < last]
        return list(zip([first, *ends], [*ends, last], strict=True))


@dataclasses.dataclass(frozen=True)
class Part:
    """What is computed in one go, and whether it is symmetric or has a mirror image in its tile."""

    rows: Span
    columns: Span
    diagonal: bool = False
    mirrored: bool = False

    @property
    def pairs(self) -> int:
        """How many kernel values it takes."""
        height, width = (last - first for first, last in (self.rows, self.columns))
        return height * (height + 1) // 2 if self.diagonal else height * width

    def inside(self, origin: tuple[int, int]) -> tuple[slice, slice]:
        """Where it is in its tile, whose first row and column are the origin."""
        rows, columns = (
            slice(first - start, last - start)
            for (first, last), start in zip((self.rows, self.columns), origin, strict=True)
        )
        return rows, columns


@dataclasses.dataclass(frozen=True)
class Cut:
    """A Gram matrix cut into tiles; of a symmetric one those on and above the diagonal."""

    rows: Axis
    columns: Axis
    symmetric: bool

    def tiles(self) -> Iterator[Tile]:
        """In an order that lets a part of the matrix be used.

        Of a symmetric matrix the leading squares grow: all kernel values among the first points
        come before those of later ones. Otherwise rows are finished one after the other.
        """
        if self.symmetric:
            return ((i, j) for j in range(self.columns.count) for i in range(j + 1))
        return ((i, j) for i in range(self.rows.count) for j in range(self.columns.count))

    def parts(self, tile: Tile) -> list[Part]:
        """What a tile is computed from."""
        rows, columns = self.rows.parts(tile[0]), self.columns.parts(tile[1])
        if not self.symmetric or tile[0] != tile[1]:
            return [Part(a, b) for a in rows for b in columns]
        own = [Part(a, a, diagonal=True) for a in rows]
        return own + [Part(a, b, mirrored=True) for a in rows for b in columns if a < b]

    def origin(self, tile: Tile) -> tuple[int, int]:
        """The first row and the first column of a tile."""
        return tile[0] * self.rows.tile, tile[1] * self.columns.tile

    def shape(self, tile: Tile) -> tuple[int, int]:
        height, width = (last - first for first, last in self.spans(tile))
        return height, width

    def spans(self, tile: Tile) -> tuple[Span, Span]:
        return self.rows.span(tile[0]), self.columns.span(tile[1])

    def pairs(self) -> int:
        """How many kernel values the whole matrix takes."""
        if self.symmetric:
            return self.rows.points * (self.rows.points + 1) // 2
        return self.rows.points * self.columns.points


SMALLEST, LARGEST, ALONG_A_SIDE = 16, 256, 16


def usual_tile(points: int) -> int:
    """Points of a tile: about 16 tiles along a side, of 16 to 256 points each.

    Smaller tiles would spend their time on files, larger ones lose much when a run is killed.
    """
    return min(max(SMALLEST, -(-points // ALONG_A_SIDE)), LARGEST)


def balanced(points: int, tile: int) -> int:
    """The smallest tile that leaves as many of them as `tile`: the last one is about as large."""
    return -(-points // -(-points // tile))
