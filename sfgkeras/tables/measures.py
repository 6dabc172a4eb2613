"""The measures that `[EVALUATION] evaluations` may name, by the type of task that they fit."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfgkeras.tables.entry import Entry

Measure = Callable[..., Any]
"""Takes what `MeasureEntry.needs` says, and returns the value."""


@dataclass(frozen=True, kw_only=True)
class MeasureFacts:
    """What is known of a measure besides its function.

    Attributes:
        kind: Type of task: `"regression"`, `"segmentation"`, `"classification"`, `"bounding_box"`, `"landmarks"`,
            `"depth"`, `"normals"` or `"motion"`.
        needs: What its function takes: `"residuals"`, values of a similarity map (`"similarity"`), `"counts"`, surface
            `"distances"`, surface `"elements"`, a confusion `"matrix"`, true and predicted `"boxes"` or `"depths"`,
            `"angles"` between normals, the distances of `"landmarks"`, or the differences of `"lengths"` between
            landmarks, with both of these `surface_tolerance`; or a frame and the first one `"moved"` to it.
        higher_is_better: Whether a larger value is a better one; None where neither is.
        unit: `"target"` for that of the target, `"target^2"` for its square, `"mm"`, `"dB"`, or empty.
        usual: Whether it is measured where no measure is named.
    """

    kind: str
    needs: str
    higher_is_better: bool | None
    unit: str = ""
    usual: bool = True

    def unit_for(self, target: str) -> str:
        """Returns the unit of the measure's values for a target of that unit; a target without one has no square."""
        known = {"target": target, "target^2": f"{target}^2" if target else ""}
        return known.get(self.unit, self.unit)


@dataclass(frozen=True)
class MeasureEntry(MeasureFacts, Entry[Measure]):
    """A measure of predictions."""

    @property
    def function(self) -> Measure:
        """The function that measures."""
        return self.load()


def _mae() -> Measure:
    from sfgkeras.analysis.measures import mean_absolute_error

    return mean_absolute_error


def _rmse() -> Measure:
    from sfgkeras.analysis.measures import root_mean_squared_error

    return root_mean_squared_error


def _me() -> Measure:
    from sfgkeras.analysis.measures import mean_error

    return mean_error


def _psnr() -> Measure:
    from sfgkeras.analysis.measures import peak_signal_to_noise_ratio

    return peak_signal_to_noise_ratio


def _ssim() -> Measure:
    from sfgkeras.analysis.similarity import mean_similarity

    return mean_similarity


def _mse() -> Measure:
    from sfgkeras.analysis.measures import mean_squared_error

    return mean_squared_error


def _r2() -> Measure:
    from sfgkeras.analysis.measures import coefficient_of_determination

    return coefficient_of_determination


def _dice() -> Measure:
    from sfgkeras.analysis.counts import dice

    return dice


def _jaccard() -> Measure:
    from sfgkeras.analysis.counts import jaccard

    return jaccard


def _sensitivity() -> Measure:
    from sfgkeras.analysis.counts import sensitivity

    return sensitivity


def _specificity() -> Measure:
    from sfgkeras.analysis.counts import specificity

    return specificity


def _average_distance() -> Measure:
    from sfgkeras.analysis.surface import average_distance

    return average_distance


def _hausdorff() -> Measure:
    from sfgkeras.analysis.surface import hausdorff

    return hausdorff


def _hausdorff95() -> Measure:
    from sfgkeras.analysis.surface import hausdorff95

    return hausdorff95


def _surface_dice() -> Measure:
    from sfgkeras.analysis.surface_overlap import surface_dice

    return surface_dice


def _voxel_accuracy() -> Measure:
    from sfgkeras.analysis.counts import voxel_accuracy

    return voxel_accuracy


def _positive_predictive_value() -> Measure:
    from sfgkeras.analysis.counts import positive_predictive_value

    return positive_predictive_value


def _negative_predictive_value() -> Measure:
    from sfgkeras.analysis.counts import negative_predictive_value

    return negative_predictive_value


