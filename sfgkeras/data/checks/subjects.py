"""Looks at the files of all subjects, and lists everything that is wrong at once.

Headers first, which is fast and finds most; then, if wanted, the voxels of those files whose headers are
sound.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from sfgkeras.data.checks.headers import check_grids, check_window, header_warnings, try_header
from sfgkeras.data.checks.problems import CheckedFile, Problem, SourceInfo
from sfgkeras.data.checks.voxels import check_unused_classes, check_voxels
from sfgkeras.data.nifti import Header
from sfgkeras.data.references import ImageRef
from sfgkeras.data.subjects import Subject, match_subjects, unmatched_ids
from sfgkeras.errors import DataError

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Found = TypeVar("Found")


def check_subjects(
    subjects: Sequence[Subject],
    sources: Mapping[str, SourceInfo],
    *,
    tables: Mapping[str, Mapping[str, ImageRef]] | None = None,
    window_size: Sequence[int] | None = None,
    volume_padding: Sequence[int] = (0, 0, 0),
    resampled: bool = False,
    read_voxels: bool = True,
    num_threads: int = 4,
    progress: Progress | None = None,
) -> list[Problem]:
    """Checks the files of all subjects and returns every problem found.

    Found are files that are missing, unreadable, truncated, not 3-D or on another grid than the subject's
    first image; ids that match nothing and ids that occur twice; windows larger than a volume; and in the
    voxels (`read_voxels`) damage at the end of files, NaN and infinity, labels that are not integers or not
    below `num_classes`, and constant images (a warning).

    Args:
        subjects: The subjects, with a file for each source.
        sources: What is expected of each source; sources that are not named here are not checked.
        tables: For each source the image of each id, to find ids that are missing in some source.
        window_size: Window of the network in voxels; an axis of 0 stands for the whole volume. None checks no
            windows.
        volume_padding: Voxels added on both sides of each axis.
        resampled: Whether the sources of a subject are resampled to one grid, so that theirs may differ as
            long as they overlap.
        read_voxels: Whether to read the voxels, which takes as long as reading all files.
        num_threads: Files read at a time.
        progress: Called as `progress(done, total)` after each file; total counts both passes.

    Returns:
        The problems, those of matching first, then subject by subject; empty if all is well.
    """
    problems: list[Problem] = []
    files = [
        CheckedFile(subject.subject_id, source, info, subject.images[source])
        for subject in subjects
        for source, info in sources.items()
        if source in subject.images
    ]
    counter = _Counter(len(files) * (2 if read_voxels else 1), progress)
    with ThreadPoolExecutor(max_workers=max(1, num_threads)) as pool:
        headers = _map(pool, try_header, files, counter)
        for file, header in zip(files, headers, strict=True):
            if isinstance(header, Problem):
                problems.append(header)
                continue
            problems += header_warnings(file, header)
            if file.info.role == "image" and window_size is not None:
                problems += check_window(file, header, window_size, volume_padding)
        problems += check_grids(files, headers, resampled)
        if read_voxels:
            sound = [file for file, header in zip(files, headers, strict=True) if isinstance(header, Header)]
            counter.skip(len(files) - len(sound))
            highest: dict[str, list[int]] = {}
            for file, (found, label) in zip(sound, _map(pool, check_voxels, sound, counter), strict=True):
                problems += found
                if label is not None:
                    highest.setdefault(file.source, []).append(label)
            problems += check_unused_classes(sound, highest)
    place = {file.path: index for index, file in reversed(list(enumerate(files)))}
    in_order = sorted(problems, key=lambda problem: place[problem.path])
    return _check_ids(subjects, tables or {}) + in_order


def check_shared_files(subjects: Sequence[Subject], sources: Iterable[str]) -> list[Problem]:
    """Finds files that several subjects of a source have, which is usually a slip in a list; they are warnings."""
    problems = []
    for source in sources:
        users: dict[tuple[Any, ...], list[str]] = {}
        for subject in subjects:
            if source in subject.images:
                users.setdefault(subject.images[source].place, []).append(subject.subject_id)
        problems += [
            Problem(
                "warning",
                Path(path),
                f"{path}: is the file of {len(ids)} subjects in [{source}], e.g. {ids[0]!r} and {ids[1]!r}; give each "
                "subject its own",
            )
            for (path, *_), ids in users.items()
            if len(ids) > 1
        ]
    return problems


class _Counter:
    def __init__(self, total: int, progress: Progress | None):
        self.done, self.total, self.progress = 0, total, progress

    def skip(self, number: int) -> None:
        """Takes files off the total that the second pass does not read."""
        self.total -= number

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _map(
    pool: ThreadPoolExecutor, work: Callable[[Item], Found], items: Iterable[Item], counter: _Counter
) -> list[Found]:
    """Returns the results in the order of the items, counting them as they come."""
    futures = [pool.submit(work, item) for item in items]
    try:
        for _ in as_completed(futures):
            counter.step()
    except BaseException:  # an interrupt need not wait for files that nobody will look at
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]


def _check_ids(subjects: Sequence[Subject], tables: Mapping[str, Mapping[str, ImageRef]]) -> list[Problem]:
    problems = []
    if not subjects and not any(tables.values()):
        message = "there are no subjects; check path_to_search and filename_contains of the input sections"
        problems.append(Problem("error", Path(), message))
    elif tables and all(tables.values()):
        try:
            match_subjects(tables)
        except DataError as error:  # one line says it better than one for each id
            return [Problem("error", Path(next(iter(next(iter(tables.values())).values())).name), str(error))]
    for source, ids in unmatched_ids(tables).items() if tables else ():
        for subject_id in ids if tables[source] else ():
            path = Path(next(images[subject_id] for images in tables.values() if subject_id in images).name)
            message = (
                f"{path}: subject {subject_id!r} has no file in [{source}]; add it, exclude the subject by "
                "filename_not_contains, or make its ids equal by filename_removefromid"
            )
            problems.append(Problem("error", path, message))
    for subject_id, count in Counter(subject.subject_id for subject in subjects).items():
        if count > 1:
            named = [subject for subject in subjects if subject.subject_id == subject_id]
            path = next((Path(image.name) for subject in named for image in subject.images.values()), Path())
            message = f"{path}: its subject id {subject_id!r} occurs {count} times; give each subject its own"
            problems.append(Problem("error", path, message))
    return problems
