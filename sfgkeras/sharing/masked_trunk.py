"""The trunk of a network whose masks are drawn: full width in every stream."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.backend import fan_out, ordered_sum
from sfgkeras.layers.filter_grouping import FilterGrouping, settled_source
from sfgkeras.layers.routing import merge_streams
from sfgkeras.layers.sfg_convolution import SFGConv2D, SFGConv3D, SFGConvolution, group_names
from sfgkeras.sharing.own_stages import OwnStages
from sfgkeras.sharing.sfg import SFG
from sfgkeras.sharing.trunk import Trunk


class MaskedTrunk(Trunk):
    """Stages of SFG convolutions; between them every stream has residual blocks and pooling of its own.

    Streams are merged right after every SFG convolution, before residual blocks, so that a task's blocks see
    `F_t + F_s` with the support `m_t + m_s`; the next convolution then reads the stream as it is. Stages per task
    have no masks: each task goes on with its own stream.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.

    Raises:
        ValueError: If routing and architecture do not fit each other.
    """

    def __init__(self, architecture: Architecture, settings: LayerSettings, sharing: SFG, **kwargs: Any) -> None:
        super().__init__(architecture, settings, **kwargs)
        check_routing_fits(architecture, sharing.routing)
        self.sharing = sharing
        num_own = sum(stage.per_task for stage in architecture.stages)
        num_shared = len(architecture.stages) - num_own
        self.own_stages = architecture.stages[num_shared:]
        self.convolutions = [self._build_convolution(index) for index in range(num_shared)]
        names = group_names(settings.num_tasks)
        self.sections = {
            f"{index}_{reader}": settings.build_section(
                stage, stage.filters, f"blocks_{index + 1}_{names[reader]}", folds_masks=sharing.assignment == "soft"
            )
            for index, stage in enumerate(architecture.stages[:num_shared])
            if stage.num_blocks
            for reader in self.readers(index)
        }
        self.own: Any = OwnStages(architecture, settings, num_shared, name="own_stages") if num_own else None

    def _build_convolution(self, index: int) -> SFGConvolution:
        settings, stage, sharing = self.settings, self.architecture.stages[index], self.sharing
        layer = SFGConv2D if settings.spatial_rank == 2 else SFGConv3D
        return layer(
            stage.filters,
            stage.kernel_size,
            num_tasks=settings.num_tasks,
            routing="separate",
            activation=settings.activation,
            initial_probabilities=sharing.probabilities_of(settings.num_tasks),
            assignment=sharing.assignment,
            per_sample=sharing.per_sample,
            learn_grouping=sharing.learn_grouping,
            entropy_decay=sharing.entropy_decay,
            temperature=None,
            statistics=settings.statistics,
            normalisation=stage.normalisation,
            kernel_initializer=settings.initializer(),
            bias_initializer=settings.bias_of(stage),
            kernel_regularizer=settings.kernel_regularizer,
            rematerialise=settings.rematerialise,
            seed=settings.next_seed(),
            dtype=settings.dtype,
            name=f"sfg_{index + 1}",
        )

    def stage_groups(self, index: int) -> Sequence[int]:
        """Returns all groups, or for a stage per task those whose head depends on it."""
        is_own = self.architecture.stages[index].per_task
        return self.architecture.tasks_behind(index) if is_own else range(self.settings.num_groups)

    def head_groups(self, task: int) -> tuple[int, ...]:
        """Returns the task's stream; with `separate` routing the shared one too, which was never merged into it."""
        is_separate = self.sharing.routing == "separate"
        return (task, self.settings.num_tasks) if is_separate else (task,)

    def stream_channels(self, index: int, reader: int) -> int:
        """Returns the filters of the stage: every stream is as wide as the stage."""
        return self.architecture.stages[index].filters

    def _routing(self, index: int) -> str:
        """Rule of the merge after a stage; heads read the task's and the shared stream in every routing."""
        routing = self.sharing.routing
        return routing if routing != "dense" or self.architecture.readers(index) else "mixed"

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the convolution of a stage, and its residual blocks."""
        stage = self.architecture.stages[index]
        if stage.per_task:
            self.own.build_stage(index, size, channels)
            return
        shapes = [(*size, read) for read in channels.values()]
        self.convolutions[index].build(shapes if index else shapes[0])
        for reader in self.readers(index):
            if stage.num_blocks:
                self.sections[f"{index}_{reader}"].build((*size, stage.filters))

    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns the grouping of every SFG convolution by the convolution's name."""
        return {convolution.name: convolution.grouping for convolution in self.convolutions}

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns p of every SFG convolution by its name, `(filters, groups)`."""
        return {name: ops.convert_to_numpy(grouping.probabilities()) for name, grouping in self.groupings().items()}

    def run_stage(
        self, index: int, streams: Streams, sized_image: Callable[[], Any], draw: Any, training: bool | None
    ) -> Streams:
        """Convolves all streams, masks them, merges them, and sends each through its blocks."""
        if self.architecture.stages[index].per_task:
            return self.own.run_stage(index, streams, training)
        features, masks = self._convolve(index, streams, draw, training)
        return self._pass_on(index, features, masks, training)

    def call(self, inputs: Any, temperature: Any = None, source: Any = None, training: bool | None = None) -> list[Any]:
        """Returns what the head of every task reads; arguments as `Trunk.call`.

        With `auto` masks the filters of all layers decide together what is taken.
        """
        source = source if training else settled_source(source, list(self.groupings().values()))
        return super().call(inputs, temperature, source, training=training)

    def for_heads(self, streams: Sequence[Streams]) -> list[Any]:
        """Returns what each head reads: its stream, or the sum of its own and the shared one."""
        return [ordered_sum([read[group] for group in self.head_groups(task)]) for task, read in enumerate(streams)]

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
        found = {}
        source = settled_source(source, list(self.groupings().values()))

        def run_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
            if self.architecture.stages[index].per_task:
                return self.own.run_stage(index, streams, training=False)
            features, masks = self._convolve(index, streams, (temperature, source), training=False)
            found[self.convolutions[index].name] = sum(features[1:], features[0])
            return self._pass_on(index, features, masks, training=False)

        self.walk(inputs, run_stage)
        return found

    def _convolve(self, index: int, streams: Streams, draw: Any, training: bool | None) -> tuple[list[Any], list[Any]]:
        """Returns the masked streams of a stage's convolution, and the masks."""
        convolution = self.convolutions[index]
        temperature, source = draw
        masks = convolution.draw_masks(temperature, source, ops.shape(streams[0])[0], training)
        inputs = [streams[group] for group in range(self.settings.num_groups)] if index else streams[0]
        return convolution(inputs, filter_masks=masks, training=training), masks

    def _pass_on(self, index: int, features: list[Any], masks: list[Any], training: bool | None) -> Streams:
        """Merges the streams of a stage and sends each through its blocks."""
        routing, readers = self._routing(index), self.readers(index)
        num_readers = readers[-1] + 1
        merged = merge_streams(features, routing, num_readers)
        if self.architecture.stages[index].num_blocks:
            if routing == "dense":
                merged = fan_out(merged[0], num_readers)
            supports: list[Any] = [None] * num_readers
            if self.sharing.mask_residual:
                supports = merge_streams(masks, routing, num_readers)
                supports = fan_out(supports[0], num_readers) if routing == "dense" else supports
            merged = [
                self.sections[f"{index}_{reader}"](stream, support, training=training)
                for reader, (stream, support) in enumerate(zip(merged, supports, strict=True))
            ]
        return dict(enumerate(merged))


def check_routing_fits(architecture: Architecture, routing: str) -> None:
    """Refuses routings that an architecture gives no meaning to.

    Raises:
        ValueError: If a head sits on a stage that others read, or tasks have stages of their own, and streams are not
            merged as a head would read them.
    """
    if routing == "mixed":
        return
    for task, tap in enumerate(architecture.taps):
        if architecture.readers(tap):
            raise ValueError(
                f"routing = {routing} with the head of task {task + 1} on stage {architecture.names[tap]!r}, which "
                "other stages read: what a head reads is formed at the end only; use routing = mixed"
            )
    if any(stage.per_task for stage in architecture.stages):
        raise ValueError(f"routing = {routing} with stages per task, which read what mixed routing forms; use mixed")
