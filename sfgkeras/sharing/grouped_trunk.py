"""The trunk of a network whose filters have fixed groups: no masks, and no product with a known zero."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.filter_grouping import FilterGrouping
from sfgkeras.layers.routing import one_each
from sfgkeras.layers.sfg_convolution import group_names
from sfgkeras.sharing.allocation import Connections, connect
from sfgkeras.sharing.readers import reader_name
from sfgkeras.sharing.trunk import Trunk
from sfgkeras.sharing.used_in_common import groups_in_common


class GroupedTrunk(Trunk):
    """Stages in which every group is a dense convolution of the filters it owns, on the channels it reads.

    Equal to `MaskedTrunk` with one-hot masks. A group that reads no channel reads one channel of zeros, and
    what no head depends on does not exist.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        allocation: The group of every filter of every stage; or who reads whom, which says what follows, too.
        routing: See `layers.routing.groups_read`.
        mask_residual: Whether residual blocks stay inside their stream's support.
        couples: Whether `mix` makes what is left for one task depend on the filters of all.
        joins: Whether readers of the same groups have one stream, and its blocks, in common: what tasks share is then
            shared up to its last block. Otherwise each of them has blocks of its own.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        allocation: Sequence[Sequence[int]] | Connections,
        routing: str = "mixed",
        mask_residual: bool = True,
        couples: bool = False,
        joins: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(architecture, settings, **kwargs)
        self.connections = (
            allocation
            if isinstance(allocation, Connections)
            else connect(architecture, allocation, settings.num_tasks, routing, mask_residual, couples, joins)
        )
        self.convolutions: dict[str, Any] = {}
        self.activations: dict[str, Any] = {}
        self.sections: dict[str, Any] = {}
        for index, stage in enumerate(architecture.stages):
            for group in map(self.connections.group_of, self.connections.stage_groups(index)):
                filters = self.connections.filters_of(index, group).size
                suffix = f"{index + 1}_{self.group_name(index, group)}"
                key = f"{index}_{group}"
                self.convolutions[key] = settings.build_convolution(stage, filters, f"convolution_{suffix}")
                self.activations[key] = settings.build_activation(stage, f"activation_{suffix}")
            for reader in self.connections.readers(index):
                is_led = self.connections.leader(index, reader) != reader
                if stage.num_blocks and self.connections.channels(index, reader).size and not is_led:
                    self.sections[f"{index}_{reader}"] = settings.build_section(
                        stage,
                        self.connections.num_channels(index, reader),
                        f"blocks_{index + 1}_{self.stream_name(index, reader)}",
                    )

    def group_name(self, index: int, group: int) -> str:
        """Returns what the layers of a group of a stage are called."""
        return group_names(self.settings.num_tasks)[group]

    def stream_name(self, index: int, reader: int) -> str:
        """Returns what the residual blocks of a stream behind a stage are called."""
        shared = self.settings.num_tasks
        is_shared = self.connections.joined and self.connections.sources(index, reader) == (shared,)
        return reader_name(self.settings.num_groups, shared if is_shared else reader)

    def connections_for(self, heads: Sequence[int]) -> Connections:
        """Returns the connections that are left when only some heads are wanted, and no further ones of training."""
        architecture = dataclasses.replace(self.architecture, supervised=())
        return dataclasses.replace(self.connections, architecture=architecture, heads=tuple(heads))

    def stage_groups(self, index: int) -> list[int]:
        """Returns the readers by which the groups of a stage read that some head depends on."""
        return self.connections.stage_groups(index)

    def head_groups(self, task: int) -> tuple[int, ...]:
        """Returns the task's stream, into which the shared one is merged."""
        return self.connections.head_groups(task)

    def task_reader(self, task: int) -> int:
        """Returns the number by which a task reads what is meant for its head."""
        return self.connections.task_reader(task)

    def kept_groups(self, index: int) -> list[int]:
        """Returns the streams of a stage that heads read besides those of their own stage."""
        return self.connections.kept_groups(index)

    def stream_channels(self, index: int, reader: int) -> int:
        """Returns the channels of a stream's tensor: those of the groups it is merged from, at least one."""
        return self.connections.num_channels(index, reader)

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the convolutions of a stage, and its residual blocks."""
        for number, read in channels.items():
            key = f"{index}_{self.connections.group_of(number)}"
            self.convolutions[key].build((*size, read))
            self.activations[key].build((*size, self.convolutions[key].filters))
        for reader in self.connections.readers(index):
            if f"{index}_{reader}" in self.sections:
                self.sections[f"{index}_{reader}"].build((*size, self.connections.num_channels(index, reader)))

    def run_stage(
        self, index: int, streams: Streams, sized_image: Callable[[], Any], draw: Any, training: bool | None
    ) -> Streams:
        """Convolves the stream of each group, merges what they leave, and sends each stream through its blocks."""
        outputs = {}
        for number, stream in (one_each(streams) if index else streams).items():
            group = self.connections.group_of(number)
            features = self.convolutions[f"{index}_{group}"](stream)
            outputs[group] = self.activations[f"{index}_{group}"](features, training=training)
        outputs = self.mix(index, outputs)
        leaders = {reader: self.connections.leader(index, reader) for reader in self.connections.readers(index)}
        led = list(dict.fromkeys(leaders.values()))
        uses = {group: sum(group in self.connections.sources(index, reader) for reader in led) for group in outputs}
        copies = {group: iter(fan_out(feature, uses[group])) for group, feature in outputs.items()}
        left = {reader: self._pass_on(index, reader, copies, sized_image, training) for reader in led}
        return {reader: left[leader] for reader, leader in leaders.items()}

    def mix(self, index: int, outputs: Streams) -> Streams:
        """Returns what streams are merged from: here what the groups' convolutions left, by group."""
        return outputs

    def mix_plainly(self, index: int, outputs: Streams, layers: Any) -> Streams:
        """Does what `mix` does, with plain Keras layers; see `PlainLayers`."""
        return outputs

    def feeding(self, operations: Any, dtype: str | None = None) -> Any:
        """Returns what feeds outputs of tasks to later stages during one pass; here nothing does."""
        return None

    def heads_plainly(self, found: list[Streams], kept: dict[int, Streams], layers: Any) -> list[Streams]:
        """Returns what heads read, with plain Keras layers; see `PlainLayers`.

        Args:
            found: For every task the streams of its head, none where it is not wanted.
            kept: By the index of the stage the streams of `kept_groups`.
            layers: What makes layers.
        """
        return found

    def _pass_on(
        self, index: int, reader: int, copies: Streams, sized_image: Callable[[], Any], training: bool | None
    ) -> Any:
        """Concatenates the groups that a stream is merged from and sends it through its blocks."""
        parts = [next(copies[group]) for group in self.connections.sources(index, reader)]
        num_channels = self.connections.num_channels(index, reader)
        parts = parts or [ops.zeros_like(ops.cast(sized_image()[..., :1], self.compute_dtype))]
        num_held = sum(part.shape[-1] for part in parts)
        stream = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        if num_channels > num_held:
            padding = [(0, 0)] * (len(stream.shape) - 1) + [(0, num_channels - num_held)]
            stream = ops.pad(stream, padding)
        section = self.sections.get(f"{index}_{reader}")
        return stream if section is None else section(stream, training=training)

    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns an empty dict: nothing is drawn."""
        return {}

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns the allocation of every layer by its name, as one-hot `(filters, groups)`."""
        rows = np.eye(self.settings.num_groups, dtype="float32")
        return {f"sfg_{index + 1}": rows[groups] for index, groups in enumerate(self.connections.allocation)}

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns which part of the filters that serve a task serves others, too; see `groups_in_common`."""
        probabilities = list(self.grouping_probabilities().values())
        return groups_in_common(self.architecture, probabilities, self.connections.routing)
