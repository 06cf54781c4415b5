"""The studies: published experiments with exact kernels, run again and held against the papers.

One module per study; each gives a `Study` (rows, a chart, settings), which writes itself into a
folder. Gram matrices are kept in the same folder, so that an interrupted study goes on.
"""

from flowkit.studies.catalogue import STUDIES as STUDIES
from flowkit.studies.study import Settings as Settings, Study as Study
