"""The regions that evaluation measures besides the whole image: a mask from a file, and the body."""

import numpy as np
from scipy.ndimage import label

from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.nifti import read_header
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.foreground import fill_holes, foreground_mask
from sfgkeras.preprocessing.resampling import resample_like

BODY = "body"


def evaluation_masks(config: Config, task: Task, subject: Subject) -> dict[str, np.ndarray]:
    """Reads the masks of `[EVALUATION]` on the grid of a subject's prediction, `(x, y, z)` bool by name.

    Raises:
        DataError: If the subject has no mask, or a file cannot be used.
    """
    evaluation, found = config.evaluation, {}
    if evaluation.mask is None and not evaluation.body:
        return {}
    grid = read_header(prediction_path(config, subject.subject_id, task.name))
    shape, affine = tuple(int(n) for n in grid.shape[:3]), grid.affine
    if evaluation.mask is not None:
        name = evaluation.mask
        if name not in subject.images:
            raise DataError(
                f"subject {subject.subject_id!r} has no file in [{name}], the mask of [EVALUATION]; add it, or choose "
                "other subjects with --dataset"
            )
        mask = subject.images[name].read_labels()
        inside = (mask.array if mask.array.ndim == 3 else mask.array[..., 0]) != 0
        found[name.lower()] = resample_like(inside.astype(np.uint8), mask.affine, shape, affine, 0) > 0
    if evaluation.body:
        found[BODY] = _body(config, subject, shape, affine)
    return found


def _body(config: Config, subject: Subject, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    reference = subject.images[config.image[0]]
    image = reference.read()
    grey = image.array if image.array.ndim == 3 else image.array[..., 0]
    try:
        body = largest_part(foreground_mask(grey, config.network.foreground_type))
    except DataError as error:
        raise DataError(f"{reference}: [EVALUATION] body = yes: {error}") from error
    return resample_like(body.astype(np.uint8), image.affine, shape, affine, 0) > 0


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Returns the largest connected part of a mask `(x, y, z)`, its holes filled; faces, edges and corners connect."""
    parts, count = label(mask, np.ones((3, 3, 3), bool))
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = parts == sizes.argmax()
    return fill_holes(mask)
