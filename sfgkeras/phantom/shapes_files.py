"""The animals of `shapes` on the disk: a folder of pictures and a table, or HDF5 files for every phase."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sfgkeras.data.hdf5.writer import PHASE_FOLDERS, writing_rows
from sfgkeras.phantom.cohort_files import Drawn, phases, prepare_files, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.shapes import Picture, build_picture

COLUMNS = ("kind", "x_min", "y_min", "x_max", "y_max")
TARGETS = ("masks", "kinds", "boxes")
DATA_SETS = ("images", "masks", "binary", "bboxes")


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

    Arguments, results and errors are those of `kinds.Writer`.
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

    def draw(number: int) -> Drawn:
        picture, told = build_picture(seed, number, size), known(number)
        box = [f"{edge:g}" for edge in picture.box] if "boxes" in told else [""] * len(picture.box)
        kind = picture.kind if "kinds" in told else ""
        return Drawn({"images": picture.image, "masks": picture.mask}, cells=(kind, *box))

    folder = Path(folder)
    files = {
        name: {kind: folder / kind / f"{name}.png" for kind in ("images", *({"masks"} & known(number)))}
        for number, name in enumerate(f"shape_{number:04d}" for number in range(num_subjects))
    }
    return write_cohort(folder, files, draw, overwrite, progress, COLUMNS, splits=True)


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
