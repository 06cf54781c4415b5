"""The room of large Gram matrices: tile by tile, in memory, in a store, on a cluster.

A tile is computed by `kernel.gram` (or `kernel.grams`, for both kinds in one pass), always from the
same points at once, so that its bits depend neither on who computes it nor on when. Where one of
both kinds is there already, only the other is computed, equal to that of `grams` to rounding. Of a
symmetric matrix the tiles on and above the diagonal are computed, leading squares first.

The store is a Zarr group, version 3, that other programs read as well:

    attribute `gram`   the manifest: `description` (kernel with all of its settings, type, shape of
                       an input, whether symmetric), and for `rows` and `columns` (null if those of
                       the rows) the points of a tile and the batches in which points came: how many
                       there were after each, with the SHA-256 of all of them.
    `ntk`, `nngp`      the matrices, a chunk for each tile, uncompressed, with its CRC-32C. Nan is
                       what is not computed: all below the diagonal tiles of a symmetric matrix.
    `x`, `z`           the inputs, if workers of a cluster have to read them.

What is pinned. A manifest that differs is an error that says where: the kernel, the type, the
inputs. A function counts by its code and the values that it reads, one of an installed library by
its name; what cannot be described is refused. Not pinned are methods of classes, the versions of
flowkit and JAX, and the hardware, which changes values by rounding.

What can go wrong. Files are written beside their place and then renamed, so a process that is
killed loses the tile at hand. A tile that was torn or changed since, in any bit, is computed again
by `gram`, and is an error in a view. Whole valid tiles exchanged for one another are not noticed.
Two runs with the same inputs do the same work twice, and no harm, also if both find the store
empty; of two with different inputs the manifest of one is written, and the other is refused. Runs
that append different inputs must come one after the other: an older one that meets a grown array
ends with an error.

Scale. Workers of a `distributed.Client` write tiles to the same store. Through the scheduler pass
the index of a tile and a few kilobytes that describe the work, not inputs or values; 4 tasks for
each thread are with it at a time. Values returned by tasks would pass through the client instead, 5
GB of them for n = 50,000, and die with a worker.

The plan for n = 50,000 in float32 (CIFAR-10; 1.25e9 pairs in 19,306 tiles of 256 x 256 points),
from tests/benchmarks/gramian.py on two shared cores of a virtual machine:

    quantity                        measured                                for n = 50,000
    stored                          262,699 bytes a tile, manifest and all  5.1 GB
    writing a tile                  1.7 ms, besides the kernel              33 s in all
    checking it, to resume          0.4 ms                                  8 s
    product with 10 columns         0.6 ms a tile                           11 s
    client, scheduler, overhead of  9 ms of CPU a tile, 118 tiles a second  3 minutes of one core
    100 workers, in one process

A scheduler that does 118 tiles a second keeps 100 workers busy as long as a tile takes each 0.85 s
or more, 13 us a pair. Regression by `flowkit.regression.conjugate_gradients`, with `nystrom`, takes
a product a step: 100 steps are 20 minutes, in memory for one strip of tiles, 51 MB, and some
columns. Or by a factorization, `flowkit.regression.fit(gram, y, solver="cholesky")`, in float64 and
in place, in memory for one triangle and a strip: 8,000 points took 8.5 s of CPU and 0.31 GB more
than before, of which the triangle is 0.26; 50,000 would need 35 minutes of CPU and 10.1 GB. Two
workers on a core each took 3.69 s where one took 7.00 s, 1.89 times as fast, at 10,854 and 11,464
pairs/s a worker (8 x 8 images, depth 3, general path, 55 tiles of 40 x 40): at that rate 100
workers would need 19 minutes for as many pairs.
"""

from flowkit.gramian.engine import gram as gram, missing_pairs as missing_pairs
from flowkit.gramian.views import StoredGram as StoredGram, open_gram as open_gram
