"""What travels from step to step: one subject's image, its label maps on the same grid, and notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import Image, image_suffix, read_header, read_image
from sfgkeras.errors import DataError


@dataclass(frozen=True, eq=False)
class SideResult:
    """Something a step found besides the image, to be saved: an image on a grid, or the bytes of a file.

    Attributes:
        folder: Folder of the output that it belongs in, e.g. `"bias_field"`.
        suffix: End of the file name after the subject's id, e.g. `".nii.gz"`.
        array: Voxels `(x, y, z)`, or None.
        affine: Voxel to mm of `array`, or None.
        content: Bytes of the file where it is no image.
    """

    folder: str
    suffix: str
    array: np.ndarray | None = None
    affine: np.ndarray | None = None
    content: bytes = b""


@dataclass(frozen=True, eq=False)
class Volume:
    """One subject between two steps.

    Attributes:
        array: Intensities `(x, y, z)`, float32, or integers after `convert`; steps that move voxels take channels too.
        affine: Voxel to RAS mm, `(4, 4)`.
        labels: Label maps by name, integers on the grid of `array`.
        notes: Sentences for the log and the provenance.
        side_results: What steps want saved besides.
        concerns: Sentences that the user should look into.
        foreground: Voxels in which steps measure intensities, of the shape of `array`, where several images have found
            them together; None leaves that to each step's own rule.
    """

    array: np.ndarray
    affine: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    side_results: tuple[SideResult, ...] = ()
    concerns: tuple[str, ...] = ()
    foreground: np.ndarray | None = None

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Notes and concerns, for the log."""
        return (*self.notes, *self.concerns)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm."""
        return tuple(float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))

    def with_array(self, array: np.ndarray, *notes: str) -> "Volume":
        """Returns the volume with other intensities on the same grid."""
        return replace(self, array=array, notes=(*self.notes, *notes))

    def with_grid(
        self, array: np.ndarray, affine: np.ndarray, labels: Mapping[str, np.ndarray], *notes: str
    ) -> "Volume":
        """Returns the volume on another grid, its label maps with it; a foreground does not go along."""
        notes = (*self.notes, *notes)
        return replace(self, array=array, affine=affine, labels=dict(labels), notes=notes, foreground=None)

    def with_concern(self, concern: str) -> "Volume":
        """Returns the volume with a sentence that the user should look into; nothing is added for an empty one."""
        return replace(self, concerns=(*self.concerns, concern)) if concern else self


@dataclass(frozen=True)
class StepContext:
    """What a step may need besides the volume and its settings.

    Attributes:
        subject_id: Identifier of the subject, to find its companion files.
        fitted: What the step was fitted to on the training subjects (`Fitted`); None for the other steps.
        may_overwrite: Whether the step may write into the array that it gets: of a large volume there is no room for a
            copy.
    """

    subject_id: str
    fitted: Any = None
    may_overwrite: bool = False

    def companion(self, place: Path) -> Path:
        """Returns the subject's file in a folder, the one named like its id, or `place` if that is a file.

        Raises:
            DataError: If the folder has none, or several.
        """
        if not place.is_dir():
            return place
        parent = place / Path(self.subject_id).parent
        stem = Path(self.subject_id).name
        entries = sorted(parent.iterdir()) if parent.is_dir() else []
        found = [entry for entry in entries if name_without_suffix(entry) == stem and not entry.name.startswith(".")]
        if len(found) != 1:
            what = "no image" if not found else f"{len(found)} images"
            raise DataError(f"{place}: has {what} named {self.subject_id}; give each subject one file of its name")
        return found[0]

    def grid_of(self, place: Path) -> Grid:
        """Returns the grid of the subject's image in a folder; see `companion`."""
        header = read_header(self.companion(place))
        return Grid(header.shape[:3], header.affine)

    def read_companion(self, place: Path) -> Image:
        """Reads the subject's image in a folder; see `companion`."""
        return read_image(self.companion(place))


def name_without_suffix(path: Path) -> str:
    """Returns a file's name without its image ending, or a folder's name."""
    suffix = "" if path.is_dir() else image_suffix(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name
