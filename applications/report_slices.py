"""What the report shows of a subject's volumes: input, truth, prediction, difference, outlines and uncertainty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfgkeras.analysis.pictures import PLANES, canonical, label_colour, radiological_slice
from sfgkeras.analysis.slice_viewer import SlicePanel, SliceViewer, image_uri, outline_paths
from sfgkeras.analysis.uncertainty import ENTROPY, MUTUAL_INFORMATION, STANDARD_DEVIATION
from sfgkeras.applications.base import TaskType
from sfgkeras.applications.cohort import Cohort
from sfgkeras.applications.evaluation import read_pair
from sfgkeras.applications.files import prediction_path
from sfgkeras.applications.reporter import Reporter
from sfgkeras.config import Config
from sfgkeras.data.nifti import is_photo, read_image, read_label_map
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError

PLANE = "axial"
# Soft tissue and bone; the range that the pelvis fills.
HU_WINDOW = (-200.0, 600.0)
SPREADS = {
    STANDARD_DEVIATION: "standard deviation",
    ENTROPY: "entropy (nats)",
    MUTUAL_INFORMATION: "mutual information (nats)",
}
MOST_SLICES = 128
LONGEST_SIDE = 320


@dataclass(frozen=True)
class RunData:
    """What the report knows of a run's subjects; it needs no landmarks, no network and no prepared volumes.

    Attributes:
        config: The configuration.
        tasks: The tasks by name.
        cohort: The subjects.
    """

    config: Config
    tasks: Mapping[str, TaskType]
    cohort: Cohort


Cut = Callable[[np.ndarray], list[np.ndarray]]


def inferred_subjects(run: RunData) -> list[Subject]:
    """Returns the subjects with a predicted volume of any task, those that were kept for inference first."""
    maps = [name for name, task in run.tasks.items() if not task.is_scalar]
    return [
        subject
        for subject in run.cohort.phase("inference", "validation", "training")
        if any(prediction_path(run.config, subject.subject_id, name).is_file() for name in maps)
    ]


def build_viewers(run: RunData, subjects: Sequence[Subject], reporter: Reporter) -> list[SliceViewer]:
    """Reads the volumes of subjects and cuts them; one whose files cannot be used is left out with a warning."""
    viewers = []
    with reporter.stage("drawing slices", len(subjects)) as stage:
        for subject in subjects:
            try:
                viewers.append(build_viewer(run, subject))
            except DataError as error:
                reporter.warning(f"the report leaves out {subject.subject_id}: {error}")
            stage.advance(1, subject.subject_id)
    return viewers


def build_viewer(run: RunData, subject: Subject) -> SliceViewer:
    """Cuts all volumes of one subject.

    Raises:
        DataError: If an image cannot be read, or results lie on another grid than the image.
    """
    config = run.config
    source = config.image[0]
    image = read_image(subject.files[source], config.sources[source].loader)
    # A photo is shown as it is stored, an image of a patient as radiologists look at it.
    grey = image.array.mean(axis=-1) if image.array.ndim == 4 else image.array
    stored = is_photo(subject.files[source], config.sources[source].loader)
    cut, ratio = _photo_cut() if stored else _axial_cut(image.affine, grey.shape)
    shape = grey.shape
    panels = [_panel(source, cut(grey), _limits(grey))]
    for task in run.tasks.values():
        path = prediction_path(config, subject.subject_id, task.name)
        if task.is_scalar or not path.is_file():
            continue
        truth, prediction, known = _read_volumes(run, task, subject)
        if prediction.shape != shape:
            raise DataError(
                f"{path}: has {prediction.shape} voxels, its image {subject.files[source]} {shape}; run inference again"
            )
        if task.target_kind == "labels":
            panels.append(_outline_panel(task, cut, panels[0], truth, prediction))
        else:
            panels += _map_panels(task, cut, truth, prediction, known)
        panels += _spread_panels(run, task, subject, cut, shape)
    count = len(panels[0].images)
    rows, columns = cut(grey)[0].shape
    names = [f"{PLANE} {number + 1} of {count}" if count > 1 else "the image" for number in range(count)]
    phase = next((name for name, ids in run.cohort.split.items() if subject.subject_id in ids), "")
    return SliceViewer(f"{subject.subject_id} ({phase})", names, (columns, rows), ratio * columns / rows, panels)


def _read_volumes(
    run: RunData, task: TaskType, subject: Subject
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Returns truth (None where there is none), prediction, and which voxels the truth knows, on one grid."""
    if task.source in subject.files:
        truth, prediction, known, _ = read_pair(run.config, task, subject)
        return truth, prediction, known
    read = read_label_map if task.target_kind == "labels" else read_image
    return None, read(prediction_path(run.config, subject.subject_id, task.name)).array, None


