"""Classification: one class per subject."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import evaluate_classification
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.targets import ImageTarget
from sfgkeras.errors import DataError


class ClassificationTask(LabelledTask, ImageTarget):
    """Predicts one of `num_classes` classes per subject; the probabilities go to the result table."""

    @property
    def target_kind(self) -> str:
        """`class`."""
        return "class"

    def prepare_value(self, *texts: str) -> np.ndarray:
        """Returns the class index.

        Raises:
            DataError: If it is not one of the labels.
        """
        label = self.parse_label(*texts)
        if label not in self.class_labels:
            known = f"0 .. {self.num_classes - 1}"
            if self.labels:
                known = f"{', '.join(map(str, self.labels))}, those of the training subjects"
            raise DataError(
                f"[{self.source}] {self.settings.attribute} = {texts[0]!r} is no class of task {self.name!r}: "
                f"classes are {known}"
            )
        return np.asarray(self.class_labels.index(label), np.int32)

    def evaluate_values(self, truth: np.ndarray, prediction: np.ndarray, evaluation: Any) -> list[dict[str, Any]]:
        """Measures all subjects."""
        names = self.measures(evaluation.evaluations)
        number = {label: index for index, label in enumerate(self.class_labels)}
        true_classes, predicted_classes = (
            [self._number(label, number) for label in given] for given in (truth, prediction)
        )
        return [evaluate_classification(true_classes, predicted_classes, self.num_classes, names)]

    def score_subjects(self, truth: np.ndarray, prediction: np.ndarray) -> Mapping[str, np.ndarray]:
        """Returns 1 for each right class and 0 for each wrong one."""
        return {"accuracy": (truth == prediction).astype(float)}

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
