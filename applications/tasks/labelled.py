"""What tasks have in common whose outputs are classes: their labels as files have them, their names, probabilities."""

from typing import Any

import numpy as np
from scipy.special import expit, softmax

from sfgkeras.analysis.uncertainty import Allocate, Information, in_memory
from sfgkeras.applications.tasks.task import Task
from sfgkeras.tables.losses import takes_one_logit


class LabelledTask(Task):
    """A task of classes: one output channel per class, or one logit for two."""

    @property
    def num_classes(self) -> int:
        """Classes, the background included."""
        return int(self.settings.num_classes or 0)

    @property
    def has_one_logit(self) -> bool:
        """Whether there is one output channel, whose sigmoid is the probability of the second of two classes."""
        return takes_one_logit(self.settings.type, self.settings.loss)

    @property
    def num_outputs(self) -> int:
        """One channel per class; 1 with one logit."""
        return 1 if self.has_one_logit else self.num_classes

    def activated_for(self, image_channels: int) -> int:
        """One probability per class."""
        return self.num_classes

    @property
    def class_labels(self) -> list[int]:
        """The label of each class as files have it: those found in training with `label_normalisation`, or 0, 1, ..."""
        return list(self.labels) or list(range(self.num_classes))

    @property
    def class_names(self) -> list[str]:
        """The name of each label of `class_labels`."""
        labels = self.class_labels
        return list(self.settings.class_names)[: len(labels)] or [str(label) for label in labels]

    def class_numbers(self, label_map: np.ndarray) -> np.ndarray:
        """Returns the number of the class of every voxel of a label map as files have it; 0 for labels of no class."""
        if not self.labels:
            return label_map
        labels = np.asarray(self.labels)
        places = np.minimum(np.searchsorted(labels, label_map), len(labels) - 1)
        return np.where(labels[places] == label_map, places, 0).astype(np.int16)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns class probabilities, `(..., classes)`."""
        if self.has_one_logit:
            return np.concatenate([expit(-outputs), expit(outputs)], axis=-1)
        return softmax(outputs, axis=-1)

    def describe_output(self) -> dict[str, Any]:
        """Adds how logits become probabilities, and the names of the classes."""
        values = "logits; probabilities are softmax(channels)"
        if self.has_one_logit:
            values = f"one logit; the probability of {self.class_names[1]} is sigmoid(channel)"
        return super().describe_output() | {"values": values, "classes": self.class_names}

    def build_statistics(self, allocate: Allocate = in_memory) -> Information:
        """Mean probabilities, their entropy, and mutual information."""
        return Information(allocate)
