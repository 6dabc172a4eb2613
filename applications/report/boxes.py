"""Boxes in the report: drawn as the outlines of what they hold."""

from collections.abc import Iterator, Sequence

import numpy as np

from sfgkeras.applications.evaluation import read_values
from sfgkeras.applications.records.files import VALUES_FILE
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.frames import frame_of, read_in_voxels
from sfgkeras.applications.tasks.bounding_box import BoundingBoxTask
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject


def predicted_boxes(config: Config, task: BoundingBoxTask) -> dict[str, np.ndarray]:
    """Returns the predicted boxes by subject, in voxels of their images; none where inference has not been run.

    Raises:
        DataError: If the table of values has no such columns.
    """
    path = config.inference.save_seg_dir / VALUES_FILE
    return read_values(path, task.columns) if path.is_file() else {}


def drawn_boxes(
    config: Config, cohort: Cohort, task: BoundingBoxTask, subject: Subject, shape: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the true box, where the subject has one, and the predicted one, as masks of its image.

    Args:
        config: The configuration.
        cohort: The subjects.
        task: The task.
        subject: The subject.
        shape: Voxels of its image.

    Yields:
        `truth` or `prediction`, and the voxels that the box holds, `(x, y, z)` uint8.

    Raises:
        DataError: If a box cannot be read.
    """
    frame = frame_of(config, subject)
    if cohort.has_targets(subject, [task.source]):
        truth = read_in_voxels(config, cohort, task, subject)
        yield "truth", box_mask(frame.box_in_voxels(truth), shape)
    predicted = predicted_boxes(config, task).get(subject.subject_id)
    if predicted is not None:
        yield "prediction", box_mask(frame.box_in_voxels(predicted), shape)


def box_mask(box: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns the voxels whose centres lie in a box, uint8; where it is thinner than a voxel, that of its middle.

    Args:
        box: Low corner, then high corner, in voxels, `(6,)`.
        shape: Voxels along each axis.

    Example:
        >>> box_mask(np.array([-0.5, 0.5, -0.5, 1.5, 2.5, 0.5]), (2, 4, 1))[..., 0].tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    low, high = np.split(np.asarray(box), 2)
    first, last = np.maximum(np.ceil(low), 0).astype(int), np.maximum(np.floor(high) + 1, 0).astype(int)
    thin, middle = last <= first, np.rint((low + high) / 2).astype(int)
    first, last = np.where(thin, np.maximum(middle, 0), first), np.where(thin, np.maximum(middle + 1, 0), last)
    mask = np.zeros(tuple(shape), np.uint8)
    mask[tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))] = 1
    return mask
