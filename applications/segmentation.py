"""Segmentation: one label per voxel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from sfgkeras.applications.base import Resample, TaskType
from sfgkeras.errors import DataError, lookup


@dataclass(frozen=True)
class SegmentationTask(TaskType):
    """Predicts labels 0 .. `num_classes` - 1; writes a label map, or probabilities with `output_prob`."""

    type_name: ClassVar[str] = "segmentation"

    @property
    def num_outputs(self) -> int:
        """One channel per class."""
        return int(self.settings.num_classes)

    @property
    def target_kind(self) -> str:
        """`labels`."""
        return "labels"

    def build_loss(self) -> Any:
        """Builds the loss named in the INI file."""
        from sfgkeras.losses import SEGMENTATION_LOSSES

        return lookup(SEGMENTATION_LOSSES, self.settings.loss, "segmentation loss")(name=f"{self.name}_loss")

    def build_metrics(self) -> Mapping[str, Any]:
        """Builds Dice (mean over the foreground classes) and voxel accuracy."""
        from sfgkeras.metrics import METRICS

        metrics = METRICS["segmentation"]
        return {
            "dice": metrics["dice"](num_classes=self.num_outputs, name=f"{self.name}_dice"),
            "accuracy": metrics["accuracy"](name=f"{self.name}_accuracy"),
        }

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Returns the labels as the smallest unsigned integers.

        Raises:
            DataError: If a label is not one of `0 .. num_classes - 1`.
        """
        low, high = int(volume.min(initial=0)), int(volume.max(initial=0))
        if low < 0 or high >= self.num_outputs:
            raise DataError(f"label {high if high >= self.num_outputs else low} lies outside num_classes = "
                            f"{self.num_outputs} of task {self.name!r}; correct the label map or num_classes")
        return volume.astype(np.uint8 if self.num_outputs <= 256 else np.int32)

    def prepare_value(self, text: str) -> np.ndarray:
        """Refuses: a segmentation has no scalar target."""
        raise DataError(f"task {self.name!r} is a segmentation and cannot learn the scalar {text!r}; "
                        "use type = classification")

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns class probabilities."""
        return softmax(outputs, axis=-1)

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> np.ndarray:
        """Returns the most probable label, or the probabilities where the INI asks for them.

        Labels are never interpolated: with an order above 0 the probabilities are, and the largest one wins.
        """
        integers = np.uint8 if self.num_outputs <= 256 else np.int16
        if self.settings.output_prob:
            return np.asarray(resample(aggregated, min(order, 1), 0.0), np.float32)
        if order == 0:
            return np.asarray(resample(np.argmax(aggregated, axis=-1).astype(integers), 0, fill), integers)
        return np.argmax(resample(aggregated, 1, 0.0), axis=-1).astype(integers)

    def finish_value(self, outputs: np.ndarray) -> dict[str, float]:
        """Refuses: a segmentation has no scalar result."""
        raise DataError(f"task {self.name!r} is a segmentation; the network must give one output per voxel")
