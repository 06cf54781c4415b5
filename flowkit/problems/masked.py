"""NumPy's masked arrays, of which `np.asarray` would keep the hidden values and drop the mask."""

from typing import Any

import numpy as np


def with_nan(values: Any) -> Any:
    """The values of a masked array, `nan` where it is masked; anything else as it is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    return np.ma.filled(values.astype(float) if values.dtype.kind in "biu" else values, np.nan)
