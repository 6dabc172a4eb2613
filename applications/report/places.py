"""Places in the image, such as boxes, in the report: drawn as the outlines of what they hold."""

from collections.abc import Iterator, Sequence

import numpy as np

from sfgkeras.applications.evaluation import read_values
from sfgkeras.applications.records.files import VALUES_FILE
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.frames import frame_of, read_as_written
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject


def predicted_places(config: Config, task: PointTarget) -> dict[str, np.ndarray]:
    """Returns the predicted places by subject, in voxels of their images; none where inference has not been run.

    Raises:
        DataError: If the table of values has no such columns.
    """
    path = config.inference.save_seg_dir / VALUES_FILE
    return read_values(path, task.columns) if path.is_file() else {}


def drawn_places(
    config: Config, cohort: Cohort, task: PointTarget, subject: Subject, shape: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the true place, where the subject has one, and the predicted one, as masks of its image.

    Args:
        config: The configuration.
        cohort: The subjects.
        task: The task.
        subject: The subject.
        shape: Voxels of its image.

    Yields:
        `truth` or `prediction`, and the voxels that it marks, `(x, y, z)` uint8.

    Raises:
        DataError: If a place cannot be read.
    """
    frame = frame_of(config, subject)
    if cohort.has_target_of(subject, task):
        truth = read_as_written(config, cohort, task, subject)
        yield "truth", task.mask(truth, shape, frame)
    predicted = predicted_places(config, task).get(subject.subject_id)
    if predicted is not None:
        yield "prediction", task.mask(predicted, shape, frame)
