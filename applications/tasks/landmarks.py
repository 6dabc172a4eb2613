"""Landmarks: points in the image, any number of them, told by coordinates or by a heat map for each."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import expit

from sfgkeras.analysis.landmark_errors import lengths
from sfgkeras.analysis.measures import evaluate_landmarks, evaluate_lengths
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.data.heat_maps import locate
from sfgkeras.data.points import Frame, Move, from_fractions, in_fractions
from sfgkeras.errors import DataError
from sfgkeras.quoting import split_list
from sfgkeras.tables.losses import find_loss
from sfgkeras.tables.tasks import LandmarkSettings

AXES = "xyz"
AWAY = -1e3
"""Where a landmark that a window does not show lies, in lengths of the window: its heat map is 0 everywhere."""

MARGIN = 1.0
"""Voxels beyond the outer edge of the image within which a landmark is still in it."""

SMALLEST, DRAWN = 1.0, 0.015
"""Radius of what is drawn: voxels at least, and a part of the longest side of the image."""


class LandmarkTask(PointTarget):
    """Predicts points: `attribute` names them, and each has a column for each coordinate, and one for visibility.

    The loss decides how: by a heat map for each (`needs_map`), found in windows of any size and place, or by
    coordinates in fractions of a window that is the whole image. A landmark that is not visible, or whose columns are
    empty, is not known: it counts in no loss, metric or measure. One that a window does not show is known not to be
    there, if it is told by heat maps.

    Results are in mm: in 3-D in the space of the subject's image, in 2-D from the outer edge of the image along x and
    y; a pixel of a photo is 1 mm wide.
    """

    rows_per_subject: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """What the landmarks are called."""
        return tuple(split_list(str(self.settings.attribute)))

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """The landmarks."""
        return self.names

    @property
    def columns_of_table(self) -> LandmarkSettings:
        """How the columns of the table are called."""
        return self.settings.chosen_settings("type") or LandmarkSettings()

    @property
    def dimensions(self) -> int:
        """2 or 3: coordinates of a landmark in files and results."""
        return self.columns_of_table.dimensions or 3

    @property
    def lengths(self) -> dict[str, tuple[int, int]]:
        """The places of the two landmarks of every length by its name."""
        named = self.columns_of_table.named_lengths()
        return {name: (self.names.index(ends[0]), self.names.index(ends[1])) for name, ends in named.items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        """The columns of the target's table: coordinates of all landmarks, then which are visible."""
        return (*self.columns_of_table.point_columns(self.names), *self.optional_attributes)

    @property
    def optional_attributes(self) -> tuple[str, ...]:
        """The columns that say which are visible."""
        return self.columns_of_table.visibility_columns(self.names)

    @property
    def parts(self) -> tuple[str, ...]:
        """`<name>_x`, `<name>_y` and in 3-D `<name>_z` of each landmark."""
        return tuple(f"{name}_{axis}" for name in self.names for axis in AXES[: self.dimensions])

    @property
    def head(self) -> Literal["map", "vector"]:
        """`map` for heat maps, `vector` for coordinates: as the loss has it."""
        return "map" if self._loss.needs_map else "vector"

    @property
    def head_start(self) -> float:
        """As the loss has it: heat maps begin near 0."""
        return self._loss.start

    @property
    def head_offset(self) -> float:
        """As the loss has it: coordinates begin near the middle of the window."""
        return self._loss.offset

    @property
    def _loss(self) -> Any:
        return find_loss(self.settings.loss, self.type_name, f"loss of task {self.name!r}")

    @property
    def num_outputs(self) -> int:
        """A heat map for each landmark; or as many numbers for each as `dimensions`."""
        return len(self.names) * (1 if self.is_map else self.dimensions)

    @property
    def unit(self) -> str:
        """Results are in mm, whatever the target is in."""
        return "mm"

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns heat maps or coordinates; where the loss is a cross-entropy, outputs are logits of heat maps."""
        return expit(outputs) if self.is_map and self._loss.likelihood == "categorical" else outputs

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation of each coordinate."""
        return Moments(allocate, per_channel=True)

    def describe_output(self) -> dict[str, Any]:
        """Adds what the channels are."""
        values = "coordinates in fractions of the window along its axes, all of the first landmark first"
        if self.is_map:
            logits = self._loss.likelihood == "categorical"
            values = f"a heat map for each landmark{', as logits' if logits else ''}; its peak is where it is"
        return super().describe_output() | {"values": values, "landmarks": list(self.names)}

    def prepare_value(self, *texts: str) -> np.ndarray:
        """Returns coordinates in the target's own unit and visibility, `(landmarks, dimensions + 1)`; 0 if not visible.

        Raises:
            DataError: If a text is no number, or some coordinates of a landmark are empty and others not.
        """
        count = len(self.names) * self.dimensions
        table = np.zeros((len(self.names), self.dimensions + 1))
        for number, name in enumerate(self.names):
            first = number * self.dimensions
            given, columns = (each[first : first + self.dimensions] for each in (texts, self.attributes))
            is_empty = [not text.strip() or text.strip().lower() == "nan" for text in given]
            visible = texts[count + number].strip()
            if all(is_empty) or (visible and self.parse_number(visible, self.attributes[count + number]) <= 0):
                continue
            if any(is_empty):
                raise DataError(
                    f"[{self.source}] {columns[is_empty.index(True)]} is empty and other coordinates of landmark "
                    f"{name!r} are not; complete them, or leave all of them empty where it is not visible"
                )
            table[number] = [*(self.parse_number(*pair) for pair in zip(given, columns, strict=True)), 1.0]
        return table

    def as_written(self, numbers: np.ndarray, frame: Frame) -> np.ndarray:
        """Returns the landmarks in mm, `(landmarks * dimensions,)`; NaN where one is not known."""
        written = frame.points_as_written(self._in_voxels(numbers, frame), self.dimensions)
        return np.ravel(np.where(numbers[:, -1:] > 0, written, np.nan))

    def place(self, numbers: np.ndarray, to_grid: Move, frame: Frame) -> np.ndarray:
        """Returns the landmarks on the network's grid: three coordinates in voxels and visibility of each in turn."""
        placed = to_grid(self._in_voxels(numbers, frame))
        return np.ravel(np.concatenate([placed, numbers[:, -1:]], axis=1) * (numbers[:, -1:] > 0))

    def _in_voxels(self, numbers: np.ndarray, frame: Frame) -> np.ndarray:
        """Returns landmarks of a file in voxels of the subject's own image, `(landmarks, 3)`.

        Raises:
            DataError: If a visible one lies outside of the image, or the image has more or fewer axes.
        """
        thickness = frame.shape[2]
        if self.dimensions == 2 and thickness != 1:
            raise DataError(
                f"[{self.source}] landmarks have x and y, and the image has {thickness} slices; write "
                f"landmarks_dimensions = 3 in [TASK {self.name}] and give z as well"
            )
        units = self.settings.units
        voxels = frame.points_in_voxels(numbers[:, :-1], units)
        beyond = np.any((voxels < -0.5 - MARGIN) | (voxels > np.array(frame.shape) - 0.5 + MARGIN), axis=1)
        for number in np.flatnonzero(beyond & (numbers[:, -1] > 0)):
            shown = ", ".join(f"{value:g}" for value in numbers[number, :-1])
            size = " x ".join(str(frame.shape[axis]) for axis in frame.axes[: self.dimensions])
            raise DataError(
                f"[{self.source}] landmark {self.names[number]!r} at {shown} lies outside of the image of {size} "
                f"voxels (units = {units}); correct it, write its units in [TASK {self.name}], or hide it"
            )
        return voxels

    def move(self, numbers: np.ndarray, to_window: Move, size: Sequence[int]) -> np.ndarray:
        """Returns where a window shows the landmarks, in fractions of it, `(landmarks, rank)`; NaN if not known.

        Those that it does not show are not known as coordinates; a heat map says that they are not there.
        """
        placed = np.reshape(numbers, (-1, 4))
        learned = in_fractions(to_window(placed[:, :3]), size)
        is_shown = np.all((learned >= 0) & (learned <= 1), axis=1, keepdims=True)
        kept, elsewhere = (np.isfinite(learned), AWAY) if self.is_map else (is_shown, np.nan)
        learned = np.where(kept, learned, elsewhere)
        return np.where(placed[:, 3:] > 0, learned, np.nan).astype(np.float32)

    def locate(self, maps: np.ndarray) -> np.ndarray:
        """Returns the peaks of heat maps in fractions of the volume, and their heights: `x, y, z, height` of each."""
        found = locate(maps)
        found[:, :3] = in_fractions(found[:, :3], maps.shape[:3])
        return found.ravel().astype(np.float32)

    def finish_points(self, outputs: np.ndarray, to_file: Move, size: Sequence[int], frame: Frame) -> dict[str, float]:
        """Returns the landmarks in mm; of heat maps besides how high each peak is, `<task>_<name>_peak`."""
        table = np.reshape(outputs, (len(self.names), -1))
        voxels = to_file(from_fractions(table[:, : len(size)], size))
        points = frame.points_as_written(voxels, self.dimensions)
        row = dict(zip(self.columns, points.ravel().tolist(), strict=True))
        found = lengths(points, list(self.lengths.values()))
        row |= {f"{self.name}_{name}_length": float(value) for name, value in zip(self.lengths, found, strict=True)}
        return row | self._peaks(table, "")

    def finish_points_spread(
        self, spread: Mapping[str, Any], to_file: Move, size: Sequence[int], frame: Frame
    ) -> dict[str, float]:
        """Returns the standard deviation of each coordinate in mm."""
        ends = np.concatenate([np.zeros((1, len(size))), np.diag(np.asarray(size, np.float64))])
        written = frame.points_as_written(to_file(ends), self.dimensions)
        lengths = (
            written[1:] - written[0]
        )  # mm along each axis of results by the whole length of each axis of the window
        row: dict[str, float] = {}
        for ending, values in spread.items():
            table = np.reshape(values, (len(self.names), -1))
            deviations = np.sqrt(np.square(table[:, : len(size)]) @ np.square(lengths)).ravel()
            row |= {f"{column}{ending}": float(value) for column, value in zip(self.columns, deviations, strict=True)}
            row |= self._peaks(table, ending)
        return row

    def _peaks(self, table: np.ndarray, ending: str) -> dict[str, float]:
        if not self.is_map:
            return {}
        return {f"{self.name}_{name}_peak{ending}": float(row[-1]) for name, row in zip(self.names, table, strict=True)}

    def mask(self, numbers: np.ndarray, shape: Sequence[int], frame: Frame) -> np.ndarray:
        """Returns a ball around each landmark: its number from 1."""
        spacing = frame.spacing
        mask = np.zeros(tuple(shape), np.uint8 if len(self.names) < 256 else np.uint16)
        radius = max(SMALLEST * float(spacing.min()), DRAWN * float(max(np.array(shape) * spacing)))
        voxels = frame.points_in_voxels(np.reshape(numbers, (-1, self.dimensions)))
        for label, middle in enumerate(voxels, 1):
            if np.isfinite(middle).all():
                _draw_ball(mask, middle, radius / spacing, label)
        return mask

    def evaluate_values(self, truth: np.ndarray, prediction: np.ndarray, evaluation: Any) -> list[dict[str, Any]]:
        """Measures every landmark and length of every subject; a row for each, its name as the `label`."""
        shape = (len(truth), len(self.names), self.dimensions)
        names, tolerance = self.measures(evaluation.evaluations), evaluation.surface_tolerance
        true, found = np.reshape(truth, shape), np.reshape(prediction, shape)
        measured = evaluate_landmarks(true, found, names, tolerance)
        ends = list(self.lengths.values())
        of_lengths = evaluate_lengths(lengths(true, ends), lengths(found, ends), names)
        return [
            {"label": name, **{measure: float(values[subject, number]) for measure, values in table.items()}}
            for subject in range(len(truth))
            for labels, table in ((self.names, measured), (tuple(self.lengths), of_lengths))
            for number, name in enumerate(labels)
        ]


def _draw_ball(mask: np.ndarray, middle: np.ndarray, radii: np.ndarray, label: int) -> None:
    """Writes a label into the voxels whose centres lie in an ellipsoid along the axes, one voxel at least."""
    nearest = np.clip(np.rint(middle), 0, np.array(mask.shape) - 1).astype(int)
    first = np.clip(np.floor(middle - radii), 0, nearest).astype(int)
    last = np.clip(np.ceil(middle + radii), nearest, np.array(mask.shape) - 1).astype(int)
    block = tuple(slice(start, stop + 1) for start, stop in zip(first, last, strict=True))
    axes = np.ogrid[block]
    squares = sum(((axis - place) / radius) ** 2 for axis, place, radius in zip(axes, middle, radii, strict=True))
    mask[block][squares <= 1] = label
    mask[tuple(nearest)] = label
