"""Where the images of some subjects speak for their classes, as inference has written it."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sfgkeras.analysis.class_map_figures import ShownMaps
from sfgkeras.analysis.pictures import PLANES, canonical, radiological_slice
from sfgkeras.applications.inference.class_maps import class_map_path
from sfgkeras.applications.records.files import VALUES_FILE
from sfgkeras.applications.report.volumes import RunData
from sfgkeras.applications.tasks.classification import ClassificationTask
from sfgkeras.data.nifti import read_image
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter

PLANE = "axial"


def classifications(data: RunData) -> dict[str, ClassificationTask]:
    """Returns the tasks of classes of a run."""
    return {name: task for name, task in data.tasks.items() if isinstance(task, ClassificationTask)}


def mapped_subjects(data: RunData) -> list[Subject]:
    """Returns the subjects with a map of any task, those that were kept for inference first."""
    return [
        subject
        for subject in data.cohort.phase("inference", "validation", "training")
        if any(class_map_path(data.config, subject.subject_id, name).is_file() for name in classifications(data))
    ]


def show_class_maps(data: RunData, count: int, reporter: Reporter) -> list[ShownMaps]:
    """Reads some subjects' maps; a subject whose files cannot be used is left out with a warning."""
    shown = []
    told = _told(data.config.inference.save_seg_dir / VALUES_FILE)
    for subject in mapped_subjects(data)[:count]:
        try:
            shown.append(_show(data, subject, told.get(subject.subject_id, {})))
        except DataError as error:
            reporter.warning(f"the report leaves out the maps of {subject.subject_id}: {error}")
    return shown


def _show(data: RunData, subject: Subject, told: Mapping[str, str]) -> ShownMaps:
    config = data.config
    source = subject.images[config.image[0]]
    image = source.read()
    grey = image.array.mean(axis=-1) if image.array.ndim == 4 else image.array
    volumes = {}
    for name in classifications(data):
        path = class_map_path(config, subject.subject_id, name)
        if path.is_file():
            volumes[name] = read_image(path).array
            if volumes[name].shape != grey.shape:
                raise DataError(f"{path}: has {volumes[name].shape} voxels, its image {source} {grey.shape}")

    def cut(volume: np.ndarray, number: int) -> np.ndarray:
        if source.is_photo:
            return np.asarray(volume[:, :, 0])
        return radiological_slice(canonical(volume, image.affine)[0], PLANE, number)

    # The slice of the first map's highest place.
    first, axis = canonical(next(iter(volumes.values())), image.affine)[0], PLANES[PLANE]
    number = int(np.unravel_index(int(np.argmax(first)), first.shape)[axis])
    names = {}
    for name, task in classifications(data).items():
        labels = dict(zip(map(str, task.class_labels), task.class_names, strict=True))
        names[name] = labels.get(told.get(name, ""), told.get(name, ""))
    title = subject.subject_id if first.shape[axis] == 1 else f"{subject.subject_id}, {PLANE} {number + 1}"
    return ShownMaps(title, cut(grey, number), {name: cut(volume, number) for name, volume in volumes.items()}, names)


def _told(path: Path) -> dict[str, dict[str, str]]:
    """Returns the rows of the table of values by subject; none where there is no table."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["subject_id"]: row for row in csv.DictReader(stream)}
    except (OSError, KeyError):
        return {}
