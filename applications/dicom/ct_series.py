"""A synthetic CT as a series of CT images, a slice for each slice of the source."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.applications.dicom.source import SourceSeries, make_uid, new_dataset

if TYPE_CHECKING:
    from pydicom import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT = -1024
"""HU of the stored value 0; what is below is stored as this."""


def ct_slices(source: SourceSeries, hu: np.ndarray, description: str) -> "list[Dataset]":
    """Returns the slices, without loss but for the rounding to whole HU.

    Args:
        source: The series that the CT was predicted from.
        hu: HU on its grid, `(columns, rows, slices)`.
        description: Description of the new series.
    """
    stored = (np.clip(np.rint(hu), INTERCEPT, INTERCEPT + np.iinfo(np.uint16).max) - INTERCEPT).astype(np.uint16)
    content = hashlib.sha256(stored.tobytes()).hexdigest()
    series = make_uid(source.slices[0].SeriesInstanceUID, "synthetic CT", content)
    return [_slice(source, number, stored[:, :, number], series, description) for number in range(stored.shape[2])]


def _slice(source: SourceSeries, number: int, stored: np.ndarray, series: str, description: str) -> "Dataset":
    from pydicom import Dataset

    of = source.slices[number]
    made = new_dataset(source, CT_IMAGE, series, make_uid(series, number))
    made.Modality, made.ImageType = "CT", ["DERIVED", "SECONDARY", "AXIAL"]
    made.SeriesDescription = made.DerivationDescription = description
    made.SeriesNumber, made.AcquisitionNumber, made.InstanceNumber = 1000, None, number + 1
    made.PatientPosition = of.get("PatientPosition", "HFS")
    made.ImagePositionPatient, made.ImageOrientationPatient = of.ImagePositionPatient, of.ImageOrientationPatient
    made.PixelSpacing, made.KVP = of.PixelSpacing, None
    made.SliceThickness = of.get("SliceThickness") or float(np.linalg.norm(source.affine[:3, 2]))
    made.Rows, made.Columns = stored.shape[1], stored.shape[0]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = INTERCEPT, 1, "HU"
    made.WindowCenter, made.WindowWidth = 40, 400
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    made.SourceImageSequence = [reference]
    made.PixelData = np.ascontiguousarray(stored.T).astype("<u2").tobytes()
    return made
