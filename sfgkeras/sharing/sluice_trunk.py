"""The trunk of sluice networks: mixtures of subspaces behind each grouped layer, and of layers before the heads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.stage import Stage
from sfgkeras.architecture.walk import Operations, RunStage, Streams, TensorOperations, walk_and_keep
from sfgkeras.layers.backend import ordered_sum
from sfgkeras.layers.layer_mixture import LayerMixture
from sfgkeras.layers.subspace_stitch import SubspaceOrthogonality, SubspaceStitch
from sfgkeras.sharing import sluice
from sfgkeras.sharing.allocation import allocate_evenly, connect, divide_evenly
from sfgkeras.sharing.stitched_trunk import StitchedTrunk
from sfgkeras.sharing.used_in_common import among_all, learned_by_stage, mixed_in_common


class SluiceTrunk(StitchedTrunk):
    """Stages in which every task has equally many filters of its own, in subspaces that units mix among all tasks.

    Units sit where those of cross-stitch networks do, right after each grouped convolution. A layer whose filters
    cannot be shared out equally among all subspaces has as many fewer as are left over. Stages per task have no
    units and no subspaces: there every task goes on alone.

    With `beta` a head reads the mixture of what all stages leave that it depends on. A layer of another width
    passes a 1 x 1 convolution. One that is larger than what the head reads is pooled as often as it takes, by the
    maximum over 2 voxels per axis; one that is smaller is repeated over 2 voxels per axis and cut.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.

    Raises:
        ValueError: If a task would have fewer filters in a layer than subspaces.
    """

    def __init__(
        self, architecture: Architecture, settings: LayerSettings, sharing: "sluice.Sluice", **kwargs: Any
    ) -> None:
        architecture = divide_evenly(architecture, sharing.subspaces)
        connections = connect(architecture, allocate_evenly(architecture), settings.num_tasks, couples=True)
        super().__init__(architecture, settings, replace(connections, keeps=sharing.beta), **kwargs)
        self.sharing = sharing
        self.units = [
            SubspaceStitch(
                len(architecture.tasks_behind(index)),
                sharing.subspaces,
                sharing.own_weight,
                dtype=settings.dtype,
                name=f"sluice_{index + 1}",
            )
            for index, stage in enumerate(architecture.stages)
            if not stage.per_task
        ]
        self._keep_subspaces_apart()
        tasks = range(settings.num_tasks) if sharing.beta else ()
        self.mixtures = [self._build_mixture(task) for task in tasks]

    def _keep_subspaces_apart(self) -> None:
        """Adds the penalty of subspaces to what else is penalised of grouped kernels."""
        weight, subspaces = self.sharing.orthogonality, self.sharing.subspaces
        if not weight or subspaces == 1:
            return
        for index in range(len(self.units)):
            for task in self.architecture.tasks_behind(index):
                layer = self.convolutions[f"{index}_{task}"]
                layer.kernel_regularizer = SubspaceOrthogonality(weight, subspaces, layer.kernel_regularizer)

    def _build_mixture(self, task: int) -> LayerMixture:
        """Builds the mixture of the stages up to the tap of a task."""
        tap = self.architecture.taps[task]
        width = self.stream_channels(tap, task)
        name = f"mixture_{tap + 1}_task_{task + 1}"
        projections = [
            None
            if self.stream_channels(index, task) == width
            else self.settings.build_convolution(Stage(width, kernel_size=1), width, f"{name}_projection_{index + 1}")
            for index in self.architecture.stages_before(task)
        ]
        return LayerMixture(projections, self.sharing.own_weight, dtype=self.settings.dtype, name=name)

    def build(self, input_shape: Any) -> None:
        """Builds all stages, and the mixtures of layers."""
        super().build(input_shape)
        size = (input_shape[0], *input_shape[1:-1])
        for task, mixture in enumerate(self.mixtures):
            before = self.architecture.stages_before(task)
            mixture.build([(*size, self.stream_channels(index, task)) for index in before])

    def mix_plainly(self, index: int, outputs: Streams, layers: Any) -> Streams:
        """Applies the unit of a stage with plain Keras layers."""
        has_unit = outputs and index < len(self.units)
        return layers.subspace_stitch(outputs, self.units[index]) if has_unit else outputs

    def walk(self, image: Any, run_stage: RunStage) -> tuple[list[Streams], dict[int, Streams]]:
        """Sends an image through all stages; returns for every task the mixture that its head reads.

        Further heads in training read what their stage alone leaves, unmixed.
        """
        operations = TensorOperations()
        found, kept = walk_and_keep(self.architecture, image, self, operations, run_stage)
        if not self.mixtures:
            return found, kept
        heads = []
        for task, mixture in enumerate(self.mixtures):
            weights = mixture.weights_of_layers()

            def weigh(place: int, features: Any, mixture: Any = mixture, weights: Any = weights) -> Any:
                return mixture.weigh(place, features, weights[place])

            heads.append({task: ordered_sum(self._layers_of(task, found[task], kept, operations, weigh))})
        return heads, kept

    def heads_plainly(self, found: list[Streams], kept: dict[int, Streams], layers: Any) -> list[Streams]:
        """Mixes the layers of every task whose head is wanted with plain Keras layers."""
        if not self.mixtures:
            return found
        heads: list[Streams] = []
        for task, mixture in enumerate(self.mixtures):

            def weigh(place: int, features: Any, mixture: Any = mixture) -> Any:
                return layers.weigh_layer(features, mixture, place)

            parts = self._layers_of(task, found[task], kept, layers, weigh) if found[task] else []
            heads.append({task: layers.add(parts)} if parts else {})
        return heads

    def _layers_of(
        self,
        task: int,
        last: Streams,
        kept: dict[int, Streams],
        operations: Operations,
        weigh: Callable[[int, Any], Any],
    ) -> list[Any]:
        """Returns what each layer of a task adds to its mixture, at the size that its head reads.

        What is larger is pooled before it is weighed, and what is smaller is upsampled behind it.
        """
        architecture, tap = self.architecture, self.architecture.taps[task]
        level = architecture.level_after(tap)
        before = architecture.stages_before(task)
        sizes = {architecture.levels[index]: kept[index][task] for index in before}
        sizes[level] = last[task]
        parts = []
        for place, index in enumerate(before):
            features = kept[index][task]
            for _ in range(architecture.levels[index], level):
                features = operations.pool(features)
            features = weigh(place, features)
            for larger in reversed(range(level, architecture.levels[index])):
                features = operations.upsample(features, sizes[larger])
            parts.append(features)
        return [*parts, weigh(len(before), last[task])]

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns how much the mixtures of subspaces that tasks read have in common; see `mixed_in_common`.

        A task uses a subspace by the sizes of the weights of all its own subspaces for it.
        """
        num_tasks, subspaces = self.settings.num_tasks, self.sharing.subspaces
        found = {name: np.eye(num_tasks) for name in self.architecture.names}
        for index, unit in enumerate(self.units):
            tasks = self.architecture.tasks_behind(index)
            sizes = np.abs(ops.convert_to_numpy(unit.alpha)).reshape(len(tasks), subspaces, -1).sum(axis=1)
            found[self.architecture.names[index]] = among_all(mixed_in_common(sizes), tasks, num_tasks)
        return found

    def learned(self) -> dict[str, np.ndarray]:
        """Returns `alpha` of every unit, `(tasks, tasks, subspaces, subspaces)`, and `beta` of every stage, `(tasks,)`.

        Entry `[a, b, i, j]` is the weight by which subspace i of task a takes subspace j of task b.
        """
        num_tasks, subspaces, names = self.settings.num_tasks, self.sharing.subspaces, self.architecture.names
        alphas: dict[str, np.ndarray] = {}
        betas: dict[str, np.ndarray] = {}
        for index, unit in enumerate(self.units):
            tasks = self.architecture.tasks_behind(index)
            alpha = ops.convert_to_numpy(unit.alpha).reshape(len(tasks), subspaces, len(tasks), subspaces)
            alphas[names[index]] = np.full((num_tasks,) * 2 + (subspaces,) * 2, np.nan, "float32")
            alphas[names[index]][np.ix_(tasks, tasks)] = alpha.transpose(0, 2, 1, 3)
        for task, mixture in enumerate(self.mixtures):
            layers = [*self.architecture.stages_before(task), self.architecture.taps[task]]
            for index, weight in zip(layers, ops.convert_to_numpy(mixture.beta), strict=True):
                betas.setdefault(names[index], np.full(num_tasks, np.nan, "float32"))[task] = weight
        return learned_by_stage("alpha", alphas) | learned_by_stage("beta", betas)
