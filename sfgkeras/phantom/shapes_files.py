"""The animals of `shapes` on the disk: a folder of pictures and a table, or HDF5 files for every phase."""

import contextlib
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sfgkeras.data.hdf5.writer import PHASE_FOLDERS, writing_rows
from sfgkeras.data.subjects import write_split
from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.phantom.shapes import Picture, build_picture

Progress = Callable[[int, int], None]

TABLE, SPLIT = "subjects.csv", "split.csv"
COLUMNS = ("subject_id", "kind", "x_min", "y_min", "x_max", "y_max")
TARGETS = ("masks", "kinds", "boxes")
DATA_SETS = ("images", "masks", "binary", "bboxes")
HELD_OUT = 0.15  # part of the subjects for validation, and for inference


def phases(num_subjects: int) -> dict[str, range]:
    """Returns which subjects are for training (the first), validation and inference (the last)."""
    held_out = round(HELD_OUT * num_subjects)
    first, second = num_subjects - 2 * held_out, num_subjects - held_out
    return {
        "training": range(first),
        "validation": range(first, second),
        "inference": range(second, num_subjects),
    }


def write_pictures(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/shape_0000.png`, `masks/shape_0000.png` and so on, a table and a split.

    The table, `subjects.csv`, has the columns `COLUMNS`: 0 for a cat and 1 for a dog, and the box in pixels.
    `split.csv` says which subjects are for which phase; it can be the `dataset_split_file` of a run.

    Args:
        folder: Created if it does not exist.
        num_subjects: How many subjects.
        size: A key of `shapes.SIDES`.
        seed: The same seed gives the same files.
        overwrite: Whether files that are there already may be replaced.
        progress: Called with the number of subjects drawn and their total, after each.

    Returns:
        The files written.

    Raises:
        DataError: If a file is there already and may not be replaced; nothing is written then.
        ValueError: If the number of subjects is not positive, or the size is unknown.
    """
    return _write_pictures(folder, num_subjects, size, seed, overwrite, progress, lambda _: set(TARGETS))


def write_disjoint_pictures(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes what `write_pictures` writes, as three data sets that were labelled for one task each.

    Every third pair of subjects has masks, every third one kinds, and every third one boxes; cells of the table that
    tell nothing are empty.

    Returns:
        The files written.
    """
    # Kinds take turns, so that both are in every pair.
    return _write_pictures(
        folder, num_subjects, size, seed, overwrite, progress, lambda number: {TARGETS[number // 2 % len(TARGETS)]}
    )


def _write_pictures(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str,
    seed: int,
    overwrite: bool,
    progress: Progress | None,
    known: Callable[[int], set[str]],
) -> list[Path]:
    """Writes pictures, and of each subject those targets that are known of it."""
    from PIL import Image

    folder = Path(folder)
    names = [f"shape_{number:04d}" for number in range(num_subjects)]
    pictures = [
        folder / kind / f"{name}.png"
        for number, name in enumerate(names)
        for kind in ("images", *({"masks"} & known(number)))
    ]
    files = [*pictures, folder / TABLE, folder / SPLIT]
    prepare_files(files, num_subjects, overwrite)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, picture in enumerate(_drawn(num_subjects, size, seed, progress)):
        name, told = names[number], known(number)
        for kind, array in (("images", picture.image), *((("masks", picture.mask),) if "masks" in told else ())):
            with replacing(folder / kind / f"{name}.png") as stream:
                Image.fromarray(array).save(stream, format="png")
        box = [f"{edge:g}" for edge in picture.box] if "boxes" in told else [""] * len(picture.box)
        writer.writerow([name, picture.kind if "kinds" in told else "", *box])
    with replacing(folder / TABLE) as stream:
        stream.write(table.getvalue().encode())
    write_split(
        folder / SPLIT, {phase: [names[i] for i in subjects] for phase, subjects in phases(num_subjects).items()}
    )
    return files


def write_hdf5(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `train/images.h5`, `masks.h5`, `binary.h5` and `bboxes.h5`, and the same in `val` and `test`.

    Each file has one data set of its own name, subjects first: images `(N, rows, columns, 3)` and masks
    `(N, rows, columns, 1)` uint8, binary `(N, 1)` uint8 with 0 for a cat and 1 for a dog, bboxes `(N, 4)` float32
    with x_min, y_min, x_max, y_max in pixels. A phase without subjects has no files. The subjects, those of all phases
    (`phases`), are the ones that `write_pictures` writes with the same arguments, and so is what is raised.

    Returns:
        The files written.
    """
    folder = Path(folder)
    wanted = {phase: subjects for phase, subjects in phases(num_subjects).items() if len(subjects)}
    places = {phase: {name: folder / PHASE_FOLDERS[phase] / f"{name}.h5" for name in DATA_SETS} for phase in wanted}
    files = [path for paths in places.values() for path in paths.values()]
    prepare_files(files, num_subjects, overwrite)
    pictures = _drawn(num_subjects, size, seed, progress)
    with contextlib.ExitStack() as stack:
        for phase, subjects in wanted.items():
            append = stack.enter_context(writing_rows(places[phase], len(subjects)))
            for picture in itertools.islice(pictures, len(subjects)):
                append(
                    {
                        "images": picture.image,
                        "masks": picture.mask[..., None],
                        "binary": np.array([picture.kind], np.uint8),
                        "bboxes": picture.box,
                    }
                )
    return files


def _drawn(num_subjects: int, size: str, seed: int, progress: Progress | None) -> Iterator[Picture]:
    """Yields the subjects in order, which is that of the phases."""
    for number in range(num_subjects):
        picture = build_picture(seed, number, size)
        if progress is not None:
            progress(number + 1, num_subjects)
        yield picture


def prepare_files(files: list[Path], num_subjects: int, overwrite: bool) -> None:
    """Refuses what cannot be, and makes the folders of some files."""
    if num_subjects < 1:
        raise ValueError(f"num_subjects = {num_subjects!r} must be 1 or more")
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        raise DataError(
            f"{existing[0]}: exists already, as do {len(existing) - 1} more of the files to be written; "
            "choose another folder or allow overwriting"
        )
    for parent in dict.fromkeys(file.parent for file in files):
        parent.mkdir(parents=True, exist_ok=True)
