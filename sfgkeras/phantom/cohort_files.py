"""What the cohorts have in common: a generator for each subject, phases, and files that replace nothing unasked."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.nifti import write_image
from sfgkeras.data.subjects import write_split
from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.phantom.kinds import Progress

TABLE, SPLIT = "subjects.csv", "split.csv"
HELD_OUT = 0.15  # part of the subjects for validation, and for inference


@dataclass(frozen=True)
class Drawn:
    """What the files hold of one subject.

    Attributes:
        parts: By the name of each file: a picture, uint8, or a volume `(x, y)`, `(x, y, z)` or with more axes.
        affine: Of the volumes, voxel to RAS mm, `(4, 4)`.
        cells: The subject's row of the table, without its name.
    """

    parts: Mapping[str, np.ndarray]
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    cells: Sequence[Any] = ()


def subject_generator(seed: int, subject: int, size: str, sizes: Mapping[str, Any]) -> np.random.Generator:
    """Returns a subject's own source of randomness: the same whatever the number of subjects.

    Raises:
        ValueError: If the size is none of `sizes`.
    """
    if size not in sizes:
        raise ValueError(f"size = {size!r} is not one of {', '.join(sizes)}")
    return np.random.default_rng(np.random.SeedSequence([seed, subject]))


def phases(num_subjects: int) -> dict[str, range]:
    """Returns which subjects are for training (the first), validation and inference (the last)."""
    held_out = round(HELD_OUT * num_subjects)
    first, second = num_subjects - 2 * held_out, num_subjects - held_out
    return {
        "training": range(first),
        "validation": range(first, second),
        "inference": range(second, num_subjects),
    }


def prepare_files(files: Sequence[Path], num_subjects: int, overwrite: bool) -> None:
    """Refuses what cannot be, and makes the folders of some files.

    Raises:
        DataError: If a file is there already and may not be replaced.
        ValueError: If the number of subjects is not positive.
    """
    if num_subjects < 1:
        raise ValueError(f"num_subjects = {num_subjects!r} must be 1 or more")
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        others = f", as do {len(existing) - 1} more of the files to be written" if len(existing) > 1 else ""
        raise DataError(f"{existing[0]}: exists already{others}; choose another folder or allow overwriting")
    for parent in dict.fromkeys(file.parent for file in files):
        parent.mkdir(parents=True, exist_ok=True)


def write_cohort(
    folder: Path,
    subjects: Mapping[str, Mapping[str, Path]],
    draw: Callable[[int], Drawn],
    overwrite: bool,
    progress: Progress | None,
    columns: Sequence[str] = (),
    splits: bool = False,
) -> list[Path]:
    """Draws subjects one by one and writes their files, a table of them, and a split.

    Args:
        folder: Where table and split go.
        subjects: Of every subject, by name, its files, `.png` or `.nii.gz`, by the name of what they hold.
        draw: Draws the subject of a number.
        overwrite: Whether files that are there already may be replaced.
        progress: Called with the number of subjects drawn and their total, after each.
        columns: Of the table, after `subject_id`; none for no table.
        splits: Whether to write which subjects are for which phase.

    Returns:
        The files written.

    Raises:
        DataError: If a file is there already and may not be replaced; nothing is written then.
        ValueError: If there is no subject.
    """
    files = [path for paths in subjects.values() for path in paths.values()]
    files += [folder / TABLE] if columns else []
    files += [folder / SPLIT] if splits else []
    prepare_files(files, len(subjects), overwrite)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["subject_id", *columns])
    for number, (name, paths) in enumerate(subjects.items()):
        drawn = draw(number)
        for part, path in paths.items():
            _write_part(path, drawn.parts[part], drawn.affine)
        writer.writerow([name, *drawn.cells])
        if progress is not None:
            progress(number + 1, len(subjects))
    if columns:
        with replacing(folder / TABLE) as stream:
            stream.write(table.getvalue().encode())
    if splits:
        names = list(subjects)
        write_split(folder / SPLIT, {phase: [names[i] for i in found] for phase, found in phases(len(names)).items()})
    return files


def _write_part(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    if path.suffix != ".png":
        write_image(path, array if array.ndim > 2 else array[..., None], affine)
        return
    from PIL import Image

    with replacing(path) as stream:
        Image.fromarray(array).save(stream, format="png")
