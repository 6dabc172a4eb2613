"""Images that are no files of their own, such as rows of HDF5 files, as NIfTI files: preprocessing reads files."""

import glob
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from sfgkeras.data.nifti import write_image
from sfgkeras.data.references import ImageFile, ImageRef

ORIGINALS = ".originals"
"""Folder of them below `[PREPROCESSING] output`."""
_DIGITS = 12  # of a fingerprint, in a name; others of the same subject are of images that it had before


def unpack_images(images: Mapping[str, ImageRef], folder: Path) -> dict[str, Path]:
    """Returns a file for each image: its own, or a NIfTI file that is written where it is not there yet.

    Args:
        images: Images by subject id.
        folder: Where files are written; made if missing. What it holds of earlier content of an image is removed.

    Raises:
        DataError: If an image cannot be read, or a file not be written.
    """
    return {
        subject_id: image.path if isinstance(image, ImageFile) else _unpack(subject_id, image, folder)
        for subject_id, image in images.items()
    }


def _unpack(subject_id: str, image: ImageRef, folder: Path) -> Path:
    start = quote(subject_id, safe=" ")
    path = folder / f"{start}_{image.fingerprint()[:_DIGITS]}.nii.gz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        read = image.read()
        write_image(path, read.array, read.affine)
        for other in folder.glob(f"{glob.escape(start)}_{'[0-9a-f]' * _DIGITS}.nii.gz"):
            if other != path:
                other.unlink(missing_ok=True)
    return path
