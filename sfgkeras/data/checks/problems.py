"""What checks are told of a source, and what they find."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sfgkeras.data.references import ImageRef


@dataclass(frozen=True)
class Problem:
    """Something about a file that will go wrong, or may.

    Attributes:
        level: "error" or "warning".
        path: The file or folder.
        message: One line that names the file and says what was found and what to do.
    """

    level: Literal["error", "warning"]
    path: Path
    message: str


@dataclass(frozen=True)
class SourceInfo:
    """What is expected of the files of one source.

    Attributes:
        role: "image" (what the network sees), "map" (real-valued target) or "labels" (integer target).
        num_classes: Labels must be 0 to `num_classes - 1`; None accepts any.
        axcodes: Axis codes that the images will be turned to, or None.
        pixdim: Voxel size in mm that the images will be resampled to, or None.
        must_vary: Whether a constant image is an error, as whitening refuses it.
        is_weight: Whether values count voxels in a loss or a sampler, and so may not be negative.
        is_ct: Whether values are taken as Hounsfield units.
    """

    role: Literal["image", "map", "labels"]
    num_classes: int | None = None
    axcodes: tuple[str, str, str] | None = None
    pixdim: tuple[float, float, float] | None = None
    must_vary: bool = False
    is_weight: bool = False
    is_ct: bool = False


@dataclass(frozen=True)
class CheckedFile:
    """A file to be checked: whose it is, of which source, and what is expected of it."""

    subject_id: str
    source: str
    info: SourceInfo
    image: ImageRef

    @property
    def path(self) -> Path:
        """How messages call it."""
        return Path(self.image.name)
