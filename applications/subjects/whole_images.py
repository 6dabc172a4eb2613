"""Tasks with one value per image learn from whole images: what stands in the way where windows are parts of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sfgkeras.applications.subjects.memory import prepared_shape
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.tasks.table import image_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.tables.samplers import SAMPLERS

Name = TypeVar("Name", Path, str)


def partial_windows(config: Config, tasks: Mapping[str, Task], subjects: Iterable[Subject]) -> list[tuple[Path, str]]:
    """Finds images of which a window of training is only a part, from their headers.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        subjects: Those of training and validation.

    Returns:
        A file and a message; none where `[PREPROCESSING]` changes grids, which headers do not tell.
    """
    pipeline = build_steps(config)
    if pipeline is not None and pipeline.changing("grid"):
        return []
    shapes: dict[Path, Sequence[int]] = {}
    for subject in subjects if _whole_image_tasks(tasks) else ():
        try:
            shapes[subject.images[config.image[0]].path] = prepared_shape(config, subject)
        except (DataError, ConfigError):
            continue  # what cannot be read is said by another check
    return [(path, f"{path}: {message}") for path, message in _problems(config, tasks, shapes)]


def refuse_partial_windows(config: Config, tasks: Mapping[str, Task], subjects: Iterable[PreparedSubject]) -> None:
    """Refuses prepared subjects of which a window of training is only a part.

    Raises:
        DataError: If there is one; says what to set.
    """
    shapes = {subject.subject_id: subject.image.shape[:3] for subject in subjects}
    for subject_id, message in _problems(config, tasks, shapes):
        raise DataError(f"subject {subject_id!r}: {message}")


def _whole_image_tasks(tasks: Mapping[str, Task]) -> list[str]:
    return [name for name, task in image_tasks(tasks).items() if not (task.is_per_window or task.is_map)]


def _problems(
    config: Config, tasks: Mapping[str, Task], shapes: Mapping[Name, Sequence[int]]
) -> list[tuple[Name, str]]:
    """Returns the first image that is larger than a window, with what is wrong and how many others there are."""
    names, window = _whole_image_tasks(tasks), config.window_size
    is_resized = SAMPLERS[config.network.window_sampling].whole
    wrong = [
        name
        for name, shape in shapes.items()
        if any(size != own for size, own in zip(window, shape, strict=True) if size == 1 or not is_resized)
    ]
    if not names or not wrong:
        return []
    shape, size = (" x ".join(map(str, sizes)) for sizes in (shapes[wrong[0]], window))
    others = f" ({len(wrong) - 1} others likewise)" if len(wrong) > 1 else ""
    remedy = "a 3-D window" if is_resized else "window_sampling = resize in [NETWORK], a window as large as the images"
    message = (
        f"as the network sees it the image has {shape} voxels{others}, and a window {size}: a part of it does not tell "
        f"what [{config.section_of(names[0])}] has one value per image for; write {remedy}, or per = window there"
    )
    return [(wrong[0], message)]
