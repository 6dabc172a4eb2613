"""What reads the files of an input source: what `loader` may choose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.data.image_formats import Decoded


@dataclass(frozen=True)
class LoaderEntry(Entry[Callable[..., Any]]):
    """A reader of files.

    Attributes:
        gives_values: Whether it gives one value per subject rather than a volume.
    """

    gives_values: bool = False


def _nibabel() -> "Callable[..., Decoded]":
    from sfgkeras.data.nifti_format import read_nifti

    return read_nifti


def _simpleitk() -> "Callable[..., Decoded]":
    from sfgkeras.data.image_formats import read_with_simpleitk

    return read_with_simpleitk


def _pillow() -> "Callable[..., Decoded]":
    from sfgkeras.data.image_formats import read_photo

    return read_photo


def _table() -> Callable[..., Any]:
    from sfgkeras.data.subjects import read_table

    return read_table


def _voxel() -> Callable[..., Any]:
    from sfgkeras.applications.subjects.cohort import read_voxel

    return read_voxel


LOADERS: dict[str, LoaderEntry] = {
    "nibabel": LoaderEntry(_nibabel, "NIfTI files"),
    "simpleitk": LoaderEntry(_simpleitk, "MetaImage, NRRD and DICOM"),
    "pillow": LoaderEntry(_pillow, "photographs"),
    "table": LoaderEntry(_table, "numbers in a CSV file", gives_values=True),
    "voxel": LoaderEntry(_voxel, "images of 1 x 1 x 1, whose voxel is a value or a class", gives_values=True),
}


def gives_values(loader: str | None) -> bool:
    """Says whether a loader gives one value per subject; None, which chooses by the ending of files, does not."""
    return loader in LOADERS and LOADERS[loader].gives_values
