"""What the streaming metrics share: sums that add up over batches and replicas, and the weights."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.targets import split_weight


class StreamingMetric(keras.metrics.Metric):
    """A metric that is a function of sums over everything seen since the last reset.

    All state lies in variables that are summed, so that under `tf.distribute` the replicas' states add up
    to that of one device that has seen all the data. Without any data the result is NaN: nothing was
    measured, and NaN never passes for the best value.

    Attributes:
        higher_is_better: Whether a larger result is a better one.
        has_target_unit: Whether the result has the unit of the target; such a metric takes a `factor`.
    """

    higher_is_better: ClassVar[bool]
    has_target_unit: ClassVar[bool] = False

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32")

    def sum_variable(self, name: str, shape: tuple[int, ...] = ()) -> Any:
        """Adds a variable that starts at zero and is summed over replicas."""
        return self.add_weight(shape=shape, initializer="zeros", dtype="float32", name=name)

    def reset_state(self) -> None:
        """Sets all sums back to zero."""
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {"name": self.name}


class WeightedMean(StreamingMetric):
    """The mean of one number per element over everything seen, each with its weight.

    Derived metrics say in `update_state` what the numbers are, and hand them to `add`.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.total = self.sum_variable("total")
        self.weight = self.sum_variable("weight")

    def add(self, values: Any, sample_weight: Any) -> None:
        """Adds the numbers of a batch.

        Args:
            values: One number per element, `(batch, *spatial)`.
            sample_weight: None, `(batch,)`, or a map of the shape of `values`; zeros leave elements out.
        """
        weight = elementwise_weight(sample_weight, values)
        self.total.assign_add(ops.sum(values * weight))
        self.weight.assign_add(ops.sum(weight))

    def result(self) -> Any:
        """Returns the mean so far, a scalar; NaN without data."""
        return self.mean()

    def mean(self) -> Any:
        """Returns the mean of the numbers handed to `add`, in their own unit."""
        return ratio_or_nan(ops.convert_to_tensor(self.total), ops.convert_to_tensor(self.weight))


def elementwise_weight(sample_weight: Any, like: Any) -> Any:
    """Returns the weight of every element of `like`, `(batch, *spatial)`, in float32.

    Args:
        sample_weight: None (all ones), one number per sample, or a map of the shape of `like`.
        like: A tensor `(batch, *spatial)`.

    Raises:
        ValueError: If the weight has another shape.

    Examples:
        >>> print(ops.convert_to_numpy(elementwise_weight(ops.array([2.0]), ops.zeros((1, 2)))))
        [[2. 2.]]
    """
    factor, weight_map = split_weight(sample_weight, like.shape)
    if weight_map is not None:
        return weight_map
    ones = ops.ones_like(like, dtype="float32")
    return ones if factor is None else ones * ops.reshape(factor, (-1,) + (1,) * (len(like.shape) - 1))


def ratio_or_nan(numerator: Any, denominator: Any) -> Any:
    """Divides, with NaN where the denominator is zero.

    Examples:
        >>> print(ops.convert_to_numpy(ratio_or_nan(ops.array([1.0, 0.0]), ops.array([4.0, 0.0]))))
        [0.25  nan]
    """
    empty = denominator <= 0
    return ops.where(empty, float("nan"), numerator / ops.where(empty, 1.0, denominator))
