"""What images and values of an input source come from: what `loader` may choose."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.data.sources import Source


@dataclass(frozen=True)
class LoaderEntry(Entry["type[Source]"]):
    """A kind of source.

    Attributes:
        gives_values: Whether it gives values per subject rather than images; None for one that can give both, which its
            use decides: values for tasks with a value per subject, else images.
    """

    gives_values: bool | None = False


@dataclass(frozen=True)
class Hdf5Settings(Settings):
    """Settings of `hdf5`."""

    file: Path | None = setting(
        None,
        "HDF5 file with one row for each subject, in the folder of `path_to_search` or the one that the command is run "
        "in. Where there is none, files of that name in the folders `train`, `val` and `test` beside it are the three "
        "phases.",
    )
    dataset: str | None = setting(
        None, "Data set of the file, `group/name` in a group; empty for its only one, or the one called as the file is."
    )
    ids: str | None = setting(
        None, "Data set of subject ids in the same file; empty to number rows: `000012`, or `train_000012` by phase."
    )
    content: str = setting(
        "auto",
        "Whether rows are `images` or `values`; `auto`: values for tasks with a value per subject, a classification, a "
        "bounding box or a regression with `attribute`; else images.",
        choices=("auto", "images", "values"),
    )
    axes: str = setting(
        "auto",
        "Whether rows are photos, rows x columns (`plane`), or volumes, x y z (`volume`), with or without channels; "
        "`auto` goes by their number and by whether a voxel size is written beside them.",
        choices=("auto", "plane", "volume"),
    )


def _files() -> "type[Source]":
    from sfgkeras.data.sources import FileSource

    return FileSource


def _table() -> "type[Source]":
    from sfgkeras.data.sources import TableSource

    return TableSource


def _voxel() -> "type[Source]":
    from sfgkeras.data.sources import VoxelSource

    return VoxelSource


def _hdf5() -> "type[Source]":
    from sfgkeras.data.hdf5.source import Hdf5Source

    return Hdf5Source


LOADERS: dict[str, LoaderEntry] = {
    "nibabel": LoaderEntry(_files, "NIfTI files"),
    "simpleitk": LoaderEntry(_files, "MetaImage, NRRD and DICOM"),
    "pillow": LoaderEntry(_files, "photographs"),
    "table": LoaderEntry(_table, "numbers in a CSV file", gives_values=True),
    "voxel": LoaderEntry(_voxel, "images of 1 x 1 x 1, whose voxel is a value or a class", gives_values=True),
    "hdf5": LoaderEntry(_hdf5, "rows of a data set in an HDF5 file", Hdf5Settings, gives_values=None),
}


def gives_values(loader: str | None) -> bool:
    """Says whether a loader gives one value per subject; None, which chooses by the ending of files, does not."""
    return loader in LOADERS and bool(LOADERS[loader].gives_values)
