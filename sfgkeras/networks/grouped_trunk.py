"""The trunk of a network whose filters have fixed groups: no masks, and no product with a known zero."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.filter_grouping import FilterGrouping
from sfgkeras.layers.sfg_convolution import group_names
from sfgkeras.networks.allocation import Connections, connect
from sfgkeras.networks.stages import Stage, TrunkSettings, halved, max_pool


class GroupedTrunk(keras.layers.Layer):
    """Stages in which every group is a dense convolution of the filters it owns, on the channels it reads.

    Equal to `MaskedTrunk` with one-hot masks. A group that reads no channel reads one channel of zeros, and
    what no head depends on does not exist.

    Args:
        stages: The stages, already scaled by the width.
        settings: What all layers have in common; `allocation` is the group of every filter of every stage.
    """

    def __init__(self, stages: Sequence[Stage], settings: TrunkSettings, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype=settings.dtype, **kwargs)
        self.stages = tuple(stages)
        self.settings = settings
        self.connections = connect(self.stages, settings)
        self.convolutions: dict[str, Any] = {}
        self.activations: dict[str, Any] = {}
        self.sections: dict[str, Any] = {}
        names = group_names(settings.num_tasks)
        for index, stage in enumerate(self.stages):
            for group in self.connections.live_groups(index):
                filters = self.connections.filters_of(index, group).size
                suffix = f"{index + 1}_{names[group]}"
                key = f"{index}_{group}"
                self.convolutions[key] = settings.build_convolution(filters, stage.kernel_size, f"convolution_{suffix}")
                self.activations[key] = settings.build_activation(f"activation_{suffix}")
            for reader in self.connections.readers(index):
                if stage.num_blocks and self.connections.channels(index, reader).size:
                    self.sections[f"{index}_{reader}"] = settings.build_section(
                        stage,
                        self.connections.num_channels(index, reader),
                        f"blocks_{index + 1}_{names[reader]}",
                    )

    def connections_for(self, heads: Sequence[int]) -> Connections:
        """Returns the connections that are left when only some heads are wanted."""
        return connect(self.stages, self.settings, heads)

    def build(self, input_shape: Any) -> None:
        """Builds all stages for images of `input_shape`, `(batch, *spatial, channels)`."""
        spatial = tuple(input_shape[:-1])
        connections = self.connections
        channels = [input_shape[-1]] * self.settings.num_groups
        for index, stage in enumerate(self.stages):
            for group in connections.live_groups(index):
                key = f"{index}_{group}"
                self.convolutions[key].build((*spatial, channels[group]))
                self.activations[key].build((*spatial, self.convolutions[key].filters))
            channels = [connections.num_channels(index, group) for group in range(self.settings.num_groups)]
            for reader in connections.readers(index):
                if f"{index}_{reader}" in self.sections:
                    self.sections[f"{index}_{reader}"].build((*spatial, channels[reader]))
            spatial = halved((*spatial, 1))[:-1] if stage.pools else spatial

    def call(self, inputs: Any, temperature: Any = None, source: Any = None, training: bool | None = None) -> list[Any]:
        """Returns what the head of every task reads.

        Args:
            inputs: Images `(batch, *spatial, channels)`.
            temperature: Not used: there are no masks. It is there because every trunk is called alike.
            source: Not used either.
            training: Whether normalisation uses the batch.

        Returns:
            One tensor `(batch, *spatial, channels)` per task.
        """
        zeros = ops.zeros_like(inputs[..., :1]) if self.connections.needs_zeros_after(0) else None
        streams: dict[int, Any] = dict.fromkeys(range(self.settings.num_groups), inputs)
        for index, stage in enumerate(self.stages):
            outputs = {}
            for group in self.connections.live_groups(index):
                features = self.convolutions[f"{index}_{group}"](streams[group])
                outputs[group] = self.activations[f"{index}_{group}"](features, training=training)
            outputs = self.mix(index, outputs)
            readers = self.connections.readers(index)
            uses = {
                group: sum(group in self.connections.sources(index, reader) for reader in readers) for group in outputs
            }
            copies = {group: iter(fan_out(feature, uses[group])) for group, feature in outputs.items()}
            streams = {reader: self._pass_on(index, reader, copies, zeros, training) for reader in readers}
            if stage.pools:
                zeros = None if zeros is None else max_pool(zeros)
                streams = {reader: max_pool(stream) for reader, stream in streams.items()}
        return [streams[task] for task in range(self.settings.num_tasks)]

    def mix(self, index: int, outputs: dict[int, Any]) -> dict[int, Any]:
        """Returns what streams are merged from: here what the groups' convolutions left, by group."""
        return outputs

    def _pass_on(self, index: int, reader: int, copies: dict[int, Any], zeros: Any, training: bool | None) -> Any:
        """Concatenates the groups that a stream is merged from and sends it through its blocks."""
        parts = [next(copies[group]) for group in self.connections.sources(index, reader)]
        num_held = sum(part.shape[-1] for part in parts)
        num_channels = self.connections.num_channels(index, reader)
        if not parts:
            parts, num_held = [zeros], 1
        stream = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        if num_channels > num_held:
            padding = [(0, 0)] * (len(stream.shape) - 1) + [(0, num_channels - num_held)]
            stream = ops.pad(stream, padding)
        section = self.sections.get(f"{index}_{reader}")
        return stream if section is None else section(stream, training=training)

    def output_shapes(self, input_shape: Any) -> list[tuple]:
        """Returns the shape of what every head reads, for images of `input_shape`."""
        shape = tuple(input_shape)
        for stage in self.stages:
            shape = halved(shape) if stage.pools else shape
        last = len(self.stages) - 1
        return [(*shape[:-1], self.connections.num_channels(last, task)) for task in range(self.settings.num_tasks)]

    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns an empty dict: nothing is drawn."""
        return {}

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns the allocation of every layer by its name, as one-hot `(filters, groups)`."""
        rows = np.eye(self.settings.num_groups, dtype="float32")
        return {f"sfg_{index + 1}": rows[groups] for index, groups in enumerate(self.connections.allocation)}
