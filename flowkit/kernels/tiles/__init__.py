"""Exact convolutional kernels on a CPU: offset tiles that stay in a core's cache at all depths.

Each convolution moves both positions of a pair alike. Pairs of one offset p' - p thus make a
problem of their own, of the size of one image, whose whole depth a core runs through within its
cache; many images lie in the lanes of its vectors. `geometry` says which pairs a tile holds and
`recursion` runs one tile; `activations` and `minimax` evaluate the duals; `planning`, `blocks` and
`gram` put tiles together on all cores; `registration` says when that happens by itself.

Tiles are in the type of the images. In float32 the tile of offset zero, which holds vanishing
angles where images are alike, is in float64.
"""

from flowkit.kernels.tiles.gram import (
    can_tile as can_tile,
    tiled_gram as tiled_gram,
    tiled_pairs as tiled_pairs,
)