def _axial_cut(affine: np.ndarray, shape: tuple[int, ...]) -> tuple[Cut, float]:
    """Returns what cuts a volume into slices, and the width of a voxel divided by its height on them."""
    _, spacing = canonical(np.empty(shape, bool), affine)
    axis = PLANES[PLANE]

    def cut(volume: np.ndarray) -> list[np.ndarray]:
        turned, _ = canonical(volume, affine)
        step = -(-turned.shape[axis] // MOST_SLICES)
        slices = [radiological_slice(turned, PLANE, index) for index in range(0, turned.shape[axis], step)]
        return [_thinned(image) for image in slices]

    return cut, float(spacing[0] / spacing[1])


def _photo_cut() -> tuple[Cut, float]:
    return lambda volume: [_thinned(volume[:, :, 0])], 1.0


def _thinned(image: np.ndarray) -> np.ndarray:
    """Leaves out rows and columns of large slices: the page would become too large."""
    step = -(-max(image.shape) // LONGEST_SIDE)
    return image[::step, ::step]


def _limits(volume: np.ndarray, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    finite = volume[np.isfinite(volume)]
    if not finite.size:
        return 0.0, 1.0
    first, last = np.percentile(finite, [low, high])
    return float(first), float(last)


def _panel(
    title: str, slices: Sequence[np.ndarray], limits: tuple[float, float], unit: str = "", colours: str = "grey"
) -> SlicePanel:
    images = [image_uri(image, limits, colours) for image in slices]
    low, high = (f"{_number(value)} {unit}".rstrip() for value in limits)
    return SlicePanel(title, images, (low, high), colours)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _map_panels(
    task: TaskType, cut: Cut, truth: np.ndarray | None, prediction: np.ndarray, known: np.ndarray | None
) -> list[SlicePanel]:
    """Returns truth, prediction and difference of a regression, the first two in one window.

    Where the truth knows nothing there is no difference, as in evaluation.
    """
    unit = task.unit
    in_hu = unit == "HU"
    window = HU_WINDOW if in_hu else _limits(prediction if truth is None else truth)
    panels = [_panel(f"{task.name}: prediction", cut(prediction), window, unit)]
    if truth is not None and known is not None:
        difference = np.where(known, np.abs(prediction - truth), 0.0)
        largest = (0.0, _limits(difference, high=99.0)[1] or 1.0)
        panels.insert(0, _panel(f"{task.name}: truth", cut(truth), window, unit))
        panels.append(_panel(f"{task.name}: absolute difference", cut(difference), largest, unit, "inferno"))
    return panels


def _outline_panel(
    task: TaskType, cut: Cut, below: SlicePanel, truth: np.ndarray | None, prediction: np.ndarray
) -> SlicePanel:
    """Returns the outlines of a segmentation over the input image."""
    maps = {"truth": truth, "prediction": prediction}
    outlines = {
        owner: [outline_paths(image) for image in cut(labels)] for owner, labels in maps.items() if labels is not None
    }
    names = task.settings.class_names or [f"label {label}" for label in range(task.num_outputs)]
    legend = {name: label_colour(label) for label, name in enumerate(names) if label > 0}
    return SlicePanel(f"{task.name}: outlines", below.images, None, "grey", outlines, legend)


def _spread_panels(
    run: RunData, task: TaskType, subject: Subject, cut: Cut, shape: tuple[int, ...]
) -> list[SlicePanel]:
    """Returns the uncertainty maps that inference has written."""
    panels = []
    unit = task.unit
    for ending, name in SPREADS.items():
        path = prediction_path(run.config, subject.subject_id, task.name, ending)
        if not path.is_file():
            continue
        volume = read_image(path).array
        if volume.shape != shape:
            raise DataError(f"{path}: has {volume.shape} voxels, its image {shape}; run inference again")
        largest = (0.0, _limits(volume, high=99.5)[1] or 1.0)
        shown_unit: Any = unit if ending == STANDARD_DEVIATION else ""
        panels.append(_panel(f"{task.name}: {name}", cut(volume), largest, shown_unit, "inferno"))
    return panels
