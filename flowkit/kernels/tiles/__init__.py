"""Exact convolutional kernels by offset tiles, each kept close to a processor through all depths.

Each convolution moves both positions of a pair alike. Pairs of one offset p' - p thus make a
problem of their own, of the size of one image, whose whole depth a core runs through within its
cache; many images lie in the lanes of its vectors. On a GPU a warp does, within its registers.

`geometry` says which pairs a tile holds, `recursion` is a layer of a tile and all of it on a core,
`warp` on a GPU; `activations` and `minimax` evaluate the duals. `blocks` and `device` are blocks of
a Gram matrix on either; `planning`, `running` and `gram` put them together; `registration` and
`eligibility` say when that happens by itself.

Tiles are in the type of the images. In float32 the tile of offset zero, which holds vanishing
angles where images are alike, is in float64.
"""

from flowkit.kernels.tiles.gram import (
    can_tile as can_tile,
    tiled_gram as tiled_gram,
    tiled_pairs as tiled_pairs,
)
