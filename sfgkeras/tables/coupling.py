"""What may be chosen about penalties between tasks and about their mixtures, with what each choice means."""

from collections.abc import Mapping

KERNEL_DISTANCES: Mapping[str, str] = {
    "squared": "sum of squared differences over all pairs of tasks",
    "absolute": "sum of absolute differences over all pairs of tasks",
    "trace_norm": "sum of the singular values of the matrix with a row per task (Yang & Hospedales 2017)",
}
SLUICE_STARTS: Mapping[str, str] = {
    "imbalanced": "own features, and the last layer, prevail",
    "uniform": "everything that is mixed has the same weight",
}
