"""Writes results as DICOM on the geometry of the series that they are of."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfgkeras.applications.dicom.ct_series import INTERCEPT, ct_slices
from sfgkeras.applications.dicom.segmentation import segmentation
from sfgkeras.applications.dicom.source import SourceSeries, read_source
from sfgkeras.applications.dicom.structures import structure_set
from sfgkeras.applications.records.files import make_writable
from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.data.scaling import count_not_finite
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.extras import require_extra
from sfgkeras.files import replacing
from sfgkeras.reporter import Reporter, SilentReporter

if TYPE_CHECKING:
    from pydicom import Dataset

CT_FOLDER, SEGMENTATION_FILE, STRUCTURES_FILE = "ct", "seg.dcm", "rtstruct.dcm"


def write_dicom(
    series: Path,
    output: Path,
    ct: Path | None = None,
    labels: Path | None = None,
    names: Sequence[str] = (),
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[Path]:
    """Writes a synthetic CT as a CT series, and organs as a segmentation object and as RT structures.

    The new objects belong to the patient, study and frame of reference of the series, and refer to its slices.

    Args:
        series: Folder of the DICOM series that the network saw.
        output: Folder to write to: `ct/0001.dcm` and so on, `seg.dcm`, `rtstruct.dcm`.
        ct: NIfTI file in HU.
        labels: NIfTI file of whole numbers, 0 is background.
        names: Names of the labels 1, 2 and so on; those without are `label 3`.
        overwrite: Whether results that are there are replaced.
        reporter: Shows what was written.

    Returns:
        The files.

    Raises:
        ConfigError: If there is nothing to write, or the extra `dicom` is not installed.
        DataError: If a file cannot be used, or a result is in the way.
    """
    require_extra("dicom", "results as DICOM")
    if ct is None and labels is None:
        raise ConfigError("nothing to write as DICOM; give --ct FILE, --labels FILE, or both")
    reporter, source = reporter or SilentReporter(), read_source(series)
    made: dict[Path, Dataset] = {}
    if ct is not None:
        image = read_image(ct)
        if bad := count_not_finite(image.array):
            raise DataError(
                f"{ct}: {bad} of its voxels are NaN or infinite, and a CT has a number in each; predict anew"
            )
        hu = source.place(image.array, image.affine, 1, INTERCEPT)
        slices = ct_slices(source, hu, "synthetic CT (sfgkeras)")
        made |= {output / CT_FOLDER / f"{number:04d}.dcm": each for number, each in enumerate(slices, start=1)}
    if labels is not None:
        found, known = _labels(source, labels, names)
        made[output / SEGMENTATION_FILE] = segmentation(source, found, known, "organs (sfgkeras)")
        made[output / STRUCTURES_FILE] = structure_set(source, found, known, "organs (sfgkeras)")
    _write(made, output, overwrite, series)
    reporter.message(f"wrote {', '.join(_described(made, output))}")
    return list(made)


def _labels(source: SourceSeries, path: Path, names: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Returns the label map on the series' grid, and the name of every label that it has or that has a name."""
    image = read_label_map(path)
    found = source.place(image.array, image.affine, 0, 0)
    values = {int(value) for value in np.unique(image.array) if value > 0} | set(range(1, len(names) + 1))
    if not values:
        raise DataError(f"{path}: has no label above 0, and no label has a name; give --names")
    return found, {value: names[value - 1] if value <= len(names) else f"label {value}" for value in sorted(values)}


def _write(made: "dict[Path, Dataset]", output: Path, overwrite: bool, series: Path) -> None:
    if output.resolve() == series.resolve() or (output / CT_FOLDER).resolve() == series.resolve():
        raise DataError(f"{output}: is where the series {series} lies; choose another --output")
    there = [path for path in made if path.exists()]
    if (output / CT_FOLDER / "0001.dcm") in made:
        strangers = [path for path in (output / CT_FOLDER).glob("*") if path not in made]
        if strangers:
            raise DataError(f"{strangers[0]}: lies among the slices that would be written; choose another --output")
    if there and not overwrite:
        raise DataError(f"{there[0]}: exists; add --overwrite to replace it, or choose another --output")
    for folder in {path.parent for path in made}:
        make_writable(folder)
    for path, dataset in made.items():
        with replacing(path) as stream:
            dataset.save_as(stream, enforce_file_format=True)


def _described(made: "dict[Path, Dataset]", output: Path) -> list[str]:
    slices = sum(path.parent.name == CT_FOLDER for path in made)
    told = [f"{output / CT_FOLDER} ({slices} slices)"] if slices else []
    return told + [str(path) for path in made if path.parent.name != CT_FOLDER]
