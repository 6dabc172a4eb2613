"""The kinds of result: images of every subject, or columns of one table; and how either is compared with the truth."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from sfgkeras.applications.tasks.task import Task
from sfgkeras.data.grids import Grid
from sfgkeras.errors import DataError

Resample = Callable[[np.ndarray, int, float], np.ndarray]
"""Brings a volume onto the subject's own grid: `resample(volume, order, fill)`."""


class VolumeTask(Task):
    """A task with one output per voxel: inference writes an image for every subject."""

    has_directions: ClassVar[bool] = False
    """Whether the channels of its target and results are a vector's x, y and z, which turn with the image."""

    @property
    def head(self) -> Literal["map", "vector", "motion"]:
        """`map`."""
        return "map"

    @property
    def writes(self) -> Literal["volume", "row"]:
        """`volume`."""
        return "volume"

    @property
    def outside_value(self) -> float:
        """What results hold where nothing was predicted, and the INI file does not say what."""
        return 0.0

    @property
    def map_endings(self) -> tuple[str, ...]:
        """The endings that `finish_map` writes."""
        return ("",)

    @property
    def writes_vectors(self) -> bool:
        """Whether a result has three numbers for every voxel and frame: vectors along the scanner's axes."""
        return False

    @property
    def refines(self) -> bool:
        """Whether outputs are changed before they are written, which takes all of them, and the image."""
        return False

    def refined(self, outputs: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Returns what is written in place of activated outputs of a whole image; here they are as they were.

        Args:
            outputs: On the network's grid, `(x, y, z, channels)`.
            image: As the network sees it, `(x, y, z, channels)`.
        """
        return outputs

    def in_world(self, outputs: np.ndarray, grid: Grid) -> np.ndarray:
        """Returns outputs on a grid, `(x, y, z, channels)`, in units that do not depend on it; here as they are."""
        return outputs

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

    def finish_spread(self, spread: Mapping[str, np.ndarray], resample: Resample, order: int) -> dict[str, np.ndarray]:
        """Turns maps of uncertainty on the network's grid into what is written, by the ending of the file's name."""
        factor = np.float32(self.spread_factor)
        return {
            ending: np.asarray(resample(values * factor, min(order, 1), 0.0), np.float32)
            for ending, values in spread.items()
        }

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

    def describe_output(self) -> dict[str, Any]:
        """Adds that there is one output per voxel."""
        return super().describe_output() | {"per": "voxel"}


class RowTask(Task):
    """A task with one number per image, or a few: inference writes columns of one table for all subjects."""

    rows_per_subject: ClassVar[bool] = False
    """Whether `evaluate_values` gives rows for each subject in turn, as many for each, and not one for each group."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the numbers where there are several, e.g. `x_min`; none for a single one."""
        return ()

    @property
    def head(self) -> Literal["map", "vector"]:
        """`vector`."""
        return "vector"

    @property
    def writes(self) -> Literal["volume", "row"]:
        """`row`."""
        return "row"

    @property
    def is_per_window(self) -> bool:
        """Whether it is told from each window, and results are means over windows; else from the whole image."""
        return self.settings.per == "window"

    @property
    def is_map(self) -> bool:
        """Whether the network says it by an output per voxel, of which one place or more are found."""
        return self.head == "map"

    @property
    def attributes(self) -> tuple[str, ...]:
        """The columns of the target's table, or parts of its file names, that hold the target."""
        return self.parts or (str(self.settings.attribute),)

    @property
    def optional_attributes(self) -> tuple[str, ...]:
        """Those of `attributes`, the last ones, that a table need not have; `prepare_value` gets empty texts then."""
        return ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table of results that hold the result, in the order of the target's numbers."""
        return tuple(f"{self.name}_{part}" for part in self.parts) or (self.name,)

    @abstractmethod
    def prepare_value(self, *texts: str) -> np.ndarray:
        """Turns the target's numbers as a table has them, one text each, into what the network learns."""

    @abstractmethod
    def evaluate_values(self, truth: np.ndarray, prediction: np.ndarray, evaluation: Any) -> list[dict[str, Any]]:
        """Compares the results of all subjects; a row of measures per group, or rows per subject (`rows_per_subject`).

        Args:
            truth: As files have it, `(subjects,)`, or `(subjects, numbers)` where there are `parts`.
            prediction: What inference wrote, the same shape.
            evaluation: The `[EVALUATION]` section.
        """

    def score_subjects(self, truth: np.ndarray, prediction: np.ndarray) -> Mapping[str, np.ndarray]:
        """Returns those measures that are means over the subjects, a value for each, `(subjects,)`, by name."""
        return {}

    def describe_output(self) -> dict[str, Any]:
        """Adds that there is one output per image, or per window."""
        return super().describe_output() | {"per": self.settings.per}

    def read_value(self, *texts: str) -> np.ndarray:
        """Returns the target's numbers in their own unit, `()` or `(numbers,)` float64.

        Raises:
            DataError: If a text is not a finite number.
        """
        numbers = [self.parse_number(text, name) for text, name in zip(texts, self.attributes, strict=True)]
        return np.asarray(numbers if self.parts else numbers[0], np.float64)

    def parse_label(self, *texts: str) -> int:
        """Reads the label of a target that is a class.

        Raises:
            DataError: If the text is not a whole number.
        """
        value = float(self.read_value(*texts))
        if value != int(value):
            raise DataError(
                f"[{self.source}] {self.settings.attribute} = {texts[0]!r} is no class of task {self.name!r}: classes "
                f"are 0 .. {int(self.settings.num_classes or 0) - 1}, whole numbers"
            )
        return int(value)

    def parse_number(self, text: str, attribute: str) -> float:
        """Reads one number of the target.

        Raises:
            DataError: If the text is not a finite number.
        """
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise DataError(
                f"[{self.source}] {attribute} = {text!r} is not a number; task {self.name!r} needs one for every "
                "training subject"
            )
        return value
