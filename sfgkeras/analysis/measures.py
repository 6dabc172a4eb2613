"""How good predictions are: per subject and region, per label, and per class over a cohort.

Undefined values are never errors: an empty region gives NaN, a distance to an empty mask gives infinity, and
the summary (`sfgkeras.analysis.tables`) lists how many there were.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sfgkeras.analysis.counts import count_voxels
from sfgkeras.analysis.landmark_errors import distances
from sfgkeras.analysis.similarity import similarity_map
from sfgkeras.analysis.surface import surface_distances
from sfgkeras.analysis.surface_overlap import surface_elements
from sfgkeras.tables.measures import MEASURES, MeasureEntry

NAN = float("nan")


class Residuals(NamedTuple):
    """Errors in a region.

    Attributes:
        values: Prediction minus truth, `(n,)`, float64.
        data_range: The range of the truth that counts as the peak signal.
        truth_variance: Variance of the truth in the region; NaN where it was not measured.
    """

    values: np.ndarray
    data_range: float
    truth_variance: float = NAN


def mean_absolute_error(residuals: Residuals) -> float:
    """Averages the absolute residuals; NaN for an empty region."""
    return float(np.abs(residuals.values).mean()) if residuals.values.size else NAN


def mean_error(residuals: Residuals) -> float:
    """Averages the residuals, prediction minus truth (the bias); NaN for an empty region."""
    return float(residuals.values.mean()) if residuals.values.size else NAN


def root_mean_squared_error(residuals: Residuals) -> float:
    """Returns the root of the mean squared residual; NaN for an empty region."""
    return float(np.sqrt(np.square(residuals.values).mean())) if residuals.values.size else NAN


def mean_squared_error(residuals: Residuals) -> float:
    """Averages the squared residuals; NaN for an empty region."""
    return float(np.square(residuals.values).mean()) if residuals.values.size else NAN


def coefficient_of_determination(residuals: Residuals) -> float:
    """Returns `1 - mean squared residual / variance of the truth`; NaN for an empty or constant region."""
    if not residuals.truth_variance > 0:
        return NAN
    return 1.0 - mean_squared_error(residuals) / residuals.truth_variance


def peak_signal_to_noise_ratio(residuals: Residuals) -> float:
    """Returns `20 log10(data range / root mean squared error)` in dB.

    Returns:
        Infinity for a perfect prediction; NaN for an empty region or a data range of zero.
    """
    error = root_mean_squared_error(residuals)
    if not residuals.data_range > 0 or np.isnan(error):
        return NAN
    return float("inf") if error == 0 else float(20 * np.log10(residuals.data_range / error))


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts how often each class (row) was predicted as each class (column).

    Args:
        truth: Integer classes, any shape.
        prediction: Integer classes of the same shape.
        num_classes: Number of classes.

    Returns:
        Counts, `(num_classes, num_classes)`, int64.

    Raises:
        ValueError: If the shapes differ or a class is out of range.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth, prediction)
    for name, values in (("truth", truth), ("prediction", prediction)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"{name} has classes from {values.min()} to {values.max()}; "
                f"num_classes = {num_classes} allows 0 to {num_classes - 1}"
            )
    pairs = truth.astype(np.int64).ravel() * num_classes + prediction.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(matrix: np.ndarray) -> float:
    """Returns the share of right predictions in a confusion matrix; NaN if it is empty."""
    total = float(matrix.sum())
    return float(np.trace(matrix)) / total if total else NAN


def class_sensitivities(matrix: np.ndarray) -> np.ndarray:
    """Returns the share of each class that was found, `(num_classes,)`; NaN for absent classes."""
    totals = matrix.sum(axis=1).astype(float)
    return np.divide(np.diag(matrix), totals, out=np.full(len(matrix), NAN), where=totals > 0)


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Averages the sensitivities of the classes that occur; NaN if none does."""
    found = class_sensitivities(matrix)
    present = found[~np.isnan(found)]
    return float(present.mean()) if present.size else NAN


def as_lists(matrix: np.ndarray) -> list[list[int]]:
    """Returns a confusion matrix as nested lists of int."""
    return matrix.tolist()


EVALUATIONS: Mapping[str, MeasureEntry] = MEASURES
"""The measures that INI files may name."""


def evaluations_of(kind: str) -> tuple[str, ...]:
    """Returns the names of all measures for one type of task."""
    return tuple(name for name, evaluation in EVALUATIONS.items() if evaluation.kind == kind)


