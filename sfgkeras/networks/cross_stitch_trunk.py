"""The trunk of cross-stitch networks: a narrow network per task, and a unit after each of their grouped layers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.networks.allocation import Connections, allocate_evenly
from sfgkeras.networks.grouped_trunk import GroupedTrunk
from sfgkeras.networks.stages import Stage, TrunkSettings


@keras.saving.register_keras_serializable(package="sfgkeras")
class CrossStitchTrunk(GroupedTrunk):
    """Stages in which every task has equally many filters of its own; a `CrossStitch` mixes what they leave.

    Units sit where filter groups merge their streams: right after each grouped convolution, before residual blocks
    and pooling (Misra et al. 2016; Bragman et al. 2019, supplement 1.4). With units at the identity it equals
    `single_task`. A layer whose filters cannot be shared out equally has as many fewer as are left over.

    Args:
        stages: The stages, already scaled by the width.
        settings: What all layers have in common; tasks never read each other's streams but through the units, so that
            `routing` and `mask_residual` do not matter.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
    """

    def __init__(self, stages: Sequence[Stage], settings: TrunkSettings, **kwargs: Any) -> None:
        num_tasks = settings.num_tasks
        allocate_evenly(stages, num_tasks)  # refuses layers that are too small
        stages = [replace(stage, filters=stage.filters // num_tasks * num_tasks) for stage in stages]
        allocation = allocate_evenly(stages, num_tasks)
        settings = replace(settings, allocation=allocation, routing="separate", mask_residual=True)
        super().__init__(stages, settings, **kwargs)
        decay = settings.stitch_decay
        self.units = [
            CrossStitch(
                num_tasks,
                settings.stitch_weight,
                settings.stitch_per_channel,
                keras.regularizers.L2(decay) if decay else None,
                dtype=settings.dtype,
                name=f"cross_stitch_{index + 1}",
            )
            for index in range(len(self.stages))
        ]

    def build(self, input_shape: Any) -> None:
        """Builds all stages and units for images of `input_shape`, `(batch, *spatial, channels)`."""
        super().build(input_shape)
        for stage, unit in zip(self.stages, self.units, strict=True):
            unit.build((*input_shape[:-1], stage.filters // self.settings.num_tasks))

    def connections_for(self, heads: Sequence[int]) -> Connections:
        """Returns all connections: through the units every head depends on every task's filters."""
        return self.connections

    def mix(self, index: int, outputs: dict[int, Any]) -> dict[int, Any]:
        """Applies the unit of a stage to what the groups' convolutions left, by group."""
        return dict(enumerate(self.units[index]([outputs[task] for task in range(self.settings.num_tasks)])))
