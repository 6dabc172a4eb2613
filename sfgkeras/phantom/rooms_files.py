"""The rooms on the disk: HDF5 files for every phase."""

import contextlib
import os
from pathlib import Path

from sfgkeras.data.hdf5.writer import PHASE_FOLDERS, writing_rows
from sfgkeras.phantom.cohort_files import phases, prepare_files
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.rooms import build_room

DATA_SETS = ("images", "depth", "normals", "labels")


def write_rooms(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `train/images.h5`, `depth.h5`, `normals.h5` and `labels.h5`, and the same in `val` and `test`.

    Each file has one data set of its own name, subjects first: images `(N, rows, columns, 3)` uint8, depth in m
    `(N, rows, columns, 1)` float32 with 0 in holes, normals `(N, rows, columns, 3)` float32 with x to the right, y down
    and z into the picture, 0, 0, 0 in holes, labels `(N, rows, columns, 1)` uint8: see `rooms.SURFACES`.

    Arguments, results and errors are those of `kinds.Writer`.
    """
    folder = Path(folder)
    wanted = {phase: subjects for phase, subjects in phases(num_subjects).items() if len(subjects)}
    places = {phase: {name: folder / PHASE_FOLDERS[phase] / f"{name}.h5" for name in DATA_SETS} for phase in wanted}
    files = [path for paths in places.values() for path in paths.values()]
    prepare_files(files, num_subjects, overwrite)
    with contextlib.ExitStack() as stack:
        for phase, subjects in wanted.items():
            append = stack.enter_context(writing_rows(places[phase], len(subjects)))
            for number in subjects:
                room = build_room(seed, number, size)
                append(
                    {
                        "images": room.image,
                        "depth": room.depth[..., None],
                        "normals": room.normals,
                        "labels": room.labels[..., None],
                    }
                )
                if progress is not None:
                    progress(number + 1, num_subjects)
    return files
