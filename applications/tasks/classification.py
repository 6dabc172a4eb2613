"""Classification: one class per subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from sfgkeras.analysis.measures import evaluate_classification
from sfgkeras.analysis.uncertainty import Allocate, Information, in_memory
from sfgkeras.applications.tasks.task import Resample, TaskType, build_named_loss, select_measures
from sfgkeras.errors import DataError


@dataclass(frozen=True)
class ClassificationTask(TaskType):
    """Predicts one of `num_classes` classes per subject; the probabilities go to the result table."""

    type_name: ClassVar[str] = "classification"

    @property
    def num_outputs(self) -> int:
        """One channel per class."""
        return int(self.settings.num_classes)

    @property
    def target_kind(self) -> str:
        """`class`."""
        return "class"

    def build_loss(self) -> Any:
        """Builds the loss named in the INI file."""
        from sfgkeras.losses import CLASSIFICATION_LOSSES

        return build_named_loss(CLASSIFICATION_LOSSES, self)

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Refuses: a classification has no target volume."""
        raise DataError(
            f"task {self.name!r} is a classification and needs one class per subject; set attribute to "
            "a column of a table or a part of the file name"
        )

    def prepare_value(self, text: str) -> np.ndarray:
        """Returns the class index.

        Raises:
            DataError: If it is not one of the labels.
        """
        label = self.parse_label(text)
        if label not in self.class_labels:
            known = f"0 .. {self.num_outputs - 1}"
            if self.labels:
                known = f"{', '.join(map(str, self.labels))}, those of the training subjects"
            raise DataError(
                f"[{self.source}] {self.settings.attribute} = {text!r} is no class of task {self.name!r}: "
                f"classes are {known}"
            )
        return np.asarray(self.class_labels.index(label), np.int32)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns class probabilities."""
        return softmax(outputs, axis=-1)

    def describe_output(self) -> dict[str, Any]:
        """Adds how logits become probabilities, and the names of the classes."""
        values = "logits; probabilities are softmax(channels)"
        return super().describe_output() | {"values": values, "classes": self.class_names}

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Refuses: a classification has no result volume."""
        raise DataError(f"task {self.name!r} is a classification; use a network with one output per image: vgg11")

    def build_statistics(self, allocate: Allocate = in_memory) -> Information:
        """Mean probabilities, their entropy, and mutual information."""
        return Information(allocate)

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Refuses: a classification has no result volume."""
        raise DataError(f"task {self.name!r} is a classification and has no result volume")

    def evaluate_values(
        self, truth: Sequence[float], prediction: Sequence[float], evaluation: Any
    ) -> list[dict[str, Any]]:
        """Measures all subjects."""
        names = select_measures(evaluation.evaluations, "classification")
        number = {label: index for index, label in enumerate(self.class_labels)}
        true_classes, predicted_classes = (
            [self._number(label, number) for label in given] for given in (truth, prediction)
        )
        return [evaluate_classification(true_classes, predicted_classes, self.num_outputs, names)]

    def _number(self, label: float, numbers: Mapping[int, int]) -> int:
        """Returns the class of a label as files have it."""
        if label not in numbers:
            raise DataError(
                f"[{self.source}] has {label:g}, which is no class of task {self.name!r}; its classes are "
                f"{', '.join(map(str, numbers))}"
            )
        return numbers[int(label)]

    def finish_value(self, outputs: np.ndarray) -> dict[str, float]:
        """Returns the class and every class's probability."""
        labels = self.class_labels
        probabilities = {
            f"{self.name}_probability_{label}": float(p) for label, p in zip(labels, outputs, strict=False)
        }
        return {self.name: labels[int(np.argmax(outputs[: len(labels)]))], **probabilities}
