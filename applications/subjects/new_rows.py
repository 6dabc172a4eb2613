"""HDF5 files among what `sfgkeras predict --input` names: each row is a subject's image, as in training.

Data set, ids and axes are those of the input section in the INI file (`hdf5_dataset`, `hdf5_ids`, `hdf5_axes`), and
only the file is another one; `FILE:/NAME` names another data set, too. A section whose images were files in training
takes the only data set of the file, or the one that is called as the file is, and numbers its rows.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sfgkeras.config import Config
from sfgkeras.data.hdf5.rows import list_data_sets
from sfgkeras.data.hdf5.source import Hdf5Source
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import Place
from sfgkeras.errors import DataError, suggestion
from sfgkeras.tables.loaders import Hdf5Settings

_HDF5 = re.compile(r"(?P<file>.+\.(?:h5|hdf5))(?::/(?P<name>.+))?", re.IGNORECASE | re.DOTALL)


def split_hdf5(path: Path) -> tuple[Path, str | None] | None:
    """Returns file and data set of `FILE.h5` or `FILE.h5:/NAME`, the latter None where it is not said; else None."""
    found = _HDF5.fullmatch(str(path))
    return None if found is None or path.is_dir() else (Path(found["file"]), found["name"])


def hdf5_files_in(folder: Path, config: Config) -> list[Path]:
    """Returns the files in a folder that are called as those that images were read from in training."""
    names = {_settings(config, name).file for name in config.image}
    return sorted({folder / path.name for path in names if path is not None and (folder / path.name).is_file()})


def sections_of(path: Path, config: Config) -> list[str]:
    """Returns the image sections that an HDF5 file stands for: those whose own file has its name, or the only one.

    Raises:
        DataError: If there are several, and none has a file of that name.
    """
    named = [name for name in config.image if (own := _settings(config, name).file) and own.name == path.name]
    if not named and len(config.image) > 1:
        example = " ".join(f"--input {name}=FILE" for name in config.image)
        raise DataError(
            f"--input {path}: the network sees {len(config.image)} images, {', '.join(config.image)}, and in training "
            f"none of them was read from a file of this name; write {example}"
        )
    return named or list(config.image)


def find_rows(path: Path, data_set: str | None, section: str, config: Config) -> Mapping[str, ImageRef]:
    """Returns the rows of a file by subject id.

    Args:
        path: The file.
        data_set: The data set; None for that of the section.
        section: The input section that its rows are images of.
        config: Knows how rows were read in training.

    Raises:
        DataError: If the file, its data set or its ids cannot be used, or rows hold values.
    """
    settings = replace(_settings(config, section), file=path.resolve(), content="images")
    if data_set is not None:
        known = list_data_sets(path)
        if data_set.strip("/") not in known:
            hint = suggestion(data_set, list(known)) or ";"
            raise DataError(
                f"--input {path}:/{data_set}: is no data set of the file{hint} there are {', '.join(known)}"
            )
        settings = replace(settings, dataset=data_set)
    found = Hdf5Source(Place(section, settings=settings)).find()
    first = next(iter(found.values()))
    if not first.is_image:
        raise DataError(
            f"--input {path}: {first} holds values, and [{section}] is an image; name another file, or the data set: "
            f"--input {section}={path}:/NAME"
        )
    return found


def _settings(config: Config, section: str) -> Hdf5Settings:
    """Returns how rows of a section are read; the defaults where training read files."""
    settings = config.sources[section].chosen_settings("loader")
    return settings if isinstance(settings, Hdf5Settings) else Hdf5Settings()
