"""What the names of photos say: `[age]_[gender]_[race]_[date].jpg`, as in the UTKFace collection."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sfgkeras.errors import DataError

UTKFACE_ATTRIBUTES = ("age", "gender", "race", "date")
_RANGES = {"age": (0, 130), "gender": (0, 1), "race": (0, 4)}  # race: the five groups of UTKFace

Attributes = dict[str, int | str]


def parse_attributes(stem: str, names: Sequence[str] = UTKFACE_ATTRIBUTES) -> Attributes:
    """Reads the attributes that the name of a photo lists, separated by `_`.

    Args:
        stem: Name of the photo; what follows its first dot is ignored (`.jpg`, `.jpg.chip`).
        names: What the fields are. Age, gender and race are integers within 0..130, 0..1 and 0..4, `date` is
            digits and stays text; fields of other names are text.

    Raises:
        DataError: If there are more or fewer fields, or a field is out of its range; names the photo.
    """
    fields = Path(stem).name.split(".", 1)[0].split("_")
    if len(fields) != len(names):
        raise DataError(
            f"{stem}: its name has {len(fields)} fields where {'_'.join(f'[{name}]' for name in names)} has "
            f"{len(names)}; rename the photo, or set filename_attributes"
        )
    return {name: _value(stem, name, field) for name, field in zip(names, fields, strict=True)}


def read_attributes(
    files: Mapping[str, Path], names: Sequence[str] = UTKFACE_ATTRIBUTES
) -> tuple[dict[str, Attributes], list[str]]:
    """Reads the attributes of all photos; those with odd names are left out.

    Args:
        files: The photo of each subject id.
        names: What the fields of a name are; see `parse_attributes`.

    Returns:
        The attributes of each subject with a regular name, and one line about each of the others.

    Raises:
        DataError: If no name is regular.
    """
    table: dict[str, Attributes] = {}
    warnings: list[str] = []
    for subject_id, path in files.items():
        try:
            table[subject_id] = parse_attributes(str(path), names)
        except DataError as error:
            warnings.append(f"{error} (left out)")
    if not table:
        example = f", e.g. {warnings[0]}" if warnings else "; check path_to_search"
        raise DataError(f"none of {len(files)} photos has a name that lists its attributes{example}")
    return table, warnings


def _value(stem: str, name: str, field: str) -> int | str:
    if name in _RANGES:
        low, high = _RANGES[name]
        if not re.fullmatch("[0-9]{1,3}", field) or not low <= int(field) <= high:
            raise DataError(
                f"{stem}: {name} {field!r} in its name is no integer from {low} to {high}; rename the photo"
            )
        return int(field)
    if name == "date" and not re.fullmatch("[0-9]{8,}", field):
        raise DataError(f"{stem}: date {field!r} in its name is not 8 digits or more; rename the photo")
    return field
