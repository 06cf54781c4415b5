"""The studies: published experiments, run again and held against the papers.

One module per study, whose `STUDY` names its settings and runs it; what it gives is a `Study`
(rows, a chart, comparisons with published numbers), which writes itself into a folder. Parts that
are done are kept in the same folder, so that an interrupted study goes on.
"""

from flowkit.studies.catalogue import (
    STUDIES as STUDIES,
    Reproducible as Reproducible,
    run_study as run_study,
    settings_of as settings_of,
)
from flowkit.studies.comparison import Comparison as Comparison
from flowkit.studies.study import Study as Study
from flowkit.studies.work import Work as Work
