"""Segmentation: one label per voxel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import evaluate_segmentation
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.targets import VoxelTarget
from sfgkeras.data.scaling import BLOCK
from sfgkeras.errors import DataError
from sfgkeras.tables.refinements import REFINEMENTS

PROBABILITIES = "_probabilities"


class SegmentationTask(LabelledTask, VoxelTarget):
    """Predicts labels 0 .. `num_classes` - 1; writes a label map, or probabilities with `output_prob`."""

    @property
    def target_kind(self) -> str:
        """`labels`."""
        return "labels"

    @property
    def metric_arguments(self) -> Mapping[str, Mapping[str, Any]]:
        """Measures of overlap need the number of classes."""
        return {name: {"num_classes": self.num_classes} for name in ("dice", "jaccard")}

    @property
    def refines(self) -> bool:
        """With `refinement`."""
        return self.settings.refinement != "none"

    def refined(self, outputs: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Returns the probabilities that `refinement` makes of those of the network."""
        refine = REFINEMENTS[self.settings.refinement].load()
        return np.asarray(refine(outputs, image, self.axes, **self.settings.settings_of("refinement")))

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Returns the labels as the smallest unsigned integers.

        Raises:
            DataError: If a label is not one of `0 .. num_classes - 1`, or with `label_normalisation` of those found.
        """
        if self.labels:
            return self._numbered(volume)
        low, high = int(volume.min(initial=0)), int(volume.max(initial=0))
        if low < 0 or high >= self.num_classes:
            raise DataError(
                f"label {high if high >= self.num_classes else low} lies outside num_classes = "
                f"{self.num_classes} of task {self.name!r}; correct the label map or num_classes"
            )
        return volume.astype(np.uint8 if self.num_classes <= 256 else np.int32)

    def _numbered(self, volume: np.ndarray) -> np.ndarray:
        """Returns the number of every voxel's label among those that training found."""
        labels = np.asarray(self.labels)
        places = np.minimum(np.searchsorted(labels, volume), len(labels) - 1)
        unknown = np.unique(volume[labels[places] != volume])
        if unknown.size:
            raise DataError(
                f"label {unknown[0]} is in no training subject, and label_normalisation = yes numbers those that are "
                f"({len(labels)} for task {self.name!r}); correct the label map, or move the subject to training"
            )
        return places.astype(np.uint8 if self.num_classes <= 256 else np.int32)

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Returns the most probable label, and the probabilities besides where the INI asks for them.

        Labels are never interpolated: with an order above 0 the probabilities are, and the largest one wins.
        """
        background = self.class_labels[0]
        if order == 0 and not self.settings.output_prob:
            return {"": resample(self._most_probable(aggregated), 0, background)}
        probabilities = np.asarray(resample(aggregated, min(order, 1), 0.0), np.float32)
        labels = {"": self._most_probable(probabilities)}
        return labels | ({PROBABILITIES: probabilities} if self.settings.output_prob else {})

    def _most_probable(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the label of the largest probability, as files have it."""
        integers = np.dtype(np.uint8 if self.num_classes <= 256 else np.int16)
        if not self.labels:
            return _most_probable(probabilities, integers)
        # Classes beyond the labels found were never learned.
        numbers = _most_probable(probabilities[..., : len(self.labels)], integers)
        low, high = min(self.labels), max(self.labels)
        fitting = (
            kind for kind in (np.uint8, np.int16, np.int32) if np.iinfo(kind).min <= low <= high <= np.iinfo(kind).max
        )
        return np.asarray(self.labels, next(fitting, np.int64))[numbers]

    @property
    def map_endings(self) -> tuple[str, ...]:
        """The label map, and the probabilities where the INI asks for them."""
        return ("", PROBABILITIES) if self.settings.output_prob else ("",)

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures every label but the background, or the foreground as one; voxels not covered are background.

        Labels that were found and have no 0 among them are all measured: the lowest stands for the background where
        there is nothing else, and may be what is looked for.
        """
        background = self.class_labels[0]
        truth, prediction = np.where(valid, truth, background), np.where(valid, prediction, background)
        if evaluation.evaluation_units == "foreground":
            truth, prediction, labels = truth != background, prediction != background, {"foreground": 1}
        else:
            first = 1 if background == 0 else 0
            labels = dict(zip(self.class_names[first:], self.class_labels[first:], strict=True))
        return evaluate_segmentation(
            truth,
            prediction,
            spacing,
            labels,
            self.measures(evaluation.evaluations),
            evaluation.surface_tolerance,
            masks,
        )


def _most_probable(probabilities: np.ndarray, integers: np.dtype) -> np.ndarray:
    """Returns the label of the largest probability, `(x, y, z)` of `(x, y, z, classes)`, the first of equal ones."""
    labels = np.empty(probabilities.shape[:-1], integers)
    # NumPy's argmax has 64 bits for every voxel: a few planes at a time.
    step = max(1, BLOCK * len(labels) // labels.size)
    for first in range(0, len(labels), step):
        labels[first : first + step] = np.argmax(probabilities[first : first + step], axis=-1)
    return labels
