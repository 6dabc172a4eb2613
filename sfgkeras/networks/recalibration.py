"""Population statistics of a trained network, measured again with its final masks."""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.backend import compiled
from sfgkeras.layers.normalization import BatchMoments, StreamNormalization, measuring
from sfgkeras.layers.statistics_record import StatisticsRecord

BATCHES = 20
"""Batches that the statistics are measured on where nobody says otherwise."""


class PooledMoments:
    """Exact mean and variance of all batches so far, pooled in float64 (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, moments: BatchMoments) -> None:
        """Adds the statistics of one batch."""
        mean = ops.convert_to_numpy(moments.mean).astype("float64")
        variance = ops.convert_to_numpy(moments.variance).astype("float64")
        count = int(moments.count)
        total = self.count + count
        distance = mean - self.mean
        self.squares = self.squares + variance * count
        self.squares = self.squares + distance**2 * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Mean squared distance from the mean."""
        return self.squares / self.count


def recalibrate(network: keras.Model, dataset: Iterable[Any], steps: int | None = None) -> None:
    """Measures the mean and variance of every normalisation again, over a pass of training data.

    Masks are those of inference (`network.masks`, or those of the layers of a functional model). Every batch is
    normalised by its own statistics, as in training, and the statistics are pooled over all batches, not averaged
    exponentially. They replace the moving averages, so that inference with `batch_norm` `population` or `recalibrated`
    uses them.

    Args:
        network: A trained network, or a functional model with SFG layers.
        dataset: Batches of images, or of tuples whose first entry is the images, e.g. what `fit` was given.
        steps: Number of batches; None takes all of a finite data set.

    Raises:
        ValueError: If the data set has no batch, or fewer than `steps`.
    """
    pooled: dict[StreamNormalization, PooledMoments] = {}
    layers: list[StreamNormalization] = []

    def measure_batch(images: Any) -> list[tuple[Any, Any, Any]]:
        with measuring() as measurement:
            network(images, training=False)
        layers[:] = [moments.layer for moments in measurement]
        return [(moments.mean, moments.variance, moments.count) for moments in measurement]

    measure = compiled(measure_batch, network)
    num_batches = 0
    for batch in itertools.islice(iter(dataset), steps):
        images = batch[0] if isinstance(batch, list | tuple) else batch
        measured = measure(images)  # the first call finds the layers
        for layer, moments in zip(layers, measured, strict=True):
            pooled.setdefault(layer, PooledMoments()).add(BatchMoments(layer, *moments))
        num_batches += 1
    if num_batches == 0 or (steps is not None and num_batches < steps):
        raise ValueError(
            f"recalibration read {num_batches} batches of the {steps or 'at least 1'} asked for; "
            f"give it more data, or fewer steps"
        )
    for layer, moments in pooled.items():
        layer.moving_mean.assign(moments.mean.astype("float32"))
        layer.moving_variance.assign(moments.variance.astype("float32"))
    for layer in network._flatten_layers():
        if isinstance(layer, StatisticsRecord) and hasattr(layer, "iteration"):
            layer.record_statistics()
