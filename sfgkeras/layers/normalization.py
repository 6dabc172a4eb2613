"""Normalisation of one stream, with a choice of statistics for inference and the stream's mask folded in."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from sfgkeras.errors import suggestion
from sfgkeras.layers.backend import batch_normalize, normalize
from sfgkeras.tables.normalisations import NORMALISATIONS

STATISTICS = ("batch", "population", "recalibrated")


class BatchMoments(NamedTuple):
    """Statistics of one batch in one layer: mean and variance `(channels,)` over `count` voxels."""

    layer: "StreamNormalization"
    mean: Any
    variance: Any
    count: Any


_measurements: list[list[BatchMoments]] = []


@contextlib.contextmanager
def measuring() -> Iterator[list[BatchMoments]]:
    """Makes normalisations that run, or are traced, in the block use and report the batch's statistics."""
    measurement: list[BatchMoments] = []
    _measurements.append(measurement)
    try:
        yield measurement
    finally:
        _measurements.remove(measurement)


def check_statistics(statistics: str) -> str:
    """Returns the name of a kind of statistics, or refuses it.

    Raises:
        ValueError: If the name is none of `STATISTICS`.
    """
    if statistics not in STATISTICS:
        hint = suggestion(str(statistics), list(STATISTICS)) or f"; use one of {', '.join(STATISTICS)}"
        raise ValueError(f"unknown normalisation statistics {statistics!r}{hint}")
    return statistics


def check_normalisation(normalisation: str) -> str:
    """Returns the name of a normalisation, or refuses it.

    Raises:
        ValueError: If the name is none of `NORMALISATIONS`.
    """
    if normalisation not in NORMALISATIONS:
        hint = suggestion(str(normalisation), list(NORMALISATIONS)) or f"; use one of {', '.join(NORMALISATIONS)}"
        raise ValueError(f"unknown normalisation {normalisation!r}{hint}")
    return normalisation


@keras.saving.register_keras_serializable(package="sfgkeras")
class StreamNormalization(keras.layers.Layer):
    """Normalises every channel of one stream, synchronised over the replicas of a distribution strategy.

    Training uses the statistics of the batch and updates moving averages of them. Inference uses

    * `batch`: the batch's own statistics, as the paper does; results then depend on the batch,
    * `population`: the moving averages,
    * `recalibrated`: the same variables, after `networks.recalibrate` measured them again exactly; until then
      they are the moving averages.

    As in Keras, a layer that is not trainable keeps its statistics in training too.

    Args:
        momentum: Weight of the old value in the moving averages.
        epsilon: Added to the variance.
        statistics: What inference uses, see above.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        statistics: str = "recalibrated",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.statistics = check_statistics(statistics)

    def build(self, input_shape: Any) -> None:
        """Creates scale, offset, moving mean and moving variance, all float32 `(channels,)`."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma", dtype="float32", autocast=False)
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta", dtype="float32", autocast=False)
        self.moving_mean = self._add_average(shape, "zeros", "moving_mean")
        self.moving_variance = self._add_average(shape, "ones", "moving_variance")

    def _add_average(self, shape: tuple[int], initializer: str, name: str) -> Any:
        # All replicas hold the same synchronised statistics, so the mean over them changes nothing.
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            name=name,
            dtype="float32",
            autocast=False,
            trainable=False,
            aggregation="mean",
        )

    def call(self, inputs: Any, filter_mask: Any = None, training: bool | None = None) -> Any:
        """Normalises, then multiplies every channel by its mask.

        The mask is multiplied into scale and offset, so it costs no pass over the feature map, and a channel
        whose mask is 0 comes out exactly 0.

        Args:
            inputs: `(batch, *spatial, channels)`.
            filter_mask: None or float32 `(channels,)`, not negative.
            training: Whether to use the batch's statistics and update the moving averages.

        Returns:
            Tensor of the shape of `inputs`, in the compute type.
        """
        scale, offset = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        if filter_mask is not None:
            filter_mask = ops.cast(filter_mask, "float32")
            scale, offset = scale * filter_mask, offset * filter_mask
        inputs = ops.cast(inputs, self.compute_dtype)
        updates = bool(training) and self.trainable
        if not (updates or self.statistics == "batch" or _measurements):
            mean = ops.convert_to_tensor(self.moving_mean)
            variance = ops.convert_to_tensor(self.moving_variance)
            return normalize(inputs, mean, variance, scale, offset, self.epsilon)
        outputs, mean, variance = batch_normalize(inputs, scale, offset, self.epsilon)
        if updates:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        for measurement in _measurements:
            count = ops.prod(ops.convert_to_tensor(ops.shape(inputs)[:-1]))
            measurement.append(BatchMoments(self, mean, variance, count))
        return outputs

    def _move(self, average: Any, value: Any) -> None:
        value = ops.stop_gradient(ops.cast(value, "float32"))
        average.assign(average * self.momentum + value * (1.0 - self.momentum))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "statistics": self.statistics,
        }
