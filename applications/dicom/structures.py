"""Organs as an RT structure set: outlines of every label in every slice, in the patient's millimetres."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.analysis.pictures import label_colour
from sfgkeras.applications.dicom.contours import outlines
from sfgkeras.applications.dicom.source import SourceSeries, make_uid, new_dataset
from sfgkeras.data.image_formats import LPS_TO_RAS

if TYPE_CHECKING:
    from pydicom import Dataset

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY = "1.2.840.10008.3.1.2.3.1"
LONGEST_LABEL = 16


def structure_set(source: SourceSeries, labels: np.ndarray, names: Mapping[int, str], description: str) -> "Dataset":
    """Returns the structure set: a structure for each name, also where the label is nowhere.

    Args:
        source: The series that the organs were found in.
        labels: Whole numbers on its grid, `(columns, rows, slices)`.
        names: Name by label.
        description: Description of the new series.
    """
    content = hashlib.sha256(np.ascontiguousarray(labels).tobytes() + repr(dict(names)).encode()).hexdigest()
    series = make_uid(source.slices[0].SeriesInstanceUID, "structures", content)
    made = new_dataset(source, STRUCTURE_SET, series, make_uid(series, 0))
    made.Modality, made.SeriesNumber, made.InstanceNumber = "RTSTRUCT", 1002, 1
    made.SeriesDescription, made.StructureSetName = description, description
    made.StructureSetLabel = description[:LONGEST_LABEL].strip()
    made.StructureSetDate = made.StructureSetTime = made.OperatorsName = ""
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_frame(source)]
    frame = source.slices[0].FrameOfReferenceUID
    made.StructureSetROISequence = [
        _dataset(ROINumber=n, ReferencedFrameOfReferenceUID=frame, ROIName=name, ROIGenerationAlgorithm="AUTOMATIC")
        for n, name in enumerate(names.values(), start=1)
    ]
    made.ROIContourSequence = [_roi(source, labels == label, n) for n, label in enumerate(names, start=1)]
    made.RTROIObservationsSequence = [
        _dataset(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        for n in range(1, len(names) + 1)
    ]
    return made


def _dataset(**values: object) -> "Dataset":
    from pydicom import Dataset

    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _frame(source: SourceSeries) -> "Dataset":
    first = source.slices[0]
    images = [_image(each) for each in source.slices]
    series = _dataset(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _dataset(
        ReferencedSOPClassUID=STUDY,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _dataset(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image(of: "Dataset") -> "Dataset":
    return _dataset(ReferencedSOPClassUID=of.SOPClassUID, ReferencedSOPInstanceUID=of.SOPInstanceUID)


def _roi(source: SourceSeries, mask: np.ndarray, number: int) -> "Dataset":
    colour = label_colour(number).lstrip("#")
    made = _dataset(ROIDisplayColor=[int(colour[n : n + 2], 16) for n in (0, 2, 4)], ReferencedROINumber=number)
    contours = [
        _dataset(
            ContourImageSequence=[_image(source.slices[place])],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=len(outline),
            ContourData=_millimetres(source, outline, place),
        )
        for place in range(mask.shape[2])
        for outline in outlines(mask[:, :, place])
    ]
    if contours:
        made.ContourSequence = contours
    return made


def _millimetres(source: SourceSeries, outline: np.ndarray, place: int) -> Sequence[str]:
    """Returns the coordinates of an outline one after the other, as DICOM's decimal texts of at most 16 letters."""
    affine = LPS_TO_RAS @ source.affine
    voxels = np.column_stack([outline, np.full(len(outline), place)])
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    return [f"{value:.5f}"[:16] for value in points.ravel()]
