"""Reads what the report shows of a subject: input, truth, prediction, difference, labels and uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.analysis.slice_viewer import PHOTO, VECTORS
from sfgkeras.analysis.surfaces import angles_between
from sfgkeras.analysis.uncertainty import ENTROPY, MUTUAL_INFORMATION, STANDARD_DEVIATION
from sfgkeras.analysis.windows import Window, WindowSamples
from sfgkeras.applications.evaluation import read_pair, read_result
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.report.places import drawn_places, predicted_places
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.outputs import VolumeTask
from sfgkeras.applications.tasks.table import voxel_tasks
from sfgkeras.applications.tasks.targets import InputTarget, PointTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.nifti import read_channels, read_image, read_label_map
from sfgkeras.data.references import ImageFile
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError

# Soft tissue and bone; the range that the pelvis fills.
HU_WINDOW = (-200.0, 600.0)
SPREADS = {
    STANDARD_DEVIATION: "standard deviation",
    ENTROPY: "entropy",
    MUTUAL_INFORMATION: "mutual information",
}
IMAGE, TRUTH, PREDICTION, DIFFERENCE, SPREAD, LABELS = "image", "truth", "prediction", "difference", "spread", "labels"
ANGLE = "angle"
COLOUR_LEVELS = (0.0, 255.0)
"""Of photos, which are shown as they are, whatever colours others have."""
COLOURS = {DIFFERENCE: "difference", SPREAD: "inferno", ANGLE: "inferno"}


@dataclass(frozen=True)
class RunData:
    """What the report knows of a run's subjects; it needs no landmarks, no network and no prepared volumes.

    Attributes:
        config: The configuration.
        tasks: The tasks by name.
        cohort: The subjects.
    """

    config: Config
    tasks: Mapping[str, Task]
    cohort: Cohort


@dataclass(frozen=True)
class ShownVolume:
    """One volume of a subject.

    Attributes:
        title: What it is called, e.g. `ct: truth`.
        role: `image`, `truth`, `prediction`, `difference`, `angle`, `spread` or `labels`.
        array: `(x, y, z)`, of vectors and of a photo in colour `(x, y, z, 3)`.
        window: Name of the display window, the same for all subjects; empty for labels.
        owner: Of labels: `truth` or `prediction`.
        task: Name of the task; empty for the input.
    """

    title: str
    role: str
    array: np.ndarray
    window: str = ""
    owner: str = ""
    task: str = ""

    @property
    def colours(self) -> str:
        """How its values become colours."""
        if self.array.ndim == 4:
            return PHOTO if self.role == IMAGE else VECTORS
        return COLOURS.get(self.role, "grey")


@dataclass(frozen=True)
class ShownSubject:
    """A subject's volumes, all on one grid, the input first.

    Attributes:
        name: Its heading.
        affine: Voxel index to RAS mm.
        stored: Whether it is shown as it is stored, like a photo, and not as radiologists look at it.
        volumes: The volumes.
    """

    name: str
    affine: np.ndarray
    stored: bool
    volumes: Sequence[ShownVolume]


def inferred_subjects(run: RunData) -> list[Subject]:
    """Returns the subjects with a predicted volume or place of any task, those that were kept for inference first."""
    maps = voxel_tasks(run.tasks)
    points = [task for task in run.tasks.values() if isinstance(task, PointTarget)]
    placed = {subject_id for task in points for subject_id in predicted_places(run.config, task)}
    return [
        subject
        for subject in run.cohort.phase("inference", "validation", "training")
        if subject.subject_id in placed
        or any(prediction_path(run.config, subject.subject_id, name).is_file() for name in maps)
    ]


def read_subject_volumes(run: RunData, subject: Subject) -> ShownSubject:
    """Reads all volumes of one subject.

    Raises:
        DataError: If an image cannot be read, or results lie on another grid than the image.
    """
    config = run.config
    source = config.image[0]
    image = subject.images[source].read()
    shape = image.array.shape[:3]
    volumes = [_image_volume(source, image.array, subject.images[source].is_colour)]
    for task in voxel_tasks(run.tasks).values():
        path = prediction_path(config, subject.subject_id, task.name)
        if not path.is_file():
            continue
        truth, prediction, known = _read_pair(run, task, subject)
        if prediction.shape[:3] != shape:
            raise DataError(
                f"{path}: has {prediction.shape} voxels, its image {subject.images[source]} {shape}; "
                "run inference again"
            )
        if task.has_directions:
            volumes += _vector_volumes(task, truth, prediction, known)
        elif isinstance(task, LabelledTask):
            volumes += _label_volumes(task, truth, prediction)
        else:
            volumes += _map_volumes(task, truth, prediction, known)
        volumes += _spread_volumes(run, task, subject, shape)
        volumes += _drawn_volumes(run, task, subject)
    for name, points in run.tasks.items():
        if isinstance(points, PointTarget):
            volumes += [
                ShownVolume(f"{name}: {owner}", LABELS, mask, owner=owner, task=name)
                for owner, mask in drawn_places(config, run.cohort, points, subject, shape)
            ]
    phase = next((name for name, ids in run.cohort.split.items() if subject.subject_id in ids), "")
    stored = subject.images[source].is_photo
    return ShownSubject(f"{subject.subject_id} ({phase})", image.affine, stored, volumes)


def _image_volume(source: str, array: np.ndarray, is_colour: bool) -> ShownVolume:
    """Returns what the network saw: a photo in its colours, all else in grey, of several channels their mean."""
    if is_colour and (array[..., :1] != array[..., 1:3]).any():
        return ShownVolume(source, IMAGE, array[..., :3], f"{source} in colour")
    return ShownVolume(source, IMAGE, array.mean(axis=-1) if array.ndim == 4 else array, source)


def _read_pair(
    run: RunData, task: VolumeTask, subject: Subject
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Returns truth (None where there is none), prediction, and which voxels the truth knows, on one grid."""
    if isinstance(task, InputTarget):
        # The image is there already; what the network saw of it may be in another unit.
        found = read_channels(prediction_path(run.config, subject.subject_id, task.name)).array
        return None, task.picture(found), None
    if task.source in subject.images:
        truth, prediction, known, _ = read_pair(run.config, task, subject)
        return truth, prediction, known
    path = prediction_path(run.config, subject.subject_id, task.name)
    if task.target_kind == "labels":
        return None, read_label_map(path).array, None
    return None, read_result(task, ImageFile(path)).array, None


