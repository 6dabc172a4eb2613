"""The series that results are of: its slices in order, its grid, and what new objects take over from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sfgkeras
from sfgkeras.data.grids import Grid
from sfgkeras.data.image_formats import LPS_TO_RAS, series_files, slice_step
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.resampling import resample_like

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "sfgkeras"
TAKEN_OVER = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator", "SpecificCharacterSet",
)  # fmt: skip
"""Attributes of patient, study and frame of reference."""
NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID")
PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


@dataclass(frozen=True)
class SourceSeries:
    """A DICOM series.

    Attributes:
        folder: Where it lies.
        slices: Its slices without their pixels, in the order of the third axis.
        affine: 4 x 4, from voxels `(column, row, slice)` to RAS mm.
    """

    folder: Path
    slices: Sequence["Dataset"]
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        first = self.slices[0]
        return int(first.Columns), int(first.Rows), len(self.slices)

    def place(self, array: np.ndarray, affine: np.ndarray, order: int, fill: float) -> np.ndarray:
        """Returns an image on the series' grid: as it is where it lies there, else resampled.

        Args:
            array: `(x, y, z)`.
            affine: 4 x 4, voxel to RAS mm.
            order: 0 for labels, 1 for quantities.
            fill: Value outside the image.

        Raises:
            DataError: If the image and the series have no voxel in common.
        """
        if Grid(array.shape[:3], affine).is_same(Grid(self.shape, self.affine)):
            return array
        covered = resample_like(np.ones(array.shape, np.float32), affine, self.shape, self.affine, 0, fill=0)
        if not covered.any():
            raise DataError(f"{self.folder}: the series does not show the place of the result; give the one it is of")
        return resample_like(array, affine, self.shape, self.affine, order, fill=fill)


def read_source(folder: Path) -> SourceSeries:
    """Reads the headers of the one series in a folder.

    Raises:
        DataError: If there is none, or more, or its slices lack what places them, or are unevenly spaced.
    """
    from pydicom import dcmread

    paths = series_files(folder)
    slices = [dcmread(path, stop_before_pixels=True) for path in paths]
    for path, each in zip(paths, slices, strict=True):
        if missing := [name for name in (*NEEDED, *PLACED) if name not in each]:
            hint = "; slices of a multi-frame file cannot be referred to" if "NumberOfFrames" in each else ""
            raise DataError(f"{path}: has no {', '.join(missing)}, which results in DICOM refer to{hint}")
    return SourceSeries(folder, slices, _affine(folder, slices))


def _affine(folder: Path, slices: Sequence["Dataset"]) -> np.ndarray:
    first = slices[0]
    rows, columns = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    down, across = (float(size) for size in first.PixelSpacing)
    origin = np.asarray(first.ImagePositionPatient, float)
    if len(slices) > 1:
        step = slice_step(folder, np.array([each.ImagePositionPatient for each in slices], float))
    else:
        step = np.cross(rows, columns) * float(first.get("SliceThickness") or 1)
    affine = np.eye(4)
    affine[:3] = np.column_stack([rows * across, columns * down, step, origin])
    return LPS_TO_RAS @ affine


def new_dataset(source: SourceSeries, sop_class: str, series: str, instance: str) -> "Dataset":
    """Returns a dataset of the same patient, study and frame of reference, of a new series.

    Args:
        source: The series.
        sop_class: UID of the kind of object.
        series: UID of the new series.
        instance: UID of the object.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    first, made = source.slices[0], Dataset()
    for name in TAKEN_OVER:
        setattr(made, name, first.get(name, None if name in ("PatientAge", "PatientSize", "PatientWeight") else ""))
        if made.get(name) is None or (made.get(name) == "" and name == "SpecificCharacterSet"):
            delattr(made, name)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID(sop_class)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(instance)
    made.SeriesInstanceUID = series
    made.Manufacturer = made.ManufacturerModelName = MANUFACTURER
    made.SoftwareVersions = sfgkeras.__version__
    return made


def make_uid(*parts: Any) -> str:
    """Returns a UID that follows from what it is made of: the same results have the same UIDs."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))
