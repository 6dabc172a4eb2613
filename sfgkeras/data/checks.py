"""Looks at all files before anything is computed from them, and lists everything that is wrong at once.

Headers first, which is fast and finds most; then, if wanted, the voxels of those files whose headers are
sound.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sfgkeras.data.file_search import find_files
from sfgkeras.data.grids import Grid, describe_grid, overlaps, resampled_shape, turned_grid
from sfgkeras.data.image_formats import files_beside, series_files, times
from sfgkeras.data.nifti import Header
from sfgkeras.data.references import ImageRef, references
from sfgkeras.data.subjects import Subject, match_subjects, read_file_list, unmatched_ids
from sfgkeras.errors import ConfigError, DataError, counted

_SHOWN_LABELS = 5
_MANY_UNUSED = 2

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Found = TypeVar("Found")


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
class _File:
    subject_id: str
    source: str
    info: SourceInfo
    image: ImageRef

    @property
    def path(self) -> Path:
        return Path(self.image.name)


def find_all_files(
    searches: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, dict[str, ImageRef]], list[Problem]]:
    """Finds the files of all sources; a source that cannot be found becomes a problem, not the end.

    Args:
        searches: For each source either `{"csv_file": path}` or the arguments of `find_files`.

    Returns:
        The image of each id for each source (empty for one with a problem), and the problems.
    """
    tables: dict[str, dict[str, ImageRef]] = {}
    problems: list[Problem] = []
    for source, search in searches.items():
        tables[source] = {}
        try:
            if search.get("csv_file"):
                tables[source] = references(read_file_list(search["csv_file"]))
            else:
                arguments = {key: value for key, value in search.items() if key != "csv_file"}
                tables[source] = references(find_files(**arguments))
        except (DataError, ConfigError) as error:
            where = search.get("csv_file") or next(iter(search.get("path_to_search", ())), "")
            problems.append(Problem("error", Path(where), f"[{source}] {error}"))
    return tables, problems


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
        _File(subject.subject_id, source, info, subject.images[source])
        for subject in subjects
        for source, info in sources.items()
        if source in subject.images
    ]
    counter = _Counter(len(files) * (2 if read_voxels else 1), progress)
    with ThreadPoolExecutor(max_workers=max(1, num_threads)) as pool:
        headers = _map(pool, _try_header, files, counter)
        for file, header in zip(files, headers, strict=True):
            if isinstance(header, Problem):
                problems.append(header)
                continue
            problems += _header_warnings(file, header)
            if file.info.role == "image" and window_size is not None:
                problems += _check_window(file, header, window_size, volume_padding)
        problems += _check_grids(files, headers, resampled)
        if read_voxels:
            sound = [file for file, header in zip(files, headers, strict=True) if isinstance(header, Header)]
            counter.skip(len(files) - len(sound))
            highest: dict[str, list[int]] = {}
            for file, (found, label) in zip(sound, _map(pool, _check_voxels, sound, counter), strict=True):
                problems += found
                if label is not None:
                    highest.setdefault(file.source, []).append(label)
            problems += _check_unused_classes(sound, highest)
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


def _try_header(file: _File) -> Header | Problem:
    try:
        return file.image.header()
    except (DataError, ConfigError) as error:
        return Problem("error", file.path, str(error))


def _prepared_shape(file: _File, header: Header) -> tuple[int, ...]:
    """Returns the shape after the turning and resampling that the source asks for."""
    grid = turned_grid(header, file.info.axcodes)
    return grid.shape if file.info.pixdim is None else resampled_shape(grid.shape, grid.spacing, file.info.pixdim)


def _header_warnings(file: _File, header: Header) -> list[Problem]:
    """Finds what a header says and may not mean: lengths in other units, two places in space, files beside slices."""
    found = []
    if file.image.path.is_dir():
        beside = files_beside(file.image.path, series_files(file.image.path))
        if beside:
            shown = ", ".join(path.name for path in beside[:3]) + (", ..." if len(beside) > 3 else "")
            found.append(f"has {counted(len(beside), 'file')} beside the slices of its series, not read: {shown}")
    if header.nifti is not None:
        unit = header.nifti.get_xyzt_units()[0]
        if unit in ("micron", "meter"):
            found.append(
                f"says that its lengths are in {unit} ({times([round(size, 4) for size in header.spacing])}); they are "
                "taken as mm: correct xyzt_units, or the sizes of its voxels"
            )
        qform, sform = (header.nifti.get_qform(coded=True)[0], header.nifti.get_sform(coded=True)[0])
        if qform is not None and sform is not None:
            apart = Grid(header.shape[:3], qform).distance(Grid(header.shape[:3], sform))
            # Rounded quaternions cost up to a fifth of a voxel in files that are sound.
            if apart > max(header.spacing) / 2:
                found.append(
                    f"its sform and its qform are up to {apart:.1f} mm apart; the sform is taken: set both to the "
                    "right one"
                )
    return [Problem("warning", file.path, f"{file.path}: {text}") for text in found]


def _check_window(file: _File, header: Header, window_size: Sequence[int], padding: Sequence[int]) -> list[Problem]:
    shape = _prepared_shape(file, header)
    room = [length + 2 * added for length, added in zip(shape, padding, strict=True)]
    if all(window <= length for window, length in zip(window_size, room, strict=True)):
        return []
    padded = f" with volume_padding_size = {', '.join(map(str, padding))}" if any(padding) else ""
    smallest = [max(0, -((length - window) // 2)) for window, length in zip(window_size, shape, strict=True)]
    message = (
        f"{file.path}: is {times(shape)}{padded}, smaller than the window {times(window_size)}; set "
        f"volume_padding_size = {', '.join(map(str, smallest))} or more, "
        f"or spatial_window_size in [{file.source}] to less"
    )
    return [Problem("error", file.path, message)]


def _check_grids(files: Sequence[_File], headers: Sequence[Header | Problem], resampled: bool) -> list[Problem]:
    """Compares every file with the first sound image of its subject."""
    problems = []
    reference: dict[str, tuple[_File, Header]] = {}
    pairs = [(file, header) for file, header in zip(files, headers, strict=True) if isinstance(header, Header)]
    for file, header in pairs:
        if file.info.role == "image":
            reference.setdefault(file.subject_id, (file, header))
    for file, header in pairs:
        image = reference.get(file.subject_id)
        if image is None or image[0] is file:
            continue
        message = _overlap_problem(header, image[1]) if resampled else _grid_problem((file, header), image)
        if message:
            problems.append(Problem("error", file.path, f"{file.path}: {message}"))
    return problems


def _grid_problem(one: tuple[_File, Header], image: tuple[_File, Header]) -> str:
    """Says how two grids differ that should be one, or returns an empty string."""
    (file, header), (image_file, image_header) = one, image
    grid = turned_grid(header, file.info.axcodes)
    sections = f"[{file.source}] and [{image_file.source}]"
    if grid.is_same(turned_grid(image_header, image_file.info.axcodes)):
        if file.info.pixdim == image_file.info.pixdim:
            return ""
        return (
            f"is resampled to pixdim {file.info.pixdim} but its image {image_file.path} to "
            f"{image_file.info.pixdim}; give {sections} the same pixdim"
        )
    if turned_grid(header, "RAS").is_same(turned_grid(image_header, "RAS")):
        return (
            f"is stored as {''.join(header.axcodes)} but its image {image_file.path} as "
            f"{''.join(image_header.axcodes)}; set the same axcodes in {sections}"
        )
    return (
        f"its grid ({describe_grid(header)}) is not that of its image {image_file.path} "
        f"({describe_grid(image_header)}); resample it to the image, or set pixdim in {sections}"
    )


def _overlap_problem(header: Header, image: Header) -> str:
    """Says so if two volumes have no place in common, or returns an empty string."""
    if overlaps(header, image):
        return ""
    return (
        f"lies outside its image {image.path} ({describe_grid(header)}; {describe_grid(image)}); correct "
        "the origin in its header, or check that both are of one subject"
    )


def _check_voxels(file: _File) -> tuple[list[Problem], int | None]:
    """Returns what is wrong with a file's voxels, and the highest label of a label map."""
    try:
        if file.info.role == "labels":
            labels = file.image.read_labels().array
            return _check_labels(file, labels), int(labels.max())
        return _check_values(file, file.image.read().array), None
    except DataError as error:
        return [Problem("error", file.path, str(error))], None


