"""Slices of a run's subjects as its network is fed them, and its answers turned to how they are looked at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from sfgkeras.analysis.pictures import PLANES, canonical, choose_slices, radiological_slice
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.session import Session, open_session
from sfgkeras.config import Config
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import Reporter
from sfgkeras.tables.samplers import SAMPLERS

NUM_SLICES = 2
Slice = tuple[str, int]


@dataclass(frozen=True)
class ShownSlice:
    """One slice of a subject.

    Attributes:
        title: Its name in figures.
        window: What the network is fed, `(*spatial, channels)`.
        show: Cuts the slice out of values over the window, `(*spatial)` at its size or a smaller one, and turns it.
    """

    title: str
    window: np.ndarray
    show: Callable[[np.ndarray], np.ndarray]

    @property
    def image(self) -> np.ndarray:
        """The first channel of what the network sees, `(rows, columns)`."""
        return self.show(self.window[..., 0])


@dataclass(frozen=True)
class NetworkSlices:
    """A trained network, and slices to show it.

    Attributes:
        session: The run.
        network: Its network.
        iteration: Of the saved state that the network is from.
        slices: Subject ids and numbers.
        volumes: What the network sees of each subject.
    """

    session: Session
    network: Any
    iteration: int
    slices: Sequence[Slice]
    volumes: dict[str, np.ndarray]

    def __iter__(self) -> Iterator[ShownSlice]:
        """Yields the slices in turn."""
        config = self.session.config
        axis = _sliced_axis(config)
        for name, index in self.slices:
            turn = _turning(self.session, self.session.cohort.subjects[name], axis)
            window, inside = _window(config, self.volumes[name], index, axis, name)
            title = name if self.volumes[name].shape[axis] == 1 else f"{name}, slice {index}"
            yield ShownSlice(title, window, _then(inside, turn))


def _then(first: Callable[[np.ndarray], np.ndarray], second: Callable[[np.ndarray], np.ndarray]) -> Any:
    return lambda values: second(first(values))


def open_network_slices(config: Config, reporter: Reporter, slices: Sequence[Slice] | None = None) -> NetworkSlices:
    """Restores the network of a run and reads the subjects that slices are of.

    Args:
        config: The configuration of a run that has a saved state.
        reporter: Shows progress.
        slices: Subject ids and slice numbers, on the grid that the network sees, across the axis that windows cut
            (the last one of 3-D windows). None takes two of the first subject that was kept for inference, or the
            first two subjects where they are single slices.

    Raises:
        ConfigError: If a subject is unknown.
        DataError: If there is no saved state, or the images cannot be read.
    """
    from sfgkeras.applications.inference.restored_network import restore_network

    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter, warn=reporter.warning)
    session = open_session(config, reporter, training=False)
    wanted = list(dict.fromkeys(name for name, _ in slices)) if slices else _usual_subjects(session)
    unknown = [name for name in wanted if name not in session.cohort.subjects]
    if unknown:
        raise ConfigError(
            f"there is no subject {unknown[0]!r}; known are {', '.join(list(session.cohort.subjects)[:5])}"
        )
    subjects = [session.cohort.subjects[name] for name in wanted]
    session.preprocess(subjects, reporter)
    volumes = {subject.subject_id: np.asarray(session.preparation.image(subject)) for subject in subjects}
    first = volumes[wanted[0]]
    network = restore_network(session, checkpoints, state, first.shape[-1], reporter)
    if not slices:
        depth = first.shape[_sliced_axis(config)]
        indices = choose_slices(depth, NUM_SLICES)
        slices = [(wanted[0], index) for index in indices] if depth > 1 else [(name, 0) for name in wanted]
    return NetworkSlices(session, network, int(state.record["iteration"]), slices, volumes)


def _usual_subjects(session: Session) -> list[str]:
    subjects = session.cohort.phase("inference", "validation", "training")
    if not subjects:
        raise DataError(f"{session.config.system.dataset_split_file}: names no subject to show activations of")
    return [subject.subject_id for subject in subjects[:NUM_SLICES]]


def _sliced_axis(config: Config) -> int:
    return config.window_size.index(1) if 1 in config.window_size else 2


def _window(
    config: Config, volume: np.ndarray, index: int, axis: int, name: str
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Returns what the network is fed to answer to a slice, and what cuts that slice out of an answer.

    Networks with one output per image are fed the resized image; 2-D networks the whole slice in its frame of zeros;
    3-D networks a window around the slice, cut at its middle.
    """
    if not 0 <= index < volume.shape[axis]:
        raise ConfigError(f"{name} has no slice {index}: the network sees {volume.shape[axis]} slices, from 0")
    frame, window = config.multitask.loss_border, config.window_size
    is_resized = SAMPLERS[config.network.window_sampling].whole or not config.sees_windows
    if 1 not in window:
        if is_resized:
            # Depth follows the resizing.
            place = index / volume.shape[axis]
            return resize_linear(volume, window), lambda values: values[:, :, int(place * values.shape[2])]
        start = [
            int(np.clip((index if a == axis else length // 2) - size // 2, 0, max(length - size, 0)))
            for a, (length, size) in enumerate(zip(volume.shape[:3], window, strict=True))
        ]
        piece = volume[tuple(slice(s, s + size) for s, size in zip(start, window, strict=True))]
        framed = np.pad(piece, [(frame, frame)] * 3 + [(0, 0)])
        depth = index - start[axis] + frame

        def cut(values: np.ndarray) -> np.ndarray:
            # Behind a pooling the depth, as the frame, is that of fewer voxels.
            place = int(depth * values.shape[2] / framed.shape[2])
            return values[_within(values, framed.shape, frame, 2) + (place,)]

        return framed, cut
    image = np.take(volume, index, axis=axis)
    if is_resized:
        return resize_linear(image, [size for size in window if size != 1]), lambda values: values
    framed = np.pad(image, [(frame, frame)] * 2 + [(0, 0)])
    return framed, lambda values: values[_within(values, framed.shape, frame, 2)]


def _within(values: np.ndarray, full: Sequence[int], frame: int, axes: int) -> tuple[slice, ...]:
    """Returns what lies within a frame of zeros, for values at the window's size or a smaller one."""
    cuts = [(length, round(frame * length / size)) for length, size in zip(values.shape[:axes], full, strict=False)]
    return tuple(slice(cut, length - cut) for length, cut in cuts)


def _turning(session: Session, subject: Subject, axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what turns a slice `(first, second)` to how it is looked at; photos are shown as they are stored."""
    source = session.config.image[0]
    if subject.images[source].is_photo:
        return np.asarray
    affine = session.preparation.grid(subject).affine
    across = int(io_orientation(affine)[axis, 0])
    plane = next(name for name, number in PLANES.items() if number == across)

    def turn(image: np.ndarray) -> np.ndarray:
        turned, _ = canonical(np.expand_dims(image, axis), affine)
        return radiological_slice(turned, plane, 0)

    return turn
