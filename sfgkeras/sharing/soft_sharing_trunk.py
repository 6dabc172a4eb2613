"""The trunk of soft sharing: narrow networks of one shape, with a penalty between corresponding kernels."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.errors import Problem, suggestion
from sfgkeras.layers.kernel_coupling import KernelCoupling
from sfgkeras.sharing import soft_sharing
from sfgkeras.sharing.allocation import allocate_evenly, divide_evenly
from sfgkeras.sharing.grouped_trunk import GroupedTrunk
from sfgkeras.sharing.used_in_common import among_all


class SoftSharingTrunk(GroupedTrunk):
    """Stages in which every task has equally many filters of its own, and `strength * distance` as a loss.

    Coupled are the kernels that every task behind a stage has: that of its convolution, and those of its residual
    blocks. Stages per task are the tasks' own, and left alone unless a pattern names them; biases, normalisations,
    slopes of activations and heads always are. A layer whose filters cannot be shared out equally has as many fewer as
    are left over. With strength 0, or a single task, it equals `single_task`.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
        Problem: If a pattern meets no kernel.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        sharing: "soft_sharing.SoftSharing",
        **kwargs: Any,
    ) -> None:
        architecture = divide_evenly(architecture)
        super().__init__(architecture, settings, allocate_evenly(architecture), **kwargs)
        self.sharing = sharing
        layers = dict(self.kernel_layers())
        self.coupled = [name for name in layers if self._is_wanted(name)]
        for pattern in sharing.layers:
            if not any(_meets(pattern, name) for name in layers):
                known = [*architecture.names, *layers]
                hint = suggestion(pattern, known) or f"; they are called {', '.join(list(layers)[:4])}, ..."
                raise Problem(f"meets no kernel of the network{hint}", key="layers", value=pattern)

    def kernel_layers(self) -> Iterator[tuple[str, list[Any]]]:
        """Yields the name of every kernel of the stages, and the layers that hold it, one per task."""
        for index, name in enumerate(self.architecture.names):
            tasks = self.architecture.tasks_behind(index)
            yield f"{name}/convolution", [self.convolutions[f"{index}_{task}"] for task in tasks]
            sections = [self.sections[f"{index}_{task}"] for task in tasks if f"{index}_{task}" in self.sections]
            for place, blocks in enumerate(zip(*(section.blocks for section in sections), strict=True)):
                for half, layers in enumerate(zip(*(block.convolutions for block in blocks), strict=True)):
                    yield f"{name}/block_{place + 1}/convolution_{half + 1}", list(layers)

    def _is_wanted(self, name: str) -> bool:
        stage = self.architecture.stages[self.architecture.names.index(_stage_of(name))]
        if not self.sharing.layers:
            return not stage.per_task
        return any(_meets(pattern, name) for pattern in self.sharing.layers)

    def build(self, input_shape: Any) -> None:
        """Builds all stages, and couples the kernels of the tasks."""
        is_first = not self.built
        super().build(input_shape)
        if not (is_first and self.sharing.strength):
            return
        for name, layers in self.kernel_layers():
            if name in self.coupled and len(layers) > 1:
                KernelCoupling([layer.kernel for layer in layers], self.sharing.strength, self.sharing.distance)

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns how alike the kernels of the stages' convolutions are where they are coupled; see `alike`."""
        num_tasks = self.settings.num_tasks
        found = {name: np.eye(num_tasks) for name in self.architecture.names}
        for name, layers in self.kernel_layers() if self.sharing.strength else ():
            if name in self.coupled and name.endswith("/convolution"):
                stage = _stage_of(name)
                tasks = self.architecture.tasks_behind(self.architecture.names.index(stage))
                kernels = np.stack([ops.convert_to_numpy(layer.kernel).ravel() for layer in layers])
                found[stage] = among_all(alike(kernels), tasks, num_tasks)
        return found


def _stage_of(name: str) -> str:
    return name.rsplit("/block_", 1)[0].removesuffix("/convolution")


def _meets(pattern: str, name: str) -> bool:
    """Says whether a pattern is one of a kernel, or of its stage."""
    return any(fnmatch.fnmatchcase(known, pattern) for known in (name, _stage_of(name)))


def alike(kernels: np.ndarray) -> np.ndarray:
    """Returns `2 <a, b> / (<a, a> + <b, b>)` of all pairs of rows: 1 for equal ones, 0 for orthogonal or opposed ones.

    Kernels that start from draws of their own are all but orthogonal.

    Args:
        kernels: The flattened kernel of each task, `(tasks, entries)`.
    """
    products = kernels.astype("float64") @ kernels.T.astype("float64")
    squares = np.diag(products)
    sizes = (squares[:, None] + squares) / 2
    matrix = np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0).clip(0.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix
