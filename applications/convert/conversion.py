"""`sfgkeras convert OLD NEW`: what the two names are says what is converted.

An INI file becomes an INI file, a folder of images HDF5 (`NEW.h5`: one file; a folder: a file for each data set, by the
phases of a split), and HDF5 a folder of images. Nothing is replaced unasked.
"""

from collections.abc import Callable
from pathlib import Path

from sfgkeras.applications.convert.hdf5_folder import convert_to_folder
from sfgkeras.applications.convert.niftynet_ini import convert_ini
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.applications.convert.to_hdf5 import convert_to_hdf5
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import Reporter

HDF5_ENDINGS = (".h5", ".hdf5")

Conversion = Callable[[Path, Path, ConversionSettings, Reporter], None]


def convert(
    old: Path, new: Path, reporter: Reporter, overwrite: bool = False, settings: ConversionSettings | None = None
) -> None:
    """Converts a file or folder.

    Args:
        old: An INI file, a folder of images, an HDF5 file or a folder of such.
        new: What to write.
        reporter: Hears what was changed and what is left to do.
        overwrite: Whether an existing file, or files in an existing folder, are replaced.
        settings: How data are converted.

    Raises:
        ConfigError: If the input cannot be converted, or a setting has no meaning for it.
        DataError: If it is of no known kind, or `new` exists or cannot be written.
    """
    settings = settings or ConversionSettings()
    conversion, known = _choose(old, new)
    if not old.exists():
        raise DataError(f"{old}: does not exist; name an INI file, a folder of images, or an HDF5 file")
    for name in settings.given() - known:
        raise ConfigError(f"--{name.replace('_', '-')} has no use for {old} and {new}; leave it out")
    if new.exists() and new.samefile(old):
        raise DataError(f"{new}: is the file to convert; choose another name")
    if new.is_dir() and not any(new.iterdir()):
        overwrite = True
    if new.exists() and not overwrite:
        raise DataError(f"{new}: exists; choose another name, or add --overwrite to replace what is written again")
    conversion(old, new, settings, reporter)


def _choose(old: Path, new: Path) -> tuple[Conversion, set[str]]:
    """Returns what converts, and the names of the settings that it takes."""
    if old.suffix.lower() == ".ini":
        return lambda old, new, settings, reporter: convert_ini(old, new, reporter), set()
    if (old.is_dir() or not old.suffix) and not any(_hdf5_files(old)):
        return convert_to_hdf5, {"split", "size", "foreground", "compression", "box_of"}
    if old.is_dir() or old.suffix.lower() in HDF5_ENDINGS:
        if new.suffix:
            raise DataError(f"{new}: HDF5 becomes a folder of images; write a name without the ending {new.suffix}")
        return convert_to_folder, set()
    raise DataError(
        f"{old}: has no ending that can be converted; INI files (.ini), HDF5 files ({', '.join(HDF5_ENDINGS)}) and "
        "folders of images can"
    )


def _hdf5_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix.lower() in HDF5_ENDINGS]