def _false_positive_rate() -> Measure:
    from sfgkeras.analysis.counts import false_positive_rate

    return false_positive_rate


def _informedness() -> Measure:
    from sfgkeras.analysis.counts import informedness

    return informedness


def _markedness() -> Measure:
    from sfgkeras.analysis.counts import markedness

    return markedness


def _volume_difference() -> Measure:
    from sfgkeras.analysis.counts import volume_difference

    return volume_difference


def _true_positives() -> Measure:
    from sfgkeras.analysis.counts import true_positives

    return true_positives


def _false_positives() -> Measure:
    from sfgkeras.analysis.counts import false_positives

    return false_positives


def _false_negatives() -> Measure:
    from sfgkeras.analysis.counts import false_negatives

    return false_negatives


def _true_negatives() -> Measure:
    from sfgkeras.analysis.counts import true_negatives

    return true_negatives


def _voxels_in_truth() -> Measure:
    from sfgkeras.analysis.counts import voxels_in_truth

    return voxels_in_truth


def _voxels_in_prediction() -> Measure:
    from sfgkeras.analysis.counts import voxels_in_prediction

    return voxels_in_prediction


def _voxels_in_both() -> Measure:
    from sfgkeras.analysis.counts import voxels_in_both

    return voxels_in_both


def _voxels_in_either() -> Measure:
    from sfgkeras.analysis.counts import voxels_in_either

    return voxels_in_either


def _accuracy() -> Measure:
    from sfgkeras.analysis.measures import accuracy

    return accuracy


def _balanced_accuracy() -> Measure:
    from sfgkeras.analysis.measures import balanced_accuracy

    return balanced_accuracy


def _confusion_matrix() -> Measure:
    from sfgkeras.analysis.measures import as_lists

    return as_lists


def _warped_mae() -> Measure:
    from sfgkeras.analysis.motion import warped_mae

    return warped_mae


def _unmoved_mae() -> Measure:
    from sfgkeras.analysis.motion import unmoved_mae

    return unmoved_mae


def _displacement() -> Measure:
    from sfgkeras.analysis.motion import displacement

    return displacement


def _folding() -> Measure:
    from sfgkeras.analysis.motion import folding

    return folding


def _box_iou() -> Measure:
    from sfgkeras.analysis.box_overlap import box_iou

    return box_iou


def _centre_distance() -> Measure:
    from sfgkeras.analysis.box_overlap import centre_distance

    return centre_distance


def _box_giou() -> Measure:
    from sfgkeras.analysis.box_overlap import box_giou

    return box_giou


def _radial_error() -> Measure:
    from sfgkeras.analysis.landmark_errors import radial_error

    return radial_error


def _length_error() -> Measure:
    from sfgkeras.analysis.landmark_errors import length_error

    return length_error


def _detection_rate() -> Measure:
    from sfgkeras.analysis.landmark_errors import detection_rate

    return detection_rate


def _abs_rel() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.relative_error


def _sqr_rel() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.relative_squared_error


def _rmse_linear() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.linear_error


def _rmse_log() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.log_error


def _rmse_scale_invariant() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.scale_invariant_log_error


def _delta_1() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_factor


def _delta_2() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_second_factor


def _delta_3() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_third_factor


def _mean_angle() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.mean_angle


def _median_angle() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.median_angle


def _within_11() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_eleven


def _within_22() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_twenty_two


def _within_30() -> Measure:
    from sfgkeras.analysis import surfaces

    return surfaces.within_thirty


_residuals = functools.partial(MeasureEntry, kind="regression", needs="residuals")
_similarity = functools.partial(MeasureEntry, kind="regression", needs="similarity")
_overlap = functools.partial(MeasureEntry, kind="segmentation", needs="counts")
_counts = functools.partial(MeasureEntry, kind="segmentation", needs="counts", usual=False)
_distances = functools.partial(MeasureEntry, kind="segmentation", needs="distances")
_elements = functools.partial(MeasureEntry, kind="segmentation", needs="elements")
_matrix = functools.partial(MeasureEntry, kind="classification", needs="matrix")
_moved = functools.partial(MeasureEntry, kind="motion", needs="moved")
_boxes = functools.partial(MeasureEntry, kind="bounding_box", needs="boxes")
_landmarks = functools.partial(MeasureEntry, kind="landmarks", needs="landmarks")
_depths = functools.partial(MeasureEntry, kind="depth", needs="depths")
_angles = functools.partial(MeasureEntry, kind="normals", needs="angles")

