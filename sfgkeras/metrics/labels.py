"""Streaming agreement of predicted and true labels, for label maps and for one class per sample."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.metrics.base import StreamingMetric, WeightedMean, elementwise_weight, ratio_or_nan
from sfgkeras.targets import hard_labels


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class Accuracy(WeightedMean):
    """The fraction of voxels (or samples) whose largest logit is that of the true class.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, name: str = "accuracy"):
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Labels `(batch, *spatial)`, `(batch, *spatial, 1)` or one-hot; without spatial axes for
                one class per sample.
            y_pred: Logits or probabilities, `(batch, *spatial, classes)`; or one logit of two classes,
                `(batch, *spatial, 1)`.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        truth, predicted = hard_labels(y_true, y_pred)
        self.add(ops.sum(truth * predicted, axis=-1), sample_weight)


class _OverlapOfLabels(StreamingMetric):
    """A ratio of how many voxels of a class agree, averaged over the foreground classes.

    Counts are accumulated over everything seen, so that a class that is absent from one window does not
    disturb the average. A class that neither occurs nor is predicted anywhere is left out of it.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, num_classes: int, name: str):
        if num_classes < 2:
            raise ValueError(f"num_classes = {num_classes!r} must be 2 or more")
        super().__init__(name)
        self.num_classes = num_classes
        self.overlap = self.sum_variable("overlap", (num_classes,))
        self.truth = self.sum_variable("truth", (num_classes,))
        self.predicted = self.sum_variable("predicted", (num_classes,))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Labels `(batch, *spatial)`, `(batch, *spatial, 1)` or one-hot.
            y_pred: Logits or probabilities, `(batch, *spatial, num_classes)`; or one logit of two classes,
                `(batch, *spatial, 1)`.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        truth, predicted = hard_labels(y_true, y_pred)
        weight = ops.expand_dims(elementwise_weight(sample_weight, truth[..., 0]), axis=-1)
        axes = tuple(range(len(truth.shape) - 1))
        self.overlap.assign_add(ops.sum(truth * predicted * weight, axis=axes))
        self.truth.assign_add(ops.sum(truth * weight, axis=axes))
        self.predicted.assign_add(ops.sum(predicted * weight, axis=axes))

    def ratio(self, overlap: Any, sizes: Any) -> Any:
        """Returns the ratio of each class, `(num_classes,)`, NaN where `sizes`, those of truth and prediction, is 0."""
        raise NotImplementedError(f"{type(self).__name__} lacks ratio")

    def per_class(self) -> Any:
        """Returns the ratio of every class, `(num_classes,)`; NaN for absent classes."""
        sizes = ops.convert_to_tensor(self.truth) + ops.convert_to_tensor(self.predicted)
        return self.ratio(ops.convert_to_tensor(self.overlap), sizes)

    def result(self) -> Any:
        """Returns the mean over the foreground classes present, a scalar.

        It is 1 where data was seen and neither truth nor prediction held any foreground; NaN without data.
        """
        values = self.per_class()
        foreground, present = values[1:], ops.logical_not(ops.isnan(values[1:]))
        count = ops.sum(ops.cast(present, "float32"))
        mean = ops.sum(ops.where(present, foreground, 0.0)) / ops.maximum(count, 1.0)
        seen = ops.sum(ops.convert_to_tensor(self.predicted)) > 0
        return ops.where(count > 0, mean, ops.where(seen, 1.0, float("nan")))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class Dice(_OverlapOfLabels):
    """The Dice coefficient `2 |A and B| / (|A| + |B|)` of hard labels, averaged over the foreground classes.

    Args:
        num_classes: Number of classes, the background (0) included; 2 with one logit.
        name: Name of the metric.
    """

    def __init__(self, num_classes: int, name: str = "dice"):
        super().__init__(num_classes, name)

    def ratio(self, overlap: Any, sizes: Any) -> Any:
        """Returns the Dice coefficient of each class, `(num_classes,)`."""
        return ratio_or_nan(2.0 * overlap, sizes)


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class Jaccard(_OverlapOfLabels):
    """The intersection over union `|A and B| / |A or B|` of hard labels, averaged over the foreground classes.

    Args:
        num_classes: Number of classes, the background (0) included; 2 with one logit.
        name: Name of the metric.
    """

    def __init__(self, num_classes: int, name: str = "jaccard"):
        super().__init__(num_classes, name)

    def ratio(self, overlap: Any, sizes: Any) -> Any:
        """Returns the intersection over union of each class, `(num_classes,)`."""
        return ratio_or_nan(overlap, sizes - overlap)