def _check_unused_classes(files: Sequence[_File], highest: Mapping[str, Sequence[int]]) -> list[Problem]:
    """Warns where several of the highest classes occur in no file."""
    problems = []
    for source, found in highest.items():
        first = next(file for file in files if file.source == source)
        count, top = first.info.num_classes, max(found)
        if count is not None and count - (top + 1) >= _MANY_UNUSED:
            message = (
                f"{first.path}: num_classes = {count}, and the highest label of {len(found)} files in [{source}] is "
                f"{top}: classes {top + 1} to {count - 1} are never seen; set num_classes = {top + 1}, or look for "
                "what is missing"
            )
            problems.append(Problem("warning", first.path, message))
    return problems


def _check_labels(file: _File, labels: np.ndarray) -> list[Problem]:
    low, high = int(labels.min()), int(labels.max())
    count = file.info.num_classes
    problems = []
    if count is not None and (low < 0 or high >= count):
        outside = np.unique(labels[(labels < 0) | (labels >= count)])
        shown = ", ".join(map(str, outside[:_SHOWN_LABELS])) + (", ..." if len(outside) > _SHOWN_LABELS else "")
        held = f"{file.path}: holds {counted(len(outside), 'label')} ({shown}) outside 0 to {count - 1}"
        message = (
            f"{held}; set num_classes = {high + 1} or more, or renumber the labels"
            if low >= 0
            else f"{held}; renumber them"
        )
        problems.append(Problem("error", file.path, message))
    if low == high:
        message = f"{file.path}: holds the label {low} only; check that it is the right file"
        problems.append(Problem("warning", file.path, message))
    return problems


