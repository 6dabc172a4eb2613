"""What every task type gives to an application: its output, loss, metrics, targets and files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS
from sfgkeras.analysis.uncertainty import Allocate, PassStatistics, in_memory
from sfgkeras.classes import is_class_path, load_class
from sfgkeras.errors import DataError, lookup

Resample = Callable[[np.ndarray, int, float], np.ndarray]


@dataclass(frozen=True)
class TaskType(ABC):
    """One task of a run: plain values from the INI file and what its type makes of them.

    Attributes:
        name: The task's name; outputs, losses, logs and files are keyed by it.
        source: The input section of its target.
        settings: The `[TASK name]` section.
        source_settings: The input section's settings.
        labels: With `label_normalisation`, the label that each class stands for, in the order of the classes.
    """

    name: str
    source: str
    settings: Any
    source_settings: Any
    labels: tuple[int, ...] = ()

    type_name: ClassVar[str]

    @property
    def is_scalar(self) -> bool:
        """Whether the target is one value per subject."""
        return self.settings.attribute is not None

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Output channels of the network for this task."""

    @property
    @abstractmethod
    def target_kind(self) -> str:
        """How windows carry the target: `map`, `labels`, `value` or `class`."""

    @abstractmethod
    def build_loss(self) -> Any:
        """Builds the loss; it has `per_sample(y_true, y_pred, sample_weight)`."""

    def build_metrics(self) -> Mapping[str, Any]:
        """Builds the validation metrics that the INI file names, in the target's own unit."""
        from sfgkeras.metrics import METRICS

        known = METRICS[self.type_name]
        return {
            name: known[name](name=f"{self.name}_{name}", **self.metric_arguments.get(name, {}))
            for name in self.settings.metrics
        }

    @property
    def outside_value(self) -> float:
        """What results hold where nothing was predicted, and the INI file does not say what."""
        return 0.0

    @property
    def unit(self) -> str:
        """Unit of the target and of the written results, e.g. `HU`; empty where it has none, or none is known."""
        return ""

    def metric_units(self) -> dict[str, str]:
        """Returns the unit of each validation metric that has one."""
        from sfgkeras.metrics import METRICS

        known = METRICS[self.type_name]
        return {name: self.unit for name in self.settings.metrics if known[name].has_target_unit and self.unit}

    @property
    def metric_arguments(self) -> Mapping[str, Mapping[str, Any]]:
        """Arguments of the metrics that need any, by their name."""
        return {}

    @abstractmethod
    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Turns a target volume as read, `(x, y, z)`, into what the network learns."""

    @abstractmethod
    def prepare_value(self, text: str) -> np.ndarray:
        """Turns a scalar target's text into what the network learns."""

    @abstractmethod
    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Turns network outputs `(..., channels)` into what may be averaged over windows."""

    @abstractmethod
    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Turns an aggregated volume into what is written, by the ending of the file's name.

        The result itself has the ending `""`.

        Args:
            aggregated: Activated outputs on the network's grid, `(x, y, z, channels)`.
            resample: Brings a volume onto the subject's own grid: `resample(volume, order, fill)`.
            order: Interpolation order that the INI asks for.
            fill: Value outside the network's grid that the INI asks for.
        """

    @property
    def map_endings(self) -> tuple[str, ...]:
        """The endings that `finish_map` writes."""
        return ("",)

    @abstractmethod
    def build_statistics(self, allocate: Allocate = in_memory) -> PassStatistics:
        """Builds what collects activated outputs over Monte Carlo passes; see `PassStatistics` for the argument."""

    def finish_spread(self, spread: Mapping[str, np.ndarray], resample: Resample, order: int) -> dict[str, np.ndarray]:
        """Turns maps of uncertainty on the network's grid into what is written, by the ending of the file's name."""
        factor = np.float32(self.spread_factor)
        return {
            ending: np.asarray(resample(values * factor, min(order, 1), 0.0), np.float32)
            for ending, values in spread.items()
        }

    @property
    def spread_factor(self) -> float:
        """Factor from the units that the network learns to those of the results."""
        return 1.0

    def describe_output(self) -> dict[str, Any]:
        """Returns what a user of the bare network has to know about this output, as plain values."""
        return {"type": self.type_name, "channels": self.num_outputs, "per": "image" if self.is_scalar else "voxel"}

    @abstractmethod
    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Compares one subject's volumes.

        Args:
            truth: The target as its file holds it, on the grid of the prediction, `(x, y, z)`.
            prediction: The written result, `(x, y, z)`.
            valid: Voxels that the target's image covers, `(x, y, z)`.
            spacing: Voxel size in mm.
            evaluation: The `[EVALUATION]` section.
            masks: Regions to measure once more, by name, bool `(x, y, z)`.

        Returns:
            One row of measures per region or label.
        """

    @abstractmethod
    def evaluate_values(
        self, truth: Sequence[float], prediction: Sequence[float], evaluation: Any
    ) -> list[dict[str, Any]]:
        """Compares the scalar results of all subjects; one row of measures per group."""

    @abstractmethod
    def finish_value(self, outputs: np.ndarray) -> dict[str, float]:
        """Turns one subject's activated output `(channels,)` into named values for the result table."""

    def finish_value_spread(self, spread: Mapping[str, Any]) -> dict[str, float]:
        """Turns one subject's uncertainties into named values for the result table."""
        return {f"{self.name}{ending}": float(value) * self.spread_factor for ending, value in spread.items()}

    @property
    def class_labels(self) -> list[int]:
        """The label of each class as files have it: those found in training with `label_normalisation`, or 0, 1, ..."""
        return list(self.labels) or list(range(self.num_outputs))

    @property
    def class_names(self) -> list[str]:
        """The name of each label of `class_labels`."""
        labels = self.class_labels
        return list(self.settings.class_names)[: len(labels)] or [str(label) for label in labels]

    def class_numbers(self, label_map: np.ndarray) -> np.ndarray:
        """Returns the number of the class of every voxel of a label map as files have it; 0 for labels of no class."""
        if not self.labels:
            return label_map
        labels = np.asarray(self.labels)
        places = np.minimum(np.searchsorted(labels, label_map), len(labels) - 1)
        return np.where(labels[places] == label_map, places, 0).astype(np.int16)

    def parse_label(self, text: str) -> int:
        """Reads the label of a scalar target.

        Raises:
            DataError: If the text is not a whole number.
        """
        value = self.parse_number(text)
        if value != int(value):
            raise DataError(
                f"[{self.source}] {self.settings.attribute} = {text!r} is no class of task {self.name!r}: classes are "
                f"0 .. {self.num_outputs - 1}, whole numbers"
            )
        return int(value)

    def parse_number(self, text: str) -> float:
        """Reads a scalar target.

        Raises:
            DataError: If the text is not a finite number.
        """
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise DataError(
                f"[{self.source}] {self.settings.attribute} = {text!r} is not a number; "
                f"task {self.name!r} needs one for every training subject"
            )
        return value


def build_named_loss(table: Mapping[str, Any], task: TaskType, **arguments: Any) -> Any:
    """Builds the loss of a task: of a table, or a class of the user's own.

    Raises:
        ConfigError: If there is no such loss, or the class cannot be used.
    """
    name, chosen = f"{task.name}_loss", task.settings.loss
    if not is_class_path(chosen):
        return lookup(table, chosen, f"{task.type_name} loss")(name=name, **arguments)
    import keras

    from sfgkeras.losses.keras_losses import task_loss

    return task_loss(load_class(chosen, f"loss of task {task.name!r}", keras.losses.Loss), name)


def select_measures(names: Sequence[str], kind: str) -> list[str] | None:
    """Returns the measures asked for that fit a type of task; None, for the usual ones, where none was named."""
    return [name for name in names if EVALUATIONS[name].kind == kind] if names else None
