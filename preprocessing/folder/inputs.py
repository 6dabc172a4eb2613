"""Finds what a folder offers to preprocessing: NIfTI files and folders of DICOM series, by subject."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.data.file_search import refuse_undecoded
from sfgkeras.data.grids import Grid
from sfgkeras.data.image_formats import has_dicom
from sfgkeras.data.nifti import axis_codes, image_suffix, is_image, read_image, read_label_map, reorient
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder.manifest import COLUMNS
from sfgkeras.preprocessing.volume import Volume, name_without_suffix

VOLUME_SUFFIXES = frozenset((".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz", ".mha", ".mhd", ".nrrd", ".nhdr"))


MANIFEST = "manifest.csv"
BESIDES = ("labels", "bias_field", "transforms", "pictures", "provenance")
"""Folders of an output that hold no results of images."""


@dataclass(frozen=True)
class FoundInputs:
    """What a folder holds.

    Attributes:
        files: Images and series by id: the path below the folder without ending.
        ignored: Other files.
        left_out: Folders that hold no inputs: label maps, and what earlier runs wrote.
    """

    files: Mapping[str, Path]
    ignored: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()


def find_inputs(folder: str | Path, exclude: Sequence[Path] = ()) -> FoundInputs:
    """Looks for images in a folder and all below it.

    Outputs of earlier runs below it, which have a manifest, are left out; of the folder itself, where it is one, label
    maps and what steps wrote besides.

    Args:
        folder: The folder; a folder of DICOM files counts as one image.
        exclude: Folders below that are left out, e.g. those of label maps.

    Raises:
        ConfigError: If the folder is missing, holds no image, or two of one id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; name the folder of the images")
    if has_dicom(folder):
        return FoundInputs({folder.resolve().name: folder}, ())
    files: dict[str, Path] = {}
    ignored: list[Path] = []
    left_out: list[Path] = []
    others = {path.resolve() for path in exclude}
    if is_output(folder):
        others |= {(folder / name).resolve() for name in BESIDES}
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        strange = [name for name in folders if (here / name).resolve() in others or is_output(here / name)]
        left_out += [here / name for name in strange]
        series = [name for name in folders if name not in strange and has_dicom(here / name)]
        folders[:] = [name for name in folders if name not in series and name not in strange]
        for path in sorted([*(here / name for name in series), *(here / name for name in names)]):
            if path.name.startswith("."):
                continue
            if not (path.is_dir() or (image_suffix(path) in VOLUME_SUFFIXES and is_image(path))):
                if image_suffix(path) not in VOLUME_SUFFIXES:
                    ignored.append(path)
                continue
            refuse_undecoded(path)
            subject_id = str((path.parent / name_without_suffix(path)).relative_to(folder).as_posix())
            if subject_id in files:
                raise ConfigError(f"{path}: has the name of {files[subject_id]} but for its ending; rename one of them")
            files[subject_id] = path
    if not files:
        raise ConfigError(
            f"{folder}: holds no NIfTI file and no DICOM series ({len(ignored)} other files{_left_out(left_out)}); "
            "name another folder"
        )
    return FoundInputs(dict(sorted(files.items())), tuple(ignored), tuple(left_out))


def is_output(folder: Path) -> bool:
    """Says whether a run of preprocessing wrote into a folder: its manifest is there."""
    try:
        with open(folder / MANIFEST, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip() == ",".join(COLUMNS)
    except OSError:
        return False


def _left_out(folders: Sequence[Path]) -> str:
    return f"; left out: {', '.join(folder.name for folder in folders)}" if folders else ""


def output_name(subject_id: str, source: Path) -> str:
    """Returns the name of the output below its folder: the input's own, `.nii.gz` where it was no NIfTI."""
    return f"{subject_id}.nii" if not source.is_dir() and image_suffix(source) == ".nii" else f"{subject_id}.nii.gz"


def read_subject(image: Path, labels: Mapping[str, Path], loader: str | None = None) -> Volume:
    """Reads one subject's image and label maps, and refuses what no step could use.

    Args:
        image: A volume or the folder of a DICOM series.
        labels: Label maps by name.
        loader: What reads the image; None chooses by its ending.

    Raises:
        DataError: If a file cannot be read, is not 3-D, has voxels that are not finite, or a label map lies
            on another grid; names the file.
    """
    read = read_image(image, loader)
    if read.array.ndim != 3:
        raise DataError(f"{image}: has shape {read.array.shape}; preprocessing needs one volume (x, y, z)")
    bad = int(read.array.size - np.count_nonzero(np.isfinite(read.array)))
    if bad:
        raise DataError(
            f"{image}: {bad} of {read.array.size} voxels are not finite (NaN or inf); "
            "replace them, for example by 0, before preprocessing"
        )
    placed = {name: read_labels_on_grid(path, read.array.shape, read.affine, image) for name, path in labels.items()}
    return Volume(read.array, read.affine, placed)


def read_labels_on_grid(path: Path, shape: tuple[int, ...], affine: np.ndarray, image: Path) -> np.ndarray:
    """Reads a label map onto its image's grid; another orientation of the same grid is turned, exactly.

    Raises:
        DataError: If the values are not integers or the grid is another one.
    """
    found = read_label_map(path)
    array, label_affine = reorient(found.array, found.affine, axis_codes(affine))
    own, grid = Grid(array.shape, label_affine), Grid(tuple(shape), affine)
    if own.is_same(grid):
        return np.ascontiguousarray(array)
    if own.shape == grid.shape:
        reason = f"its corners lie up to {own.distance(grid):.2f} mm off"
    else:
        reason = f"shape {found.array.shape} where the image has {tuple(shape)}"
    raise DataError(
        f"{path}: is a label map on another grid than {image} ({reason}); correct its header, or bring it "
        "there by the step resample_like"
    )
