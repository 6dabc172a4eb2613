"""From files to what the network sees: orientation, spacing, intensities, all kept in a content-addressed store.

The first image source sets a subject's grid (after `axcodes` and `pixdim`); every other source is brought onto it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import sfgkeras
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.frames import frame_of
from sfgkeras.applications.subjects.preprocessed import PreprocessedImages
from sfgkeras.applications.tasks.coverage import fill_value, known_on, marked_outside, put_air
from sfgkeras.applications.tasks.reconstruction import ReconstructionTask
from sfgkeras.applications.tasks.targets import ImageTarget, PointTarget, VoxelTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import reorient
from sfgkeras.data.points import Move, points_between
from sfgkeras.data.references import ImageRef
from sfgkeras.data.scaling import count_not_finite
from sfgkeras.data.subjects import Subject
from sfgkeras.data.volumes import VolumeStore
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.ct import scale_ct
from sfgkeras.preprocessing.foreground import describe_rule, foreground_mask, fuse_foregrounds
from sfgkeras.preprocessing.histogram import NyulLandmarks, apply_landmarks, describe_bounded
from sfgkeras.preprocessing.resampling import resample_like, spacing_grid
from sfgkeras.preprocessing.whitening import whiten
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
        landmarks: Mapping[str, NyulLandmarks] | None = None,
        preprocessed: PreprocessedImages | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._warn = warn
        self._config = config
        self._tasks = tasks
        self._cohort = cohort
        self.landmarks = dict(landmarks or {})
        self._preprocessed = preprocessed or PreprocessedImages(config, cohort)
        self._store = VolumeStore(config.system.cache_dir)
        window = config.window_size
        self._sliced_axis = window.index(1) if 1 in window else None

    def subject(self, subject: Subject) -> PreparedSubject:
        """Prepares image and targets of a training or validation subject.

        Raises:
            DataError: If a target is missing or an image cannot be used; names the file.
        """
        grid = self.grid(subject)
        targets, known = {}, {}
        for task in self._tasks.values():
            if isinstance(task, ReconstructionTask):
                continue  # its target is the image
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
        )

    def native_grid(self, subject: Subject) -> Grid:
        """Returns the grid of the first image source's original image."""
        header = subject.images[self._config.image[0]].header()
        return Grid(tuple(header.shape[:3]), header.affine)

    def grid(self, subject: Subject) -> Grid:
        """Returns the grid that the network sees: the first image after `axcodes`, `pixdim` and padding.

        The image is that of `[PREPROCESSING]` where there is one.
        """
        inner, padding = self._inner_grid(subject), np.asarray(self._config.network.volume_padding_size)
        affine = inner.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ padding
        return Grid(tuple(int(n) for n in np.asarray(inner.shape) + 2 * padding), affine)

    def point_map(self, subject: Subject) -> Move:
        """Returns what takes points `(n, 3)` of the subject's own grid to voxels of the grid that the network sees."""
        return points_between(self.native_grid(subject).affine, self.grid(subject).affine)

    def _placing(self, subject: Subject, task: PointTarget) -> Callable[..., np.ndarray]:
        """Returns what reads places of a subject and takes them to the grid that the network sees."""
        to_grid, frame = self.point_map(subject), frame_of(self._config, subject)
        return lambda *texts: task.place(task.prepare_value(*texts), to_grid, frame)

    def _inner_grid(self, subject: Subject) -> Grid:
        name = self._config.image[0]
        header = self._seen(subject, name).header()
        turned, pixdim = self._turned(Grid(tuple(header.shape[:3]), header.affine)), self._config.sources[name].pixdim
        if not pixdim:
            return turned
        shape, affine = spacing_grid(turned.shape, turned.affine, pixdim)
        return Grid(tuple(int(n) for n in shape), affine)

    def _turned(self, grid: Grid) -> Grid:
        """Returns a grid in the orientation that the first image source asks for."""
        axcodes = self._config.sources[self._config.image[0]].axcodes
        if not axcodes:
            return grid
        # A one-bit stand-in of the same shape: only the geometry is of interest here.
        stand_in, affine = reorient(np.broadcast_to(np.int8(0), grid.shape), grid.affine, axcodes)
        return Grid(tuple(int(n) for n in stand_in.shape[:3]), affine)

    def _seen(self, subject: Subject, name: str) -> ImageRef:
        """Returns the image of a source that the network's input is made of, preprocessed where the run says so."""
        return self._preprocessed.image(subject, name) if name in self._preprocessed.images else subject.images[name]

    def image(self, subject: Subject) -> np.ndarray:
        """Returns the network's input volume, `(x, y, z, channels)`."""
        network, grid = self._config.network, self.grid(subject)
        key = {
            "sources": [
                self._key(subject, name, grid, role="image", scaling=self._config.sources[name].scaling)
                for name in self._config.image
            ],
            "landmarks": {
                name: [list(known.percentiles), list(known.values)] for name, known in self.landmarks.items()
            },
            "norm_type": f"{network.norm_type}, bounded" if self.landmarks else None,
            "whitening": network.whitening,
            "foreground": self.foreground_rule(),
        }

        def compute() -> np.ndarray:
            volumes = self._read_images(subject)
            masks = self._foregrounds(subject, volumes)
            channels = []
            for mask in masks:
                # Given away: of a large volume there is no room for a copy.
                name, volume = volumes.pop(0)
                image = self._seen(subject, name)
                with _naming(image):
                    channels.append(self._normalise(volume, mask, name, image))
                del volume
            return self._pad(channels[0][..., None] if len(channels) == 1 else np.stack(channels, axis=-1))

        return self._store.array(key, compute, sliced_axis=self._sliced_axis)

    def foreground_rule(self) -> str:
        """Returns the rule that intensities are measured with, as text; `all` for every voxel."""
        network = self._config.network
        if not network.normalise_foreground_only:
            return "all"
        rule = describe_rule(network.foreground_type)
        return rule if len(self._config.image) == 1 else f"{rule}, {network.multimod_foreground_type}"

    def foreground_intensities(self, subject: Subject) -> dict[str, np.ndarray]:
        """Returns the foreground intensities of each image source before normalisation, for fitting landmarks."""
        volumes = self._read_images(subject)
        masks = self._foregrounds(subject, volumes)
        found: dict[str, list[np.ndarray]] = {}
        for (name, volume), mask in zip(volumes, masks, strict=True):
            found.setdefault(name, []).append(volume[mask] if mask is not None else volume.reshape(-1))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _read_images(self, subject: Subject) -> list[tuple[str, np.ndarray]]:
        """Returns one volume `(x, y, z)` per channel, with the name of its source, without padding."""
        grid = self._inner_grid(subject)
        return [
            (name, volume)
            for name in self._config.image
            for volume in np.moveaxis(self._read(subject, name, grid, is_image=True), -1, 0)
        ]

    def _foregrounds(self, subject: Subject, volumes: Sequence[tuple[str, np.ndarray]]) -> list[np.ndarray | None]:
        network = self._config.network
        if not network.normalise_foreground_only:
            return [None] * len(volumes)
        masks = []
        for name, volume in volumes:
            with _naming(self._seen(subject, name)):
                masks.append(foreground_mask(volume, network.foreground_type))
        return list(np.moveaxis(fuse_foregrounds(masks, network.multimod_foreground_type), -1, 0))

    def _normalise(self, volume: np.ndarray, mask: np.ndarray | None, name: str, image: ImageRef) -> np.ndarray:
        """Applies landmarks, CT scaling and whitening to one channel `(x, y, z)` float32, which may be overwritten."""
        network = self._config.network
        if name in self.landmarks:
            volume = apply_landmarks(volume, self.landmarks[name], network.norm_type, mask)
            note = describe_bounded(volume, self.landmarks[name])
            if note and self._warn is not None:
                self._warn(f"{image}: {note}")
        if self._config.sources[name].scaling == "ct":
            volume = scale_ct(volume)
        if network.whitening:
            volume = whiten(volume, mask, out=volume)
        return np.asarray(volume, np.float32)

    def _pad(self, volume: np.ndarray, mode: Any = None) -> np.ndarray:
        """Adds `volume_padding_size` voxels on each side of the three axes of `(x, y, z, channels)`."""
        network = self._config.network
        if not any(network.volume_padding_size):
            return volume
        widths = [*((size, size) for size in network.volume_padding_size), (0, 0)]
        chosen: Any = mode or network.volume_padding_mode
        return np.pad(volume, widths, mode=chosen)

    def _read(
        self, subject: Subject, name: str, grid: Grid, labels: bool = False, is_image: bool = False
    ) -> np.ndarray:
        """Reads one source onto the subject's grid without padding, `(x, y, z, channels)`."""
        return self._read_known(subject, name, grid, labels, is_image, is_target=False)[0]

    def _read_known(
        self, subject: Subject, name: str, grid: Grid, labels: bool, is_image: bool, is_target: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads one source as `_read` does; of a target also the voxels that it knows something about.

        These are `(x, y, z)`, or None where they are all of the grid.
        """
        source = self._config.sources[name]
        reference = self._seen(subject, name) if is_image else subject.images[name]
        image = reference.read_labels() if labels else reference.read()
        array, affine = image.array, image.affine
        bad = 0 if labels else count_not_finite(array)
        if bad:
            raise DataError(f"{reference}: {bad} voxels are NaN or infinite; replace them before training")
        if source.axcodes:
            array, affine = reorient(array, affine, source.axcodes)
        own = Grid(tuple(array.shape[:3]), affine)
        outside = marked_outside(array, source) if is_target and not labels else None
        array = put_air(array, outside, source)
        known = None if outside is None else ~outside
        if not own.is_same(grid):
            is_first = is_image and name == self._config.image[0]
            if not source.pixdim and not is_first and not self._follows(own, subject):
                raise DataError(
                    f"{reference}: its grid {own.shape} differs from that of [{self._config.image[0]}] "
                    f"{grid.shape}; set pixdim in [{name}] to have it resampled, or correct the file"
                )
            order = 0 if labels else source.interp_order
            if is_target:
                found = known_on(outside, array.shape, affine, grid.shape, grid.affine)
                known = None if found.all() else found
            array = resample_like(array, affine, grid.shape, grid.affine, order, fill=fill_value(source))
        return array[..., None] if array.ndim == 3 else array, known

    def _follows(self, own: Grid, subject: Subject) -> bool:
        """Says whether a volume is on the image's original grid, which `[PREPROCESSING]` exchanged for another."""
        return self._preprocessed.changes_grid and own.is_same(self._turned(self.native_grid(subject)))

    def _key(self, subject: Subject, name: str, grid: Grid, role: str, **more: Any) -> dict[str, Any]:
        source = self._config.sources[name]
        image = self._seen(subject, name) if role == "image" else subject.images[name]
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
        if isinstance(task, ImageTarget):
            prepare = self._placing(subject, task) if isinstance(task, PointTarget) else task.prepare_value
            return self._cohort.value(subject, task, prepare), None
        if not isinstance(task, VoxelTarget):
            raise TypeError(f"task {task.name!r} has a target that is neither per voxel nor per image")
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

        read: list[np.ndarray | None] = []

        def compute() -> np.ndarray:
            array, known = self._read_known(subject, name, self._inner_grid(subject), labels, False, is_target=True)
            read.append(known)
            return self._pad(task.prepare_map(array), "constant" if labels else None)

        def compute_known() -> np.ndarray:
            if not read:
                inner = self._inner_grid(subject)
                read.append(self._read_known(subject, name, inner, labels, False, is_target=True)[1])
            known = read.pop()
            # Voxels that volume_padding_size adds are as well known as those that they lie beside.
            return ALL_KNOWN if known is None else self._pad(known[..., None], "edge")

        target = self._stored(key, compute, subject.images[name])
        inside = self._stored({**key, "role": "known", "of": task.target_kind}, compute_known, subject.images[name])
        return target, None if inside.size == 1 else inside[..., 0]

    def _extra_volume(self, subject: Subject, name: str, grid: Grid, labels: bool) -> np.ndarray:
        """Returns the sampler's or the weight map's volume, `(x, y, z)`."""
        if name not in subject.images:
            raise DataError(
                f"subject {subject.subject_id!r} has no file for [{name}], by which windows are drawn or weighed"
            )
        key = self._key(subject, name, grid, role="extra", labels=labels)

        def compute() -> np.ndarray:
            weights = self._read(subject, name, self._inner_grid(subject), labels)
            if not labels and weights.min() < 0:
                raise DataError(f"holds negative weights, down to {weights.min():g}; write 0 or more")
            return self._pad(weights, "constant")

        return self._stored(key, compute, subject.images[name])[..., 0]

    def _stored(self, key: Mapping[str, Any], compute: Any, image: ImageRef) -> np.ndarray:
        """Returns the stored array; a message about its content names the image it came from."""

        def named() -> np.ndarray:
            with _naming(image):
                return compute()

        return self._store.array(key, named, sliced_axis=self._sliced_axis)


@contextlib.contextmanager
def _naming(image: ImageRef) -> Iterator[None]:
    """Puts the image before a message about its content that does not name it."""
    try:
        yield
    except DataError as error:
        if image.name in str(error):
            raise
        raise DataError(f"{image}: {error}") from error
