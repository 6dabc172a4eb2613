"""The trunk of cross-stitch networks: a narrow network per task, and a unit after each of their grouped layers."""

from dataclasses import replace
from typing import Any

import keras

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.sharing import cross_stitch
from sfgkeras.sharing.allocation import allocate_evenly
from sfgkeras.sharing.grouped_trunk import GroupedTrunk


class CrossStitchTrunk(GroupedTrunk):
    """Stages in which every task has equally many filters of its own; a `CrossStitch` mixes what they leave.

    Units sit where filter groups merge their streams: right after each grouped convolution, before residual blocks
    and pooling (Misra et al. 2016; Bragman et al. 2019, supplement 1.4). With units at the identity it equals
    `single_task`. A layer whose filters cannot be shared out equally has as many fewer as are left over.

    Stages per task have no units: there every task goes on alone.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        sharing: "cross_stitch.CrossStitch",
        **kwargs: Any,
    ) -> None:
        num_tasks = settings.num_tasks
        allocate_evenly(architecture.stages, num_tasks)  # refuses layers that are too small
        stages = [
            stage if stage.per_task else replace(stage, filters=stage.filters // num_tasks * num_tasks)
            for stage in architecture.stages
        ]
        allocation = allocate_evenly(stages, num_tasks)
        super().__init__(architecture.with_stages(stages), settings, allocation, "separate", couples=True, **kwargs)
        self.units = [
            CrossStitch(
                num_tasks,
                sharing.weight,
                sharing.per_channel,
                keras.regularizers.L2(sharing.decay) if sharing.decay else None,
                dtype=settings.dtype,
                name=f"cross_stitch_{index + 1}",
            )
            for index, stage in enumerate(stages)
            if not stage.per_task
        ]

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the convolutions of a stage, its blocks, and its unit."""
        super().build_stage(index, size, channels)
        if index < len(self.units):
            filters = self.architecture.stages[index].filters // self.settings.num_tasks
            self.units[index].build((*size, filters))

    def mix(self, index: int, outputs: Streams) -> Streams:
        """Applies the unit of a stage to what the groups' convolutions left, by group."""
        if index >= len(self.units):
            return outputs
        return dict(enumerate(self.units[index]([outputs[task] for task in range(self.settings.num_tasks)])))

    def mix_plainly(self, index: int, outputs: Streams, layers: Any) -> Streams:
        """Applies the unit of a stage with plain Keras layers."""
        return layers.cross_stitch(outputs, self.units[index]) if index < len(self.units) else outputs
