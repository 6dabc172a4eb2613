"""The trunk of a network whose masks are drawn: full width in every stream."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.filter_grouping import FilterGrouping, settled_source
from sfgkeras.layers.routing import merge_streams
from sfgkeras.layers.sfg_convolution import SFGConv2D, SFGConv3D, SFGConvolution, group_names
from sfgkeras.networks.stages import Stage, TrunkSettings, halved, max_pool


class MaskedTrunk(keras.layers.Layer):
    """Stages of SFG convolutions; between them every stream has residual blocks and pooling of its own.

    Streams are merged right after every SFG convolution, before residual blocks, so that a task's blocks see
    `F_t + F_s` with the support `m_t + m_s`; the next convolution then reads the stream as it is.

    Args:
        stages: The stages, already scaled by the width.
        settings: What all layers have in common.
    """

    def __init__(self, stages: Sequence[Stage], settings: TrunkSettings, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype=settings.dtype, **kwargs)
        self.stages = tuple(stages)
        self.settings = settings
        self.convolutions = [self._build_convolution(index) for index in range(len(self.stages))]
        self.sections = {
            f"{index}_{reader}": settings.build_section(stage, stage.filters, f"blocks_{index + 1}_{name}")
            for index, stage in enumerate(self.stages)
            if stage.num_blocks
            for reader, name in self._readers(index)
        }

    def _build_convolution(self, index: int) -> SFGConvolution:
        settings, stage = self.settings, self.stages[index]
        layer = SFGConv2D if settings.spatial_rank == 2 else SFGConv3D
        return layer(
            stage.filters,
            stage.kernel_size,
            num_tasks=settings.num_tasks,
            routing="separate",
            activation=settings.activation,
            initial_probabilities=settings.initial_probabilities,
            assignment=settings.assignment,
            per_sample=settings.per_sample,
            learn_grouping=settings.learn_grouping,
            entropy_decay=settings.entropy_decay,
            temperature=None,
            statistics=settings.statistics,
            kernel_initializer=settings.initializer(),
            kernel_regularizer=settings.kernel_regularizer,
            rematerialise=settings.rematerialise,
            seed=settings.next_seed(),
            dtype=settings.dtype,
            name=f"sfg_{index + 1}",
        )

    def _is_last(self, index: int) -> bool:
        return index == len(self.stages) - 1

    def _readers(self, index: int) -> list[tuple[int, str]]:
        """Groups, index and name, that read what a stage leaves; nobody reads a merged last shared stream."""
        names = list(enumerate(group_names(self.settings.num_tasks)))
        return names[:-1] if self._is_last(index) and self.settings.routing != "separate" else names

    def _routing(self, index: int) -> str:
        """Rule of the merge after a stage; heads read the task's and the shared stream in every routing."""
        routing = self.settings.routing
        return "mixed" if self._is_last(index) and routing == "dense" else routing

    def build(self, input_shape: Any) -> None:
        """Builds all stages for images of `input_shape`, `(batch, *spatial, channels)`."""
        shape: Any = tuple(input_shape)
        for index, (stage, convolution) in enumerate(zip(self.stages, self.convolutions, strict=True)):
            convolution.build(shape)
            spatial = shape[0][:-1] if index else shape[:-1]
            stream = (*spatial, stage.filters)
            for reader, _ in self._readers(index):
                if stage.num_blocks:
                    self.sections[f"{index}_{reader}"].build(stream)
            stream = halved(stream) if stage.pools else stream
            shape = [stream] * self.settings.num_groups

    def output_shapes(self, input_shape: Any) -> list[tuple]:
        """Returns the shape of what every head reads, for images of `input_shape`."""
        shape = (*input_shape[:-1], self.stages[-1].filters)
        for stage in self.stages:
            shape = halved(shape) if stage.pools else shape
        return [shape] * self.settings.num_tasks

    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns the grouping of every SFG convolution by the convolution's name."""
        return {convolution.name: convolution.grouping for convolution in self.convolutions}

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns p of every SFG convolution by its name, `(filters, groups)`."""
        return {name: ops.convert_to_numpy(grouping.probabilities()) for name, grouping in self.groupings().items()}

    def call(self, inputs: Any, temperature: Any, source: Any, training: bool | None = None) -> list[Any]:
        """Returns what the head of every task reads.

        Args:
            inputs: Images `(batch, *spatial, channels)`.
            temperature: Temperature of this step.
            source: Index of the mask source; see `FilterGrouping`. With `auto` the filters of all layers decide.
            training: Whether masks are always sampled and normalisation uses the batch.

        Returns:
            One tensor `(batch, *spatial, filters)` per task.
        """
        streams: Any = inputs
        source = source if training else settled_source(source, list(self.groupings().values()))
        for index in range(len(self.convolutions)):
            streams, masks = self._convolve(index, streams, temperature, source, training)
            streams = self._pass_on(index, streams, masks, training)
        if self.settings.routing == "separate":
            streams = merge_streams(streams, "mixed", self.settings.num_tasks)
        return streams

    def filter_features(self, inputs: Any, temperature: Any, source: Any) -> dict[str, Any]:
        """Returns what every filter answers at inference, the sum of its layer's masked streams.

        With one-hot masks that is the filter's output in the stream of its own group.

        Args:
            inputs: Images `(batch, *spatial, channels)`.
            temperature: Temperature of the masks, where they are drawn.
            source: Index of the mask source; see `FilterGrouping.call`.

        Returns:
            `(batch, *spatial, filters)` by the name of the SFG convolution.
        """
        streams: Any = inputs
        source = settled_source(source, list(self.groupings().values()))
        features = {}
        for index, convolution in enumerate(self.convolutions):
            streams, masks = self._convolve(index, streams, temperature, source, training=False)
            features[convolution.name] = sum(streams[1:], streams[0])
            streams = self._pass_on(index, streams, masks, training=False)
        return features

    def _convolve(
        self, index: int, streams: Any, temperature: Any, source: Any, training: bool | None
    ) -> tuple[list[Any], list[Any]]:
        """Returns the masked streams of a stage's convolution, and the masks."""
        convolution = self.convolutions[index]
        batch_size = ops.shape(streams[0] if index else streams)[0]
        masks = convolution.draw_masks(temperature, source, batch_size, training)
        return convolution(streams, filter_masks=masks, training=training), masks

    def _pass_on(self, index: int, streams: list[Any], masks: list[Any], training: bool | None) -> list[Any]:
        """Merges the streams of a stage and sends each through its blocks and its pooling."""
        stage, routing, num_readers = self.stages[index], self._routing(index), len(self._readers(index))
        streams = merge_streams(streams, routing, num_readers)
        if stage.num_blocks:
            if routing == "dense":
                streams = fan_out(streams[0], num_readers)
            supports: list[Any] = [None] * num_readers
            if self.settings.mask_residual:
                supports = merge_streams(masks, routing, num_readers)
                supports = fan_out(supports[0], num_readers) if routing == "dense" else supports
            streams = [
                self.sections[f"{index}_{reader}"](stream, support, training=training)
                for reader, (stream, support) in enumerate(zip(streams, supports, strict=True))
            ]
        if stage.pools:
            # Dense routing hands one tensor to all readers: it is pooled once.
            pooled = {id(stream): stream for stream in streams}
            pooled = {key: max_pool(stream) for key, stream in pooled.items()}
            streams = [pooled[id(stream)] for stream in streams]
        return streams
