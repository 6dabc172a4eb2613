"""What every task gives to an application, whatever its target: its name, output channels, loss, metrics and measures.

What a task makes of its reference and of the network's outputs depends on the kind of target: see `targets`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS
from sfgkeras.analysis.uncertainty import Allocate, PassStatistics, in_memory
from sfgkeras.config.task_sections import InputSource
from sfgkeras.config.task_sections import Task as TaskSettings
from sfgkeras.data.target_kinds import TASK_KINDS
from sfgkeras.tables.losses import find_loss
from sfgkeras.tables.tasks import TASK_TYPES


@dataclass(frozen=True)
class Task(ABC):
    """One task of a run: plain values from the INI file and what its type makes of them.

    Attributes:
        name: The task's name; outputs, losses, logs and files are keyed by it.
        source: The input section of its target.
        settings: The `[TASK name]` section.
        source_settings: The input section's settings.
        labels: With `label_normalisation`, the label that each class stands for, in the order of the classes.
        axes: Axes of the volume that the network sees: of slices two.
    """

    name: str
    source: str
    settings: TaskSettings
    source_settings: InputSource
    labels: tuple[int, ...] = ()
    axes: tuple[int, ...] = (0, 1, 2)

    @property
    def type_name(self) -> str:
        """The type as the INI file has it."""
        return self.settings.type

    @property
    def measured_as(self) -> str:
        """The type of task whose metrics and measures fit: a key of `metrics.METRICS`, `Evaluation.kind`."""
        return TASK_TYPES[self.type_name].measured_as or self.type_name

    @property
    @abstractmethod
    def head(self) -> Literal["map", "vector", "motion"]:
        """The kind of head: one output per voxel, one per image, or displacements per voxel and frame."""

    @property
    def head_start(self) -> float:
        """Factor on the kernel that gives the outputs, as it is drawn at the start."""
        return 1.0

    @property
    def head_offset(self) -> float:
        """What is added to the bias of the outputs at the start."""
        return 0.0

    @property
    @abstractmethod
    def writes(self) -> Literal["volume", "row"]:
        """What inference writes of a subject: an image of its own, or columns of the table of values."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Output channels of the network for this task."""

    def outputs_for(self, image_channels: int) -> int:
        """Returns the output channels of the network for an image of so many channels."""
        return self.num_outputs

    def activated_for(self, image_channels: int) -> int:
        """Returns the channels of what `activate` returns, for an image of so many channels."""
        return self.outputs_for(image_channels)

    @property
    @abstractmethod
    def target_kind(self) -> str:
        """How windows carry the target: a key of `data.windows.TASK_KINDS`."""

    @property
    def is_dense(self) -> bool:
        """Whether its head is a map and its target has a value for every voxel, so that both have coarser forms.

        Heat maps are none: what they learn is places.
        """
        return self.head == "map" and TASK_KINDS[self.target_kind].is_spatial

    def build_loss(self) -> Any:
        """Builds the loss that the INI file names, with its settings; it has `per_sample(y_true, y_pred, weight)`.

        Raises:
            ConfigError: If there is no such loss, or a class of the user's own cannot be used.
        """
        entry = find_loss(self.settings.loss, self.type_name, f"loss of task {self.name!r}")
        return entry.load()(name=f"{self.name}_loss", **self.settings.settings_of("loss"))

    def build_metrics(self) -> Mapping[str, Any]:
        """Builds the validation metrics that the INI file names, in the target's own unit."""
        from sfgkeras.metrics import METRICS

        known = METRICS[self.measured_as]
        return {
            name: known[name](name=f"{self.name}_{name}", **self.metric_arguments.get(name, {}))
            for name in self.settings.metrics
        }

    @property
    def unit(self) -> str:
        """Unit of the target and of the written results, e.g. `HU`; empty where it has none, or none is known."""
        return ""

    def metric_units(self) -> dict[str, str]:
        """Returns the unit of each validation metric that has one."""
        from sfgkeras.metrics import METRICS

        known = METRICS[self.measured_as]
        return {name: self.unit for name in self.settings.metrics if known[name].has_target_unit and self.unit}

    @property
    def metric_arguments(self) -> Mapping[str, Mapping[str, Any]]:
        """Arguments of the metrics that need any, by their name."""
        return {}

    def measures(self, names: Sequence[str]) -> list[str] | None:
        """Returns those of the measures asked for that fit the task; None, for the usual ones, where none was named."""
        return select_measures(names, self.measured_as)

    @abstractmethod
    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Turns network outputs `(..., channels)` into what may be averaged over windows and passes."""

    @abstractmethod
    def build_statistics(self, allocate: Allocate = in_memory) -> PassStatistics:
        """Builds what collects activated outputs over Monte Carlo passes; see `PassStatistics` for the argument."""

    @property
    def spread_factor(self) -> float:
        """Factor from the units that the network learns to those of the results."""
        return 1.0

    def describe_output(self) -> dict[str, Any]:
        """Returns what a user of the bare network has to know about this output, as plain values."""
        return {"type": self.type_name, "channels": self.num_outputs}


def select_measures(names: Sequence[str], kind: str) -> list[str] | None:
    """Returns the measures asked for that fit a type of task; None, for the usual ones, where none was named."""
    return [name for name in names if EVALUATIONS[name].kind == kind] if names else None
