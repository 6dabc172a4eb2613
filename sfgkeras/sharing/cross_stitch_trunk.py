"""The trunk of cross-stitch networks: a narrow network per task, and a unit after each of their grouped layers."""

from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.sharing import cross_stitch
from sfgkeras.sharing.allocation import allocate_evenly, divide_evenly
from sfgkeras.sharing.stitched_trunk import StitchedTrunk
from sfgkeras.sharing.used_in_common import among_all, learned_by_stage, mixed_in_common


class CrossStitchTrunk(StitchedTrunk):
    """Stages in which every task has equally many filters of its own; a `CrossStitch` mixes what they leave.

    Units sit where filter groups merge their streams: right after each grouped convolution, before residual blocks
    and pooling (Misra et al. 2016; Bragman et al. 2019, supplement 1.4). With units at the identity it equals
    `single_task`. A layer whose filters cannot be shared out equally has as many fewer as are left over.

    Stages per task have no units: there every task goes on alone. Behind the head of a task the others go on without
    it.

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
        architecture = divide_evenly(architecture)
        super().__init__(architecture, settings, allocate_evenly(architecture), couples=True, **kwargs)
        self.units = [
            CrossStitch(
                len(architecture.tasks_behind(index)),
                sharing.weight,
                sharing.per_channel,
                keras.regularizers.L2(sharing.decay) if sharing.decay else None,
                dtype=settings.dtype,
                name=f"cross_stitch_{index + 1}",
            )
            for index, stage in enumerate(architecture.stages)
            if not stage.per_task
        ]

    def mix_plainly(self, index: int, outputs: Streams, layers: Any) -> Streams:
        """Applies the unit of a stage with plain Keras layers."""
        return layers.cross_stitch(outputs, self.units[index]) if index < len(self.units) else outputs

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns how much the mixtures that tasks read have in common; see `mixed_in_common`."""
        tasks, num_tasks = self.architecture.tasks_behind, self.settings.num_tasks
        found = dict.fromkeys(self.architecture.names, np.eye(num_tasks))
        for index, (name, unit) in enumerate(self._named_units()):
            weights = ops.convert_to_numpy(unit.alpha)
            found[name] = among_all(mixed_in_common(weights), tasks(index), num_tasks)
        return found

    def learned(self) -> dict[str, np.ndarray]:
        """Returns the weights of every unit, `(tasks, tasks)` or with channels behind; row i is what task i reads."""
        found = {}
        for index, (name, unit) in enumerate(self._named_units()):
            weights, tasks = ops.convert_to_numpy(unit.alpha), self.architecture.tasks_behind(index)
            found[name] = np.full((self.settings.num_tasks,) * 2 + weights.shape[2:], np.nan, "float32")
            found[name][np.ix_(tasks, tasks)] = weights
        return learned_by_stage("stitch_weights", found)

    def _named_units(self) -> list[tuple[str, CrossStitch]]:
        """Returns every unit with the name of its stage; stages per task, which are the last ones, have none."""
        return list(zip(self.architecture.names, self.units, strict=False))
