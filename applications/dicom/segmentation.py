"""Organs as a DICOM segmentation object, a segment for each label."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import sfgkeras
from sfgkeras.applications.dicom.source import MANUFACTURER, SourceSeries, make_uid
from sfgkeras.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset


def segmentation(source: SourceSeries, labels: np.ndarray, names: Mapping[int, str], description: str) -> "Dataset":
    """Returns the segmentation object; segments without a voxel are described, too.

    Args:
        source: The series that the organs were found in.
        labels: Whole numbers on its grid, `(columns, rows, slices)`.
        names: Name by label.
        description: Description of the new series.

    Raises:
        DataError: If the series lacks what such an object takes over from it.
    """
    import highdicom

    masks = np.stack([(labels == label).transpose(2, 1, 0) for label in names], axis=-1).astype(np.uint8)
    content = hashlib.sha256(masks.tobytes() + repr(dict(names)).encode()).hexdigest()
    series = make_uid(source.slices[0].SeriesInstanceUID, "segmentation", content)
    try:
        made = highdicom.seg.Segmentation(
            source_images=list(source.slices),
            pixel_array=masks,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(number, name) for number, name in enumerate(names.values(), start=1)],
            series_instance_uid=series,
            series_number=1001,
            sop_instance_uid=make_uid(series, 0),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=sfgkeras.__version__,
            device_serial_number="1",
            series_description=description,
        )
    except (AttributeError, KeyError, ValueError) as error:
        raise DataError(f"{source.folder}: a segmentation object cannot refer to this series ({error})") from error
    return made


def _segment(number: int, name: str) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        MANUFACTURER, codes.DCM.ArtificialIntelligence, sfgkeras.__version__
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=anatomy_code(name),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )


def anatomy_code(name: str) -> Any:
    """Returns the SNOMED CT code of an organ by its English name, `Organ` where pydicom's dictionary has none."""
    from pydicom.sr.codedict import codes

    words = [word for word in name.replace("_", " ").split() if word.lower() not in ("left", "right")]
    keyword = "".join(word.capitalize() for word in words)
    return getattr(codes.SCT, keyword, codes.SCT.Organ) if keyword.isidentifier() else codes.SCT.Organ