def _drawn_volumes(run: RunData, task: VolumeTask, subject: Subject) -> list[ShownVolume]:
    """Returns what outlines show of a task whose target is the image: how motion deforms it."""
    if not isinstance(task, InputTarget) or not task.drawn_names:
        return []
    found = read_channels(prediction_path(run.config, subject.subject_id, task.name))
    labels = task.drawn(found.array, found.affine)
    return [] if labels is None else [ShownVolume(task.name, LABELS, labels, owner="prediction", task=task.name)]


def _map_volumes(
    task: Task, truth: np.ndarray | None, prediction: np.ndarray, known: np.ndarray | None
) -> list[ShownVolume]:
    """Returns truth, prediction and difference of a regression, the first two in one window.

    Where the truth knows nothing there is no difference, as in evaluation.
    """
    name = task.name
    volumes = [ShownVolume(f"{name}: prediction", PREDICTION, prediction, name, task=name)]
    if truth is not None and known is not None:
        difference = np.asarray(prediction, np.float32) - np.asarray(truth, np.float32)
        difference[~known] = np.nan
        volumes.insert(0, ShownVolume(f"{name}: truth", TRUTH, truth, name, task=name))
        title = f"{name}: prediction - truth"
        volumes.append(ShownVolume(title, DIFFERENCE, difference, f"{name} difference", task=name))
    return volumes


def _vector_volumes(
    task: Task, truth: np.ndarray | None, prediction: np.ndarray, known: np.ndarray | None
) -> list[ShownVolume]:
    """Returns truth, prediction and the angle between them."""
    name = task.name
    volumes = [ShownVolume(f"{name}: prediction", PREDICTION, prediction, name, task=name)]
    if truth is not None and known is not None:
        volumes.insert(0, ShownVolume(f"{name}: truth", TRUTH, np.where(known[..., None], truth, 0.0), name, task=name))
        angle = np.where(known, angles_between(truth, prediction), np.nan).astype(np.float32)
        volumes.append(ShownVolume(f"{name}: angle between them", ANGLE, angle, f"{name} angle", task=name))
    return volumes


def _label_volumes(task: LabelledTask, truth: np.ndarray | None, prediction: np.ndarray) -> list[ShownVolume]:
    maps = {"truth": truth, "prediction": prediction}
    return [
        ShownVolume(f"{task.name}: {owner}", LABELS, task.class_numbers(labels), owner=owner, task=task.name)
        for owner, labels in maps.items()
        if labels is not None
    ]


def _spread_volumes(run: RunData, task: Task, subject: Subject, shape: tuple[int, ...]) -> list[ShownVolume]:
    """Returns the uncertainty maps that inference has written."""
    volumes = []
    for ending, name in SPREADS.items():
        path = prediction_path(run.config, subject.subject_id, task.name, ending)
        if not path.is_file():
            continue
        volume = read_image(path).array
        if volume.shape != shape:
            raise DataError(f"{path}: has {volume.shape} voxels, its image {shape}; run inference again")
        title = f"{task.name}: {name}"
        volumes.append(ShownVolume(title, SPREAD, volume, f"{task.name} {name}", task=task.name))
    return volumes


def common_windows(run: RunData, samples: WindowSamples, volumes: Mapping[str, ShownVolume]) -> dict[str, Window]:
    """Returns the display windows that all subjects share.

    Args:
        run: The run.
        samples: Values of all subjects.
        volumes: A volume of each window, by the window's name.
    """
    windows = {}
    for name, volume in volumes.items():
        unit = run.tasks[volume.task].unit if volume.task else ""
        if volume.role == DIFFERENCE:
            windows[name] = samples.symmetric(name, 99, unit)
        elif volume.role == SPREAD:
            in_nats = not volume.title.endswith(SPREADS[STANDARD_DEVIATION])
            windows[name] = samples.from_zero(name, 99.5, "nats" if in_nats else unit)
        elif volume.role == ANGLE:
            windows[name] = samples.from_zero(name, 99.5, "degrees")
        elif volume.array.ndim == 4:
            windows[name] = samples.fixed(name, COLOUR_LEVELS if volume.role == IMAGE else (-1.0, 1.0))
        elif unit == "HU":
            windows[name] = samples.fixed(name, HU_WINDOW, unit)
        else:
            windows[name] = samples.between(name, 0.5, 99.5, unit)
    return windows
