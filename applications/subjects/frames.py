"""How files count places in a subject's own image."""

from typing import cast

import numpy as np

from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.config import Config
from sfgkeras.data.points import Frame
from sfgkeras.data.references import ImageRef
from sfgkeras.data.subjects import Subject

PHOTO_AXES = (1, 0, 2)
"""In a photo x runs along the columns, the second axis of its array, and y down the rows, the first one."""


def file_axes(image: ImageRef) -> tuple[int, int, int]:
    """Returns the axes of an image's array that files call x, y and z."""
    return PHOTO_AXES if image.is_photo else (0, 1, 2)


def frame_of(config: Config, subject: Subject) -> Frame:
    """Returns how files count places in a subject's first image.

    Raises:
        DataError: If its header cannot be read.
    """
    image = subject.images[config.image[0]]
    header = image.header()
    x, y, z = header.shape[:3]
    return Frame((x, y, z), file_axes(image), header.affine)


def read_as_written(config: Config, cohort: Cohort, task: PointTarget, subject: Subject) -> np.ndarray:
    """Reads a subject's places as results are written.

    Raises:
        DataError: If there are none, or they lie outside of the image; names the table.
    """
    frame = frame_of(config, subject)

    def read(*texts: str) -> np.ndarray:
        return task.as_written(task.prepare_value(*texts), frame)

    return cast(np.ndarray, cohort.value(subject, task, read))