def _chosen(names: Sequence[str] | None, kind: str) -> dict[str, MeasureEntry]:
    """Returns the measures asked for, the usual ones of that kind if None.

    Raises:
        ValueError: If a name is unknown or measures another type of task.
    """
    known = evaluations_of(kind)
    for name in names or ():
        if name not in known:
            raise ValueError(f"{name!r} is no measure of a {kind} task; known are {', '.join(known)}")
    usual = [name for name in known if EVALUATIONS[name].usual]
    return {name: EVALUATIONS[name] for name in (usual if names is None else names)}


def _check_shapes(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"prediction of shape {prediction.shape} does not fit truth of shape {truth.shape}")


def evaluate_regression(
    truth: np.ndarray,
    prediction: np.ndarray,
    names: Sequence[str] | None = None,
    intensity_bounds: Mapping[str, tuple[float, float]] | None = None,
    label_map: np.ndarray | None = None,
    labels: Mapping[str, int] | None = None,
    data_range: float | None = None,
    valid: np.ndarray | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Measures continuous predictions over the whole image and in regions.

    For one number per subject pass the numbers of all subjects at once, `(subjects,)`: a root mean squared
    error of one number says no more than its absolute error.

    Args:
        truth: Any shape; `(x, y, z)` or `(x, y, z, channels)` for images.
        prediction: The same shape.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of regression.
        intensity_bounds: Regions by name: where the truth lies between two values, both included.
        label_map: Integer labels, `(x, y, z)`.
        labels: Regions by name: where the label map has a value.
        data_range: Peak signal for `psnr`, range of `ssim`; None for the largest less the smallest value of the whole
            truth.
        valid: Where the truth is known, bool `(x, y, z)`; nothing else counts in any region. None for everywhere.
        masks: Regions by name: bool, `(x, y, z)`.

    Returns:
        One row per region: `region` (`"all"` first, then masks), `num_voxels`, and every measure. `ssim` is undefined
        for numbers without a place, `(subjects,)`.

    Raises:
        ValueError: If shapes do not fit, labels come without a label map, or a measure is unknown.
    """
    chosen = _chosen(names, "regression")
    truth, prediction = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    _check_shapes(truth, prediction)
    known = None if valid is None or valid.all() else _on_channels(valid, truth, "what is valid")
    regions: dict[str, np.ndarray | None] = {"all": known}
    for name, mask in (masks or {}).items():
        regions[name] = _on_channels(mask, truth, f"region {name!r}")
    for name, (low, high) in (intensity_bounds or {}).items():
        regions[name] = (truth >= low) & (truth <= high)
    for name, value in (labels or {}).items():
        if label_map is None or label_map.shape not in (truth.shape, truth.shape[:-1]):
            shape = None if label_map is None else label_map.shape
            raise ValueError(f"region {name!r} needs a label map that fits {truth.shape}; received {shape}")
        regions[name] = _on_channels(label_map == value, truth, f"region {name!r}")
    if data_range is None:
        values_known = truth if known is None else truth[known]
        data_range = float(np.ptp(values_known)) if values_known.size else 0.0
    residual = prediction - truth
    similarity = None
    if any(evaluation.needs == "similarity" for evaluation in chosen.values()):
        similarity = _similarity(truth, prediction, data_range, known)
    rows = []
    for name, region in regions.items():
        if known is not None and region is not None and region is not known:
            region = region & known
        inside = truth.ravel() if region is None else truth[region]
        variance = float(inside.var()) if inside.size else NAN
        residuals = Residuals(residual.ravel() if region is None else residual[region], data_range, variance)
        given: dict[str, Any] = {"residuals": residuals}
        if similarity is not None:
            given["similarity"] = similarity.ravel() if region is None else similarity[region]
        values = {measure: evaluation.function(given[evaluation.needs]) for measure, evaluation in chosen.items()}
        rows.append({"region": name, "num_voxels": residuals.values.size, **values})
    return rows


def _on_channels(mask: np.ndarray, truth: np.ndarray, what: str) -> np.ndarray:
    """Returns a mask for all channels of the truth.

    Raises:
        ValueError: If it does not fit.
    """
    if mask.shape == truth.shape:
        return mask
    if mask.shape != truth.shape[:-1]:
        raise ValueError(f"{what} of shape {mask.shape} does not fit truth of shape {truth.shape}")
    return np.repeat(mask[..., None], truth.shape[-1], axis=-1)


def _similarity(truth: np.ndarray, prediction: np.ndarray, data_range: float, known: np.ndarray | None) -> np.ndarray:
    """Returns the similarity map of every channel, of the truth's shape; NaN for numbers without a place."""
    if truth.ndim < 2:
        return np.full(truth.shape, NAN, np.float32)
    if truth.ndim < 4:
        return similarity_map(truth, prediction, data_range, known)
    channels = [
        similarity_map(truth[..., c], prediction[..., c], data_range, None if known is None else known[..., c])
        for c in range(truth.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def evaluate_segmentation(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    labels: Mapping[str, int],
    names: Sequence[str] | None = None,
    surface_tolerance: float = 2.0,
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Measures a predicted label map, label by label.

    Args:
        truth: Integer label map, `(x, y, z)` or `(x, y)`.
        prediction: The same shape.
        spacing: Voxel size in mm, one number per axis.
        labels: Values of the label map by name.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of segmentation.
        surface_tolerance: Distance in mm that `surface_dice` takes for agreement.
        masks: Regions by name, bool `(x, y, z)`: outside of one neither truth nor prediction has a label.

    Returns:
        One row per label: `label` (its name), `num_voxels` (in the truth), and every measure. With `masks` one for each
        region besides, and a column `region`, `"all"` first.

    Raises:
        ValueError: If shapes do not fit or a measure is unknown.
    """
    chosen = _chosen(names, "segmentation")
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_shapes(truth, prediction)
    needed = {evaluation.needs for evaluation in chosen.values()}
    regions: dict[str, np.ndarray | None] = {"all": None, **(masks or {})}
    rows = []
    for (name, value), (region, mask) in itertools.product(labels.items(), regions.items()):
        pair = truth == value, prediction == value
        inside = None if mask is None else np.asarray(mask, bool)
        if inside is not None:
            pair = pair[0] & inside, pair[1] & inside
        given: dict[str, Any] = {"counts": count_voxels(*pair, inside)}
        if "distances" in needed:
            given["distances"] = surface_distances(*pair, spacing)
        if "elements" in needed:
            given["elements"] = surface_elements(*pair, spacing, surface_tolerance)
        values = {measure: evaluation.function(given[evaluation.needs]) for measure, evaluation in chosen.items()}
        place = {"label": name, **({"region": region} if masks else {})}
        rows.append({**place, "num_voxels": given["counts"].tp + given["counts"].fn, **values})
    return rows


def evaluate_classification(
    truth: Sequence[int] | np.ndarray,
    prediction: Sequence[int] | np.ndarray,
    num_classes: int,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measures predicted classes over a cohort.

    Args:
        truth: One class per subject, `(subjects,)`.
        prediction: The same.
        num_classes: Number of classes.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of classification.

    Returns:
        `num_subjects` and every measure by name; the confusion matrix has the truth in its rows.

    Raises:
        ValueError: If shapes do not fit, a class is out of range or a measure is unknown.
    """
    chosen = _chosen(names, "classification")
    matrix = confusion_matrix(np.asarray(truth), np.asarray(prediction), num_classes)
    values = {measure: evaluation.function(matrix) for measure, evaluation in chosen.items()}
    return {"num_subjects": int(matrix.sum()), **values}


def evaluate_landmarks(
    truth: np.ndarray, prediction: np.ndarray, names: Sequence[str] | None = None, tolerance: float = 2.0
) -> dict[str, np.ndarray]:
    """Measures predicted landmarks, one by one.

    Args:
        truth: Points in mm, `(..., rank)`; NaN where a landmark is not known.
        prediction: The same.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of landmarks.
        tolerance: Distance in mm within which `detection_rate` takes a landmark for found.

    Returns:
        The values of all landmarks, `(...)`, by measure; NaN where one is not known.

    Raises:
        ValueError: If shapes do not fit or a measure is unknown.
    """
    return _of_points(distances(truth, prediction), "landmarks", names, tolerance)


def evaluate_lengths(truth: np.ndarray, prediction: np.ndarray, names: Sequence[str] | None = None) -> Any:
    """Measures predicted lengths between landmarks, one by one.

    Args:
        truth: Lengths in mm, `(...)`; NaN where a landmark is not known.
        prediction: The same.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of landmarks.

    Returns:
        The values of all lengths, `(...)`, by measure.
    """
    return _of_points(np.asarray(prediction) - np.asarray(truth), "lengths", names, 0.0)


def _of_points(found: np.ndarray, needs: str, names: Sequence[str] | None, tolerance: float) -> dict[str, np.ndarray]:
    chosen = _chosen(names, "landmarks").items()
    return {measure: entry.function(found, tolerance) for measure, entry in chosen if entry.needs == needs}


def evaluate_boxes(
    truth: np.ndarray, prediction: np.ndarray, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Measures predicted boxes, box by box.

    Args:
        truth: The low and the high corner of each, `(boxes, 2 * rank)`.
        prediction: The same.
        names: Which measures, keys of `EVALUATIONS`; None for the usual ones of bounding boxes.

    Returns:
        The values of all boxes, `(boxes,)`, by measure.

    Raises:
        ValueError: If shapes do not fit or a measure is unknown.
    """
    chosen = _chosen(names, "bounding_box")
    return {measure: evaluation.function(truth, prediction) for measure, evaluation in chosen.items()}