MEASURES: dict[str, MeasureEntry] = {
    "mae": _residuals(_mae, "mean absolute error", higher_is_better=False, unit="target"),
    "rmse": _residuals(_rmse, "root of the mean squared error", higher_is_better=False, unit="target"),
    "me": _residuals(_me, "mean error, prediction minus truth", higher_is_better=None, unit="target"),
    "psnr": _residuals(_psnr, "peak signal-to-noise ratio", higher_is_better=True, unit="dB"),
    "ssim": _similarity(_ssim, "structural similarity", higher_is_better=True),
    "mse": _residuals(_mse, "mean squared error", higher_is_better=False, unit="target^2", usual=False),
    "r2": _residuals(_r2, "coefficient of determination", higher_is_better=True, usual=False),
    "dice": _overlap(_dice, "Dice coefficient", higher_is_better=True),
    "jaccard": _overlap(
        _jaccard, "intersection over union", aliases=("intersection_over_union",), higher_is_better=True
    ),
    "sensitivity": _overlap(_sensitivity, "fraction of the label that is found", higher_is_better=True),
    "specificity": _overlap(_specificity, "fraction of the rest that is left out", higher_is_better=True),
    "average_distance": _distances(
        _average_distance,
        "average distance between the surfaces, both ways",
        aliases=("surface_distance",),
        higher_is_better=False,
        unit="mm",
    ),
    "hausdorff": _distances(
        _hausdorff,
        "largest distance between the surfaces",
        aliases=("hausdorff_distance",),
        higher_is_better=False,
        unit="mm",
    ),
    "hausdorff95": _distances(
        _hausdorff95,
        "95th percentile of the distances between the surfaces",
        aliases=("hausdorff95_distance",),
        higher_is_better=False,
        unit="mm",
    ),
    "surface_dice": _elements(
        _surface_dice, "fraction of both surfaces within `surface_tolerance`", higher_is_better=True
    ),
    "voxel_accuracy": _counts(_voxel_accuracy, "fraction of all voxels that agree", higher_is_better=True),
    "positive_predictive_value": _counts(
        _positive_predictive_value,
        "fraction of what is predicted that is right",
        aliases=("positive_predictive_values",),
        higher_is_better=True,
    ),
    "negative_predictive_value": _counts(
        _negative_predictive_value,
        "fraction of what is left out that is right",
        aliases=("negative_predictive_values",),
        higher_is_better=True,
    ),
    "false_positive_rate": _counts(
        _false_positive_rate, "fraction of the rest that is predicted", higher_is_better=False
    ),
    "informedness": _counts(_informedness, "sensitivity plus specificity less 1", higher_is_better=True),
    "markedness": _counts(_markedness, "both predictive values less 1", higher_is_better=True),
    "volume_difference": _counts(
        _volume_difference,
        "difference of the volumes, as a fraction of the true one",
        aliases=("vol_diff",),
        higher_is_better=False,
    ),
    "true_positives": _counts(_true_positives, "voxels that are both", aliases=("tp",), higher_is_better=True),
    "false_positives": _counts(
        _false_positives, "voxels predicted and not true", aliases=("fp",), higher_is_better=False
    ),
    "false_negatives": _counts(
        _false_negatives, "voxels true and not predicted", aliases=("fn",), higher_is_better=False
    ),
    "true_negatives": _counts(_true_negatives, "voxels that are neither", aliases=("tn",), higher_is_better=True),
    "voxels_in_truth": _counts(_voxels_in_truth, "voxels of the truth", aliases=("n_pos_ref",), higher_is_better=None),
    "voxels_in_prediction": _counts(
        _voxels_in_prediction, "voxels of the prediction", aliases=("n_pos_seg",), higher_is_better=None
    ),
    "voxels_in_both": _counts(
        _voxels_in_both, "voxels of the intersection", aliases=("n_intersection",), higher_is_better=True
    ),
    "voxels_in_either": _counts(_voxels_in_either, "voxels of the union", aliases=("n_union",), higher_is_better=None),
    "accuracy": _matrix(
        _accuracy, "fraction of the right classes", aliases=("classification_accuracy",), higher_is_better=True
    ),
    "balanced_accuracy": _matrix(
        _balanced_accuracy, "mean over the classes of the fraction that is right", higher_is_better=True
    ),
    "confusion_matrix": _matrix(_confusion_matrix, "true classes by predicted classes", higher_is_better=None),
    "warped_mae": _moved(
        _warped_mae, "mean absolute difference between a frame and the first one, moved", higher_is_better=False
    ),
    "unmoved_mae": _moved(
        _unmoved_mae, "mean absolute difference between a frame and the first one as it is", higher_is_better=None
    ),
    "displacement": _moved(_displacement, "mean length of displacements", higher_is_better=None, unit="mm"),
    "folding": _moved(_folding, "part of the voxels where the motion turns tissue inside out", higher_is_better=False),
    "box_iou": _boxes(_box_iou, "intersection over union of the boxes", higher_is_better=True),
    "centre_distance": _boxes(
        _centre_distance, "distance between the centres of the boxes", higher_is_better=False, unit="target"
    ),
    "box_giou": _boxes(
        _box_giou, "generalised intersection over union of the boxes", higher_is_better=True, usual=False
    ),
    "radial_error": _landmarks(
        _radial_error, "distance between true and predicted landmarks", higher_is_better=False, unit="mm"
    ),
    "length_error": MeasureEntry(
        _length_error,
        "difference of true and predicted `landmarks_lengths`",
        kind="landmarks",
        needs="lengths",
        higher_is_better=False,
        unit="mm",
    ),
    "detection_rate": _landmarks(
        _detection_rate, "fraction of the landmarks found within `surface_tolerance`", higher_is_better=True
    ),
    "abs_rel": _depths(_abs_rel, "mean error as a part of the true depth", higher_is_better=False),
    "sqr_rel": _depths(
        _sqr_rel, "mean squared error by the true depth", higher_is_better=False, unit="target", usual=False
    ),
    "rmse_linear": _depths(
        _rmse_linear, "root of the mean squared error of the depth", higher_is_better=False, unit="target"
    ),
    "rmse_log": _depths(_rmse_log, "root of the mean squared error of its logarithm", higher_is_better=False),
    "rmse_scale_invariant": _depths(
        _rmse_scale_invariant, "the same but for a common factor of all depths", higher_is_better=False
    ),
    "delta_1": _depths(_delta_1, "fraction within a factor of 1.25", higher_is_better=True),
    "delta_2": _depths(_delta_2, "fraction within a factor of 1.25 squared", higher_is_better=True, usual=False),
    "delta_3": _depths(_delta_3, "fraction within a factor of 1.25 cubed", higher_is_better=True, usual=False),
    "mean_angle": _angles(_mean_angle, "mean angle between the normals", higher_is_better=False, unit="degrees"),
    "median_angle": _angles(_median_angle, "median of the angles", higher_is_better=False, unit="degrees"),
    "within_11": _angles(_within_11, "fraction within 11.25 degrees", higher_is_better=True),
    "within_22": _angles(_within_22, "fraction within 22.5 degrees", higher_is_better=True, usual=False),
    "within_30": _angles(_within_30, "fraction within 30 degrees", higher_is_better=True),
}


def measures_by_type() -> dict[str, dict[str, MeasureEntry]]:
    """Returns the measures of every type of task that has its own, by name."""
    found: dict[str, dict[str, MeasureEntry]] = {}
    for name, entry in MEASURES.items():
        found.setdefault(entry.kind, {})[name] = entry
    return found
