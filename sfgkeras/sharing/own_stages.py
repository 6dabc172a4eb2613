"""Stages that every task has for itself, behind stages that tasks share by masks."""

from typing import Any

import keras

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.sfg_convolution import group_names


class OwnStages(keras.layers.Layer):
    """The stages per task of a trunk: a convolution, an activation and blocks for each task, without masks.

    Args:
        architecture: All stages.
        settings: What all layers have in common.
        first: Index of the first stage per task.
    """

    def __init__(self, architecture: Architecture, settings: LayerSettings, first: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype=settings.dtype, **kwargs)
        self.architecture = architecture
        self.convolutions: dict[str, Any] = {}
        self.activations: dict[str, Any] = {}
        self.sections: dict[str, Any] = {}
        names = group_names(settings.num_tasks)
        for index, stage in list(enumerate(architecture.stages))[first:]:
            for task in architecture.tasks_behind(index):
                key, suffix = f"{index}_{task}", f"{index + 1}_{names[task]}"
                self.convolutions[key] = settings.build_convolution(stage, stage.filters, f"convolution_{suffix}")
                self.activations[key] = settings.build_activation(stage, f"activation_{suffix}")
                if stage.num_blocks:
                    self.sections[key] = settings.build_section(stage, stage.filters, f"blocks_{suffix}")

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds a stage for the size where it works, `(batch, *spatial)`, and the channels that each task reads."""
        for task, read in channels.items():
            key = f"{index}_{task}"
            self.convolutions[key].build((*size, read))
            built = (*size, self.convolutions[key].filters)
            self.activations[key].build(built)
            if key in self.sections:
                self.sections[key].build(built)
        self.built = True

    def run_stage(self, index: int, streams: Streams, training: bool | None) -> Streams:
        """Returns each task's stream behind its own convolution and blocks."""
        left = {}
        for task, stream in streams.items():
            key = f"{index}_{task}"
            features = self.activations[key](self.convolutions[key](stream), training=training)
            section = self.sections.get(key)
            left[task] = features if section is None else section(features, training=training)
        return left
