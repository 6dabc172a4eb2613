"""From files to what the network sees: orientation, spacing, intensities, all kept in a content-addressed store.

The first image source sets a subject's grid (after `axcodes` and `pixdim`); every other source is brought onto it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import sfgkeras
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.frames import file_axes, frame_of
from sfgkeras.applications.subjects.image_pipeline import RunContext, describe_measured, measured_rule, pipeline_of
from sfgkeras.applications.subjects.prepared_store import choose_store
from sfgkeras.applications.subjects.preprocessed import PreprocessedImages
from sfgkeras.applications.tasks.coverage import fill_value, known_on, outside_of, put_air
from sfgkeras.applications.tasks.targets import ImageTarget, InputTarget, PointTarget, VoxelTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.directions import frame_directions, turned
from sfgkeras.data.grids import Grid, turned_grid
from sfgkeras.data.nifti import reorient
from sfgkeras.data.points import Move, points_between
from sfgkeras.data.references import ImageFile, ImageRef
from sfgkeras.data.scaling import count_not_finite
from sfgkeras.data.subjects import Subject
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import DataError, naming
from sfgkeras.preprocessing.fitted import Fitted
from sfgkeras.preprocessing.foreground import EVERY_VOXEL, foreground_mask, fuse_foregrounds
from sfgkeras.preprocessing.padding import pad, padded_affine
from sfgkeras.preprocessing.resampling import resample_like, spacing_grid
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.tables.samplers import SAMPLERS

ALL_KNOWN = np.ones((1, 1, 1, 1), bool)
"""Stands in the store for a target that knows something about every voxel."""


class Preparation:
    """Prepares the subjects of one cohort, each array once; later runs find it in the store.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        cohort: The subjects.
        landmarks: Histogram landmarks by image source; empty without histogram normalisation.
        preprocessed: The images that `[PREPROCESSING]` makes; they are read in place of the originals.
        warn: Called with what the user should look into.
    """

    def __init__(
        self,
        config: Config,
        tasks: Mapping[str, Task],
        cohort: Cohort,
        landmarks: Mapping[str, Fitted] | None = None,
        preprocessed: PreprocessedImages | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._warn = warn
        self._told: set[str] = set()  # a picture may be prepared anew for every window
        self._config = config
        self._tasks = tasks
        self._cohort = cohort
        self.landmarks = dict(landmarks or {})
        self._preprocessed = preprocessed or PreprocessedImages(config, cohort)
        self._pipelines = {name: pipeline_of(config, name) for name in config.image}
        self._store = choose_store(config, cohort)
        window = config.window_size
        self._sliced_axis = window.index(1) if 1 in window else None

    def subject(self, subject: Subject) -> PreparedSubject:
        """Prepares image and targets of a training or validation subject.

        Raises:
            DataError: If a target is missing that must be there or an image cannot be used; names the file.
        """
        grid = self.grid(subject)
        targets, known, missing = {}, {}, set()
        may_lack = self._config.multitask.missing_targets == "allow"
        for task in self._tasks.values():
            if isinstance(task, InputTarget):
                continue  # its target is the image
            if may_lack and not self._cohort.has_target_of(subject, task):
                missing.add(task.name)
                continue
            targets[task.name], inside = self._target(subject, task, grid)
            if inside is not None:
                known[task.name] = inside
        weight = None
        if SAMPLERS[self._config.network.window_sampling].needs_source and self._config.sampler:
            balanced = SAMPLERS[self._config.network.window_sampling].labels
            weight = self._extra_volume(subject, self._config.sampler, grid, labels=balanced)
        loss_weight = None
        if self._config.multitask.weight:
            loss_weight = self._extra_volume(subject, self._config.multitask.weight, grid, labels=False)
        return PreparedSubject(
            subject.subject_id,
            self.image(subject),
            targets,
            weight,
            spacing=grid.spacing,
            loss_weight=loss_weight,
            known=known,
            missing=frozenset(missing),
        )

    def native_grid(self, subject: Subject) -> Grid:
        """Returns the grid of the first image source's original image."""
        header = subject.images[self._config.image[0]].header()
        return Grid(tuple(header.shape[:3]), header.affine)

    def grid(self, subject: Subject) -> Grid:
        """Returns the grid that the network sees: the first image after `axcodes`, `pixdim` and padding.

        The image is that of `[PREPROCESSING]` where there is one.
        """
        inner, padding = self._inner_grid(subject), self._config.network.volume_padding_size
        shape = tuple(length + 2 * size for length, size in zip(inner.shape, padding, strict=True))
        return Grid(shape, padded_affine(inner.affine, padding))

    def point_map(self, subject: Subject) -> Move:
        """Returns what takes points `(n, 3)` of the subject's own grid to voxels of the grid that the network sees."""
        return points_between(self.native_grid(subject).affine, self.grid(subject).affine)

    def _placing(self, subject: Subject, task: PointTarget) -> Callable[..., np.ndarray]:
        """Returns what reads places of a subject and takes them to the grid that the network sees."""
        to_grid, frame = self.point_map(subject), frame_of(self._config, subject)
        return lambda *texts: task.place(task.prepare_value(*texts), to_grid, frame)

    def _inner_grid(self, subject: Subject) -> Grid:
        name = self._config.image[0]
        source = self._config.sources[name]
        turned = turned_grid(self._seen(subject, name).header(), source.axcodes)
        return Grid(*spacing_grid(turned.shape, turned.affine, source.pixdim)) if source.pixdim else turned

    def _seen(self, subject: Subject, name: str) -> ImageRef:
        """Returns the image of a source that the network's input is made of, preprocessed where the run says so."""
        return self._preprocessed.image(subject, name) if name in self._preprocessed.images else subject.images[name]

    def image(self, subject: Subject) -> np.ndarray:
        """Returns the network's input volume, `(x, y, z, channels)`."""
        key = {
            "version": sfgkeras.__version__,
            "grid": self.grid(subject).key(),
            "sources": [
                {
                    "file": self._seen(subject, name).fingerprint(),
                    "loader": self._config.sources[name].loader,
                    "pipeline": self._pipelines[name].digest(),
                }
                for name in self._config.image
            ],
            "fitted": {name: list(known.described().values()) for name, known in self.landmarks.items()},
            "foreground": describe_measured(self._config),
        }

        def compute() -> np.ndarray:
            volumes = self._placed(subject)
            # Given away one by one: of a large volume there is no room for a copy.
            channels = [self._finished(subject, *volumes.pop(0)) for _ in range(len(volumes))]
            return channels[0][..., None] if len(channels) == 1 else np.stack(channels, axis=-1)

        return self._store.array(key, compute, sliced_axis=self._sliced_axis)

    def measured(self, subject: Subject) -> dict[str, Volume]:
        """Returns the images as they are when intensities are measured, `(x, y, z)` or with channels, by source."""
        found: dict[str, list[Volume]] = {}
        for name, volume in self._placed(subject):
            found.setdefault(name, []).append(volume)
        return {name: volumes[0] if len(volumes) == 1 else _joined(volumes) for name, volumes in found.items()}

    def _placed(self, subject: Subject) -> list[tuple[str, Volume]]:
        """Returns one volume per channel on the subject's grid without padding, with the name of its source."""
        found: list[tuple[str, Volume]] = []
        for name in self._config.image:
            array, affine = self._on_grid(subject, name)
            channels = [array] if array.ndim == 3 else np.moveaxis(array, -1, 0)
            found += [(name, Volume(channel, affine)) for channel in channels]
        masks = self._foregrounds(subject, found)
        return [(name, replace(each, foreground=mask)) for (name, each), mask in zip(found, masks, strict=True)]

    def _on_grid(self, subject: Subject, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads an image and brings it onto the subject's grid; returns voxels and affine."""
        image = self._seen(subject, name)
        if name != self._config.image[0]:
            self._refuse_other_grid(subject, name, turned_grid(image.header(), self._config.sources[name].axcodes))
        read = image.read()
        _refuse_not_finite(read.array, image)
        with naming(image):
            context = RunContext(subject.subject_id, grid=self._inner_grid(subject))
            placed = self._pipelines[name].placing().apply(Volume(read.array, read.affine), context)
        return placed.array, placed.affine

    def _foregrounds(self, subject: Subject, volumes: Sequence[tuple[str, Volume]]) -> list[np.ndarray | None]:
        rule = measured_rule(self._config)
        if rule == EVERY_VOXEL:
            return [None] * len(volumes)
        masks = []
        for name, volume in volumes:
            with naming(self._seen(subject, name)):
                masks.append(foreground_mask(volume.array, rule))
        return list(np.moveaxis(fuse_foregrounds(masks, self._config.network.multimod_foreground_type), -1, 0))

    def _finished(self, subject: Subject, name: str, volume: Volume) -> np.ndarray:
        """Returns what the network sees of one channel, `(x, y, z)` float32; the volume may be overwritten."""
        pipeline, image = self._pipelines[name].measuring(), self._seen(subject, name)
        fitted = {step.name: self.landmarks[name] for step in pipeline.fitted if name in self.landmarks}
        with naming(image):
            done = pipeline.apply(volume, StepContext(subject.subject_id, may_overwrite=True), fitted=fitted)
        for concern in done.concerns:
            text = f"{image}: {concern}"
            if self._warn is not None and text not in self._told:
                self._told.add(text)
                self._warn(text)
        return np.asarray(done.array, np.float32)

    def _pad(self, volume: np.ndarray, mode: str = "") -> np.ndarray:
        """Adds `volume_padding_size` voxels on each side of the three axes of `(x, y, z, channels)`."""
        network = self._config.network
        return pad(volume, network.volume_padding_size, mode or network.volume_padding_mode)

    def _read_map(
        self, subject: Subject, name: str, grid: Grid, labels: bool, task: VoxelTarget | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads a source that is no image of the network onto the subject's grid without padding.

        Of a target the task is given, which may know what is unknown, and whose vectors turn with the image.

        Returns:
            The voxels, `(x, y, z, channels)`; and of a target those that it knows something about, `(x, y, z)`, or None
            where they are all of the grid.
        """
        source, reference = self._config.sources[name], subject.images[name]
        image = reference.read_labels() if labels else reference.read()
        array, affine = image.array, image.affine
        if not labels:
            _refuse_not_finite(array, reference)
        if task is not None and task.has_directions:
            _refuse_no_vectors(array, reference)
            own_axes = frame_directions(affine, file_axes(reference))
            array = turned(array, own_axes, frame_directions(grid.affine))
        if source.axcodes:
            array, affine = reorient(array, affine, source.axcodes)
        own = Grid(tuple(array.shape[:3]), affine)
        outside = outside_of(task, array, source) if task is not None and not labels else None
        array = put_air(array, outside, source)
        known = None if outside is None else ~outside
        if not own.is_same(grid):
            self._refuse_other_grid(subject, name, own)
            order = 0 if labels else source.interp_order
            with naming(reference):
                if task is not None:
                    found = known_on(outside, array.shape, affine, grid.shape, grid.affine)
                    known = None if found.all() else found
                array = resample_like(array, affine, grid.shape, grid.affine, order, fill=fill_value(source))
        return array[..., None] if array.ndim == 3 else array, known

    def _refuse_other_grid(self, subject: Subject, name: str, own: Grid) -> None:
        """Refuses a volume on another grid than the first image's that nobody said to resample."""
        grid, first = self._inner_grid(subject), self._config.image[0]
        if self._config.sources[name].pixdim or own.is_same(grid) or self._follows(own, subject):
            return
        image = self._seen(subject, name) if name in self._config.image else subject.images[name]
        raise DataError(
            f"{image}: its grid {own.shape} differs from that of [{first}] {grid.shape}; set pixdim in [{name}] to "
            "have it resampled, or correct the file"
        )

    def _follows(self, own: Grid, subject: Subject) -> bool:
        """Says whether a volume is on the image's original grid, which `[PREPROCESSING]` exchanged for another."""
        first = self._config.image[0]
        native = turned_grid(subject.images[first].header(), self._config.sources[first].axcodes)
        return self._preprocessed.changes_grid and own.is_same(native)

    def _key(self, subject: Subject, name: str, grid: Grid, role: str, **more: Any) -> dict[str, Any]:
        source, image = self._config.sources[name], subject.images[name]
        return {
            "version": sfgkeras.__version__,
            "file": image.fingerprint(),
            "role": role,
            "grid": grid.key(),
            "axcodes": source.axcodes,
            "resampled": bool(source.pixdim),
            "interp_order": source.interp_order,
            "padding_value": fill_value(source),
            "outside": source.outside,
            "loader": source.loader,
            "padding": [list(self._config.network.volume_padding_size), self._config.network.volume_padding_mode],
            **more,
        }

    def _target(self, subject: Subject, task: Task, grid: Grid) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns a task's target, and the voxels `(x, y, z)` that it knows something about: None for all."""
        if isinstance(task, PointTarget):
            return self._cohort.value(subject, task, self._placing(subject, task)), None
        if isinstance(task, ImageTarget):
            return self._cohort.value(subject, task, task.prepare_value), None
        if not isinstance(task, VoxelTarget):
            raise TypeError(f"task {task.name!r} has a target of no kind that can be prepared")
        name = task.source
        if name not in subject.images:
            raise DataError(
                f"subject {subject.subject_id!r} has no file for [{name}], which task {task.name!r} needs; "
                f"add it, or give the subject the phase 'inference' in {self._config.system.dataset_split_file}"
            )
        labels = task.target_kind == "labels"
        key = self._key(
            subject,
            name,
            grid,
            role=task.target_kind,
            scaling=self._config.sources[name].scaling,
            scale=task.settings.scale,
            **({"labels": list(task.labels)} if task.labels else {}),
        )

        read: list[np.ndarray | None] = []  # what the last reading found, for the other of two arrays

        def compute() -> np.ndarray:
            array, known = self._read_map(subject, name, self._inner_grid(subject), labels, task)
            read[:] = [known]
            with naming(subject.images[name]):
                return self._pad(task.prepare_map(array), "constant" if labels else "")

        def compute_known() -> np.ndarray:
            if not read:
                read.append(self._read_map(subject, name, self._inner_grid(subject), labels, task)[1])
            known = read.pop()
            # Voxels that volume_padding_size adds are as well known as those that they lie beside.
            return ALL_KNOWN if known is None else self._pad(known[..., None], "edge")

        target = self._store.array(key, compute, self._sliced_axis)
        inside = self._store.array({**key, "role": "known", "of": task.target_kind}, compute_known, self._sliced_axis)
        return target, None if inside.size == 1 else inside[..., 0]

    def _extra_volume(self, subject: Subject, name: str, grid: Grid, labels: bool) -> np.ndarray:
        """Returns the sampler's or the weight map's volume, `(x, y, z)`."""
        if name not in subject.images:
            raise DataError(
                f"subject {subject.subject_id!r} has no file for [{name}], by which windows are drawn or weighed"
            )
        key = self._key(subject, name, grid, role="extra", labels=labels)

        def compute() -> np.ndarray:
            weights = self._read_map(subject, name, self._inner_grid(subject), labels)[0]
            if not labels and weights.min() < 0:
                raise DataError(
                    f"{subject.images[name]}: holds negative weights, down to {weights.min():g}; write 0 or more"
                )
            return self._pad(weights, "constant")

        return self._store.array(key, compute, self._sliced_axis)[..., 0]


def _refuse_not_finite(array: np.ndarray, image: ImageRef) -> None:
    bad = count_not_finite(array)
    if bad:
        raise DataError(f"{image}: {bad} voxels are NaN or infinite; replace them before training")


def _refuse_no_vectors(array: np.ndarray, image: ImageRef) -> None:
    if isinstance(image, ImageFile) and image.is_photo:
        raise DataError(
            f"{image}: is a picture, whose colours from 0 to 255 are no components from -1 to 1; write the normals as "
            "rows of an HDF5 file, (N, rows, columns, 3)"
        )
    if array.ndim != 4 or array.shape[3] != 3:
        raise DataError(
            f"{image}: has {' x '.join(map(str, array.shape))} voxels and channels, and normals have three channels: "
            "x, y and z; write them as rows of an HDF5 file, (N, rows, columns, 3)"
        )


def _joined(channels: Sequence[Volume]) -> Volume:
    """Returns the channels of one source as one volume, `(x, y, z, channels)`, with their foregrounds."""
    masks = [each.foreground for each in channels if each.foreground is not None]
    array = np.stack([each.array for each in channels], axis=-1)
    return replace(channels[0], array=array, foreground=np.stack(masks, axis=-1) if masks else None)
