"""The trunk of a network whose masks are drawn: full width in every stream."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.group_multiples import assign_groups
from sfgkeras.grouping import mode_assignment
from sfgkeras.layers.backend import ordered_sum
from sfgkeras.layers.filter_grouping import FilterGrouping, settled_source
from sfgkeras.layers.routing import merge_sources, one_each
from sfgkeras.layers.sfg_convolution import SFGConv2D, SFGConv3D, SFGConvolution
from sfgkeras.sharing.allocation import allocate_own
from sfgkeras.sharing.own_stages import OwnStages
from sfgkeras.sharing.readers import group_of, reader_name, sources_of, task_reader
from sfgkeras.sharing.sfg import SFG
from sfgkeras.sharing.trunk import Trunk
from sfgkeras.sharing.used_in_common import groups_in_common


class MaskedTrunk(Trunk):
    """Stages of SFG convolutions; between them every stream has residual blocks and pooling of its own.

    Streams are merged right after every SFG convolution, before residual blocks, so that a task's blocks see
    `F_t + F_s` with the support `m_t + m_s`; the next convolution then reads the stream as it is. Stages per task
    have no masks: each task goes on with its own stream. Behind the head of a task no filter is drawn for it.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.
    """

    def __init__(self, architecture: Architecture, settings: LayerSettings, sharing: SFG, **kwargs: Any) -> None:
        super().__init__(architecture, settings, **kwargs)
        self.sharing = sharing
        num_own = sum(stage.per_task for stage in architecture.stages)
        num_shared = len(architecture.stages) - num_own
        self.own_stages = architecture.stages[num_shared:]
        self.convolutions = [self._build_convolution(index) for index in range(num_shared)]
        self.sections = {
            f"{index}_{reader}": settings.build_section(
                stage,
                stage.filters,
                f"blocks_{index + 1}_{reader_name(settings.num_groups, reader)}",
                folds_masks=sharing.assignment == "soft",
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
            num_tasks=len(self.architecture.tasks_behind(index)),
            routing="separate",
            activation=settings.activation,
            initial_probabilities=sharing.probabilities_of(self.architecture.live_groups(index)),
            assignment=sharing.assignment,
            per_sample=sharing.per_sample,
            noise=sharing.noise,
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
        """Returns the groups that filters of a stage can serve, or for a stage per task the tasks behind it."""
        if not self.architecture.stages[index].per_task:
            return self.architecture.live_groups(index)
        return [self.task_reader(task) for task in self.architecture.tasks_behind(index)]

    def head_groups(self, task: int) -> tuple[int, ...]:
        """Returns the task's stream; with `separate` routing and no blocks the shared one too, added at the head."""
        stage = self.architecture.stages[self.architecture.taps[task]]
        adds = self.sharing.routing == "separate" and not stage.num_blocks and not stage.per_task
        return (task, self.settings.num_tasks) if adds else (self.task_reader(task),)

    def task_reader(self, task: int) -> int:
        """Returns the number by which a task reads what is meant for its head; see `sharing.readers`."""
        return task_reader(self.sharing.routing, self.settings.num_groups, task)

    def _group_of(self, reader: int) -> int:
        return group_of(self.settings.num_groups, reader)

    def _sources(self, index: int, reader: int) -> tuple[int, ...]:
        """Returns the groups of a stage that a reader's stream is the sum of."""
        live = self.architecture.live_groups(index)
        wanted = sources_of(self.sharing.routing, self.settings.num_groups, reader)
        return tuple(group for group in wanted if group in live)

    def stream_channels(self, index: int, reader: int) -> int:
        """Returns the filters of the stage: every stream is as wide as the stage."""
        return self.architecture.stages[index].filters

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the convolution of a stage, and its residual blocks."""
        stage = self.architecture.stages[index]
        if stage.per_task:
            self.own.build_stage(index, size, {self._group_of(number): read for number, read in channels.items()})
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
        """Returns p of every SFG convolution by its name, `(filters, groups)`; 0 for tasks with no head behind it."""
        found = {}
        for index, (name, grouping) in enumerate(self.groupings().items()):
            found[name] = np.zeros((grouping.filters, self.settings.num_groups), "float32")
            found[name][:, self.architecture.live_groups(index)] = ops.convert_to_numpy(grouping.probabilities())
        return found

    def probabilities_of_all_groups(self) -> list[Any]:
        """Returns p of every SFG convolution, `(filters, groups)`, as tensors that depend on the grouping logits."""
        groups = np.eye(self.settings.num_groups, dtype="float32")
        return [
            ops.matmul(grouping.probabilities(), groups[self.architecture.live_groups(index)])
            for index, grouping in enumerate(self.groupings().values())
        ]

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns which part of the filters expected to serve a task serves others, too; see `groups_in_common`."""
        groups = np.eye(self.settings.num_groups)
        own = [groups[allocate_own(stage, self.settings.num_tasks)] for stage in self.own_stages]
        probabilities = [*self.grouping_probabilities().values(), *own]
        return groups_in_common(self.architecture, probabilities, self.sharing.routing)

    def most_probable_groups(self, multiple_of: int = 1) -> list[list[int]]:
        """Returns the group of every filter of every SFG convolution with masks of `mode`.

        Args:
            multiple_of: What the filters per group are multiples of, where the layer's number of filters permits it;
                see `group_multiples.assign_groups`.
        """
        found = []
        for index, grouping in enumerate(self.groupings().values()):
            if multiple_of == 1:
                places = ops.convert_to_numpy(mode_assignment(grouping.probabilities())).argmax(axis=-1)
            else:
                places = assign_groups(ops.convert_to_numpy(grouping.log_probabilities()), multiple_of)
            found.append([self.architecture.live_groups(index)[place] for place in places])
        return found

    def run_stage(
        self, index: int, streams: Streams, sized_image: Callable[[], Any], draw: Any, training: bool | None
    ) -> Streams:
        """Convolves all streams, masks them, merges them, and sends each through its blocks."""
        if self.architecture.stages[index].per_task:
            return self._run_own(index, streams, training)
        features, masks = self._convolve(index, streams, draw, training)
        return self._pass_on(index, features, masks, training)

    def call(self, inputs: Any, temperature: Any = None, source: Any = None, training: bool | None = None) -> list[Any]:
        """Returns what the head of every task reads; arguments as `Trunk.call`.

        With `auto` masks the filters of all layers decide together what is taken.
        """
        if not training and self.convolutions:
            source = settled_source(source, list(self.groupings().values()))
        return super().call(inputs, temperature, source, training=training)

    def for_heads(self, streams: Sequence[Streams]) -> list[Any]:
        """Returns what each head reads: its stream, or the sum of its own and the shared one."""
        return [ordered_sum([read[reader] for reader in self.head_groups(task)]) for task, read in enumerate(streams)]

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
        if self.convolutions:
            source = settled_source(source, list(self.groupings().values()))

        def run_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
            if self.architecture.stages[index].per_task:
                return self._run_own(index, streams, training=False)
            features, masks = self._convolve(index, streams, (temperature, source), training=False)
            found[self.convolutions[index].name] = sum(features[1:], features[0])
            return self._pass_on(index, features, masks, training=False)

        self.walk(inputs, run_stage)
        return found

    def _run_own(self, index: int, streams: Streams, training: bool | None) -> Streams:
        """Runs a stage per task; each task goes on by the number by which it reads."""
        left = self.own.run_stage(index, {self._group_of(number): read for number, read in streams.items()}, training)
        return {self.task_reader(task): stream for task, stream in left.items()}

    def _convolve(self, index: int, streams: Streams, draw: Any, training: bool | None) -> tuple[list[Any], list[Any]]:
        """Returns the masked streams of a stage's convolution, and the masks, in the order of its groups."""
        convolution = self.convolutions[index]
        temperature, source = draw
        inputs = [streams[group] for group in self.stage_groups(index)]
        masks = convolution.draw_masks(temperature, source, ops.shape(inputs[0])[0], training)
        return convolution(inputs if index else inputs[0], filter_masks=masks, training=training), masks

    def _pass_on(self, index: int, features: list[Any], masks: list[Any], training: bool | None) -> Streams:
        """Merges the streams of a stage for its readers and sends each through its blocks."""
        groups = self.stage_groups(index)
        sources = {reader: self._sources(index, reader) for reader in self.readers(index)}
        streams = merge_sources(dict(zip(groups, features, strict=True)), sources)
        if not self.architecture.stages[index].num_blocks:
            return streams
        supports: Streams = dict.fromkeys(sources)
        if self.sharing.mask_residual:
            supports = one_each(merge_sources(dict(zip(groups, masks, strict=True)), sources))
        return {
            reader: self.sections[f"{index}_{reader}"](stream, supports[reader], training=training)
            for reader, stream in one_each(streams).items()
        }
