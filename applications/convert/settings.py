"""What can be asked of a conversion of data."""

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class ConversionSettings:
    """How images become rows of HDF5 files.

    Attributes:
        split: CSV of `subject_id,phase`; each phase then has files of its own.
        size: Rows and columns of photos and their masks, which are resized; boxes with them.
        foreground: Labels of masks that become 1, all others 0; None leaves labels as they are.
        compression: Level of gzip, 0 (none) to 9; None is 1.
        box_of: Whose box is taken of a picture with several objects: `largest`, `all` (the box around them), or a name;
            None refuses such pictures.
    """

    split: Path | None = None
    size: tuple[int, int] | None = None
    foreground: tuple[int, ...] | None = None
    compression: int | None = None
    box_of: str | None = None

    def given(self) -> set[str]:
        """Returns the names of the settings that are not at their defaults."""
        return {each.name for each in fields(self) if getattr(self, each.name) is not None}
