"""What follows from how often two masks agree, voxel by voxel: the overlap measures of a label."""

from typing import NamedTuple

import numpy as np

NAN = float("nan")


class Counts(NamedTuple):
    """Voxels of two masks: true positives, false positives, false negatives, true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int


def count_voxels(truth: np.ndarray, prediction: np.ndarray, inside: np.ndarray | None = None) -> Counts:
    """Compares two boolean masks of one shape voxel by voxel, of those `inside`; None counts all."""
    if inside is not None:
        truth, prediction = truth[inside], prediction[inside]
    tp = int(np.count_nonzero(truth & prediction))
    in_truth, predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    return Counts(tp, predicted - tp, in_truth - tp, truth.size - in_truth - predicted + tp)


def _ratio(numerator: float, denominator: float, undefined: float = NAN) -> float:
    return numerator / denominator if denominator else undefined


def dice(counts: Counts) -> float:
    """Returns `2 tp / (2 tp + fp + fn)`; 1 if both masks are empty."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, 1.0)


def jaccard(counts: Counts) -> float:
    """Returns `tp / (tp + fp + fn)`; 1 if both masks are empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, 1.0)


def sensitivity(counts: Counts) -> float:
    """Returns `tp / (tp + fn)`; NaN if the truth is empty."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def specificity(counts: Counts) -> float:
    """Returns `tn / (tn + fp)`; NaN if the truth fills the image."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def voxel_accuracy(counts: Counts) -> float:
    """Returns `(tp + tn) / all`; NaN without voxels."""
    return _ratio(counts.tp + counts.tn, sum(counts))


def positive_predictive_value(counts: Counts) -> float:
    """Returns `tp / (tp + fp)`; NaN if the prediction is empty."""
    return _ratio(counts.tp, counts.tp + counts.fp)


def negative_predictive_value(counts: Counts) -> float:
    """Returns `tn / (tn + fn)`; NaN if the prediction fills the image."""
    return _ratio(counts.tn, counts.tn + counts.fn)


def false_positive_rate(counts: Counts) -> float:
    """Returns `fp / (fp + tn)`, one less the specificity; NaN if the truth fills the image."""
    return _ratio(counts.fp, counts.fp + counts.tn)


def informedness(counts: Counts) -> float:
    """Returns `sensitivity + specificity - 1` (Youden 1950); NaN where either is."""
    return sensitivity(counts) + specificity(counts) - 1.0


def markedness(counts: Counts) -> float:
    """Returns `positive + negative predictive value - 1` (Powers 2011); NaN where either is."""
    return positive_predictive_value(counts) + negative_predictive_value(counts) - 1.0


def volume_difference(counts: Counts) -> float:
    """Returns `|fp - fn| / (tp + fn)`, by how much the volumes differ; NaN if the truth is empty."""
    return _ratio(abs(counts.fp - counts.fn), counts.tp + counts.fn)


def true_positives(counts: Counts) -> int:
    """Returns the voxels of both masks."""
    return counts.tp


def false_positives(counts: Counts) -> int:
    """Returns the voxels of the prediction that the truth lacks."""
    return counts.fp


def false_negatives(counts: Counts) -> int:
    """Returns the voxels of the truth that the prediction lacks."""
    return counts.fn


def true_negatives(counts: Counts) -> int:
    """Returns the voxels of neither mask."""
    return counts.tn


def voxels_in_truth(counts: Counts) -> int:
    """Returns `tp + fn`."""
    return counts.tp + counts.fn


def voxels_in_prediction(counts: Counts) -> int:
    """Returns `tp + fp`."""
    return counts.tp + counts.fp


def voxels_in_both(counts: Counts) -> int:
    """Returns `tp`, the voxels of the intersection."""
    return counts.tp


def voxels_in_either(counts: Counts) -> int:
    """Returns `tp + fp + fn`, the voxels of the union."""
    return counts.tp + counts.fp + counts.fn