def _check_values(file: _File, values: np.ndarray) -> list[Problem]:
    finite = np.isfinite(values)
    if not finite.all():
        nan = int(np.isnan(values).sum())
        infinite = int(values.size - finite.sum() - nan)
        message = (
            f"{file.path}: {nan} of its {values.size} voxels are NaN and {infinite} are infinite; "
            "replace them by numbers, e.g. by 0"
        )
        return [Problem("error", file.path, message)]
    low, high = float(values.min()), float(values.max())
    if file.info.is_weight and low < 0:
        message = f"{file.path}: holds {int((values < 0).sum())} negative weights, down to {low:g}; write 0 or more"
        return [Problem("error", file.path, message)]
    if file.info.is_weight and high == 0:
        message = f"{file.path}: holds no weight above 0; give the voxels that count one, or leave the subject out"
        return [Problem("error", file.path, message)]
    if file.info.is_weight:
        return []
    if low == high and file.info.must_vary:
        message = f"{file.path}: holds the value {low:g} only, which whitening cannot bring to unit variance; check it"
        return [Problem("error", file.path, message)]
    if low == high:
        message = f"{file.path}: holds the value {low:g} only; check that it is the right file"
        return [Problem("warning", file.path, message)]
    if file.info.is_ct and low > _LOWEST_WITH_OFFSET and float(np.median(values[values > low])) > _TISSUE_WITH_OFFSET:
        message = (
            f"{file.path}: holds values from {low:g} to {high:g} and no air: they look like Hounsfield units with 1024 "
            "added; subtract it, or write the offset into scl_inter; for what is no CT, e.g. an ADC map, remove "
            f"scaling = ct from [{file.source}]"
        )
        return [Problem("warning", file.path, message)]
    if file.info.is_ct and low >= 0:
        message = (
            f"{file.path}: has no value below 0 (from {low:g} to {high:g}) and cannot be in Hounsfield units, where "
            f"air and fat are below 0; remove scaling = ct from [{file.source}], e.g. for an ADC map, or find the CT"
        )
        return [Problem("warning", file.path, message)]
    return []


_LOWEST_WITH_OFFSET, _TISSUE_WITH_OFFSET = -50.0, 500.0
"""A CT whose air is at 0 has nothing far below, and its soft tissue lies about 1064."""
