"""Several paired comparisons at once."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p values corrected for being several (Holm 1979)."""
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate([(len(p_values) - place) * p_values[k] for place, k in enumerate(order)])
    result = np.empty(len(p_values))
    result[order] = np.minimum(corrected, 1.0)
    return result.tolist()
