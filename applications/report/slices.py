"""Draws what the report shows of its subjects: slices with a slider, and volumes for the viewer of three planes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.analysis.pictures import PLANES, canonical, label_colour, radiological_slice
from sfgkeras.analysis.planes import PackedSubject, PlaneVolume, pack_subject
from sfgkeras.analysis.slice_viewer import SlicePanel, SliceViewer, image_uri, outline_paths
from sfgkeras.analysis.windows import Window, WindowSamples
from sfgkeras.applications.report.volumes import (
    LABELS,
    RunData,
    ShownSubject,
    ShownVolume,
    common_windows,
    read_subject_volumes,
)
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.outputs import VolumeTask
from sfgkeras.applications.tasks.targets import InputTarget, PointTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter

PLANE = "axial"
# Of the slices with a slider, which stand for the volumes where a browser cannot show those.
MOST_SLICES = 24
LONGEST_SIDE = 160
# Of all volumes of all subjects together: 0.4 to 0.9 bytes each on the page, which stays below 15 MB.
MOST_VOXELS, MOST_VOXELS_EACH = 10_000_000, 1_500_000


@dataclass(frozen=True)
class ShownSubjects:
    """What the page shows of its subjects.

    Attributes:
        viewers: The slices of each.
        packed: The volumes of each; none of photos, which have no planes.
        windows: Display windows by name, common to all.
        legend: Colour by label name.
    """

    viewers: Sequence[SliceViewer]
    packed: Sequence[PackedSubject]
    windows: Mapping[str, Window]
    legend: Mapping[str, str]


Cut = Callable[[np.ndarray], list[np.ndarray]]


def show_subjects(run: RunData, subjects: Sequence[Subject], reporter: Reporter) -> ShownSubjects:
    """Reads the volumes of subjects twice: for windows that fit all, and to draw.

    A subject whose files cannot be used is left out with a warning.
    """
    samples, shown = WindowSamples(), []
    kinds: dict[str, ShownVolume] = {}
    num_volumes = 0
    viewers, packed = [], []
    with reporter.stage("drawing slices", 2 * len(subjects)) as stage:
        for subject in subjects:
            try:
                volumes = read_subject_volumes(run, subject).volumes
            except DataError as error:
                reporter.warning(f"the report leaves out {subject.subject_id}: {error}")
                stage.advance(2, subject.subject_id)
                continue
            for volume in volumes:
                if volume.window:
                    samples.add(volume.window, volume.array)
                    kinds.setdefault(volume.window, volume)
            num_volumes += len(volumes)
            shown.append(subject)
            stage.advance(1, subject.subject_id)
        windows = common_windows(run, samples, kinds)
        most_voxels = min(MOST_VOXELS_EACH, MOST_VOXELS // max(num_volumes, 1))
        for subject in shown:
            found = read_subject_volumes(run, subject)
            viewers.append(build_viewer(run, found, windows))
            if min(found.volumes[0].array.shape) > 1:
                packed.append(_pack(found, windows, most_voxels))
            stage.advance(1, subject.subject_id)
    legend: dict[str, str] = {}
    for task in run.tasks.values():
        if isinstance(task, VolumeTask | PointTarget):
            legend |= _legend(task)
    return ShownSubjects(viewers, packed, windows, legend)


def _pack(found: ShownSubject, windows: Mapping[str, Window], most_voxels: int) -> PackedSubject:
    # Vectors have slices with a slider only: the viewer of three planes shows grey values.
    volumes = [
        PlaneVolume(volume.title, volume.array, volume.window, volume.colours)
        for volume in found.volumes
        if volume.array.ndim == 3
    ]
    return pack_subject(found.name, volumes, found.affine, windows, most_voxels)


def build_viewer(run: RunData, found: ShownSubject, windows: Mapping[str, Window]) -> SliceViewer:
    """Cuts all volumes of one subject; labels become outlines over the input image."""
    image = found.volumes[0].array
    cut, ratio = _photo_cut() if found.stored else _axial_cut(found.affine, image.shape)
    panels: list[SlicePanel] = []
    outlined: dict[str, dict[str, ShownVolume]] = {}
    for volume in found.volumes:
        if volume.role == LABELS:
            outlined.setdefault(volume.task, {})[volume.owner] = volume
        else:
            window = windows[volume.window]
            images = [image_uri(image, window.limits, volume.colours) for image in cut(volume.array)]
            # Colours of vectors and photos have no scale.
            scale = None if volume.array.ndim == 4 else window.texts
            panels.append(SlicePanel(volume.title, images, scale, volume.colours))
    for task, maps in outlined.items():
        outlines = {owner: [outline_paths(image) for image in cut(volume.array)] for owner, volume in maps.items()}
        legend = _legend(run.tasks[task])
        panels.append(SlicePanel(f"{task}: outlines", panels[0].images, None, panels[0].colours, outlines, legend))
    rows, columns = cut(image)[0].shape[:2]
    return SliceViewer(found.name, _place_names(image.shape, found), (columns, rows), ratio * columns / rows, panels)


def _place_names(shape: tuple[int, ...], found: ShownSubject) -> list[str]:
    if found.stored:
        return ["the image"]
    count = canonical(np.empty(shape, bool), found.affine)[0].shape[PLANES[PLANE]]
    return [f"{PLANE} {index + 1} of {count}" for index in _shown_slices(count)] if count > 1 else ["the image"]


def _legend(task: Task) -> dict[str, str]:
    """Returns the colour of every label but the background, by its name; none where a task has no labels."""
    if isinstance(task, PointTarget | InputTarget):
        return {name: label_colour(number) for number, name in enumerate(task.drawn_names, 1)}
    if not isinstance(task, LabelledTask):
        return {}
    names = task.class_names if task.settings.class_names else [f"label {label}" for label in task.class_labels]
    return {name: label_colour(number) for number, name in enumerate(names) if number > 0}


def _shown_slices(count: int) -> range:
    return range(0, count, -(-count // MOST_SLICES))


def _axial_cut(affine: np.ndarray, shape: tuple[int, ...]) -> tuple[Cut, float]:
    """Returns what cuts a volume into slices, and the width of a voxel divided by its height on them."""
    _, spacing = canonical(np.empty(shape, bool), affine)
    axis = PLANES[PLANE]

    def cut(volume: np.ndarray) -> list[np.ndarray]:
        if volume.ndim == 4:
            channels = (cut(channel) for channel in np.moveaxis(volume, -1, 0))
            return [np.stack(images, axis=-1) for images in zip(*channels, strict=True)]
        turned, _ = canonical(volume, affine)
        return [_thinned(radiological_slice(turned, PLANE, index)) for index in _shown_slices(turned.shape[axis])]

    return cut, float(spacing[0] / spacing[1])


def _photo_cut() -> tuple[Cut, float]:
    return lambda volume: [_thinned(volume[:, :, 0])], 1.0


def _thinned(image: np.ndarray) -> np.ndarray:
    """Leaves out rows and columns of large slices: the page would become too large."""
    step = -(-max(image.shape[:2]) // LONGEST_SIDE)
    return image[::step, ::step]
