"""Activation maps of a trained network's filters on slices of its subjects."""

from collections.abc import Callable, Sequence

import numpy as np
from nibabel.orientations import io_orientation

from sfgkeras.analysis.activation_maps import ActivationMaps, choose_maps
from sfgkeras.analysis.pictures import PLANES, canonical, choose_slices, radiological_slice
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.session import Session, open_session
from sfgkeras.config import Config
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import Reporter

NUM_SLICES = 2


def collect_activations(
    config: Config, reporter: Reporter, slices: Sequence[tuple[str, int]] | None = None
) -> ActivationMaps | None:
    """Runs the trained network on slices and chooses the filters of lowest and highest entropy of every group.

    Args:
        config: The configuration of a run that has a saved state.
        reporter: Shows progress.
        slices: Subject ids and slice numbers, on the grid that the network sees, across the axis that windows cut
            (the last one of 3-D windows). None takes two of the first subject that was kept for inference.

    Returns:
        The maps; None where the network has no grouping probabilities.

    Raises:
        ConfigError: If a subject is unknown or has no such slice.
        DataError: If there is no saved state, or the images cannot be read.
    """
    from sfgkeras.applications.inference.restored_network import restore_network
    from sfgkeras.networks import filter_activations

    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter, warn=reporter.warning)
    session = open_session(config, reporter, training=False)
    names = list(dict.fromkeys(name for name, _ in slices)) if slices else _usual_subject(session)
    unknown = [name for name in names if name not in session.cohort.subjects]
    if unknown:
        raise ConfigError(
            f"there is no subject {unknown[0]!r}; known are {', '.join(list(session.cohort.subjects)[:5])}"
        )
    subjects = [session.cohort.subjects[name] for name in names]
    session.preprocess(subjects, reporter)
    volumes = {subject.subject_id: np.asarray(session.preparation.image(subject)) for subject in subjects}
    first = volumes[names[0]]
    network = restore_network(session, checkpoints, state, first.shape[-1], reporter)
    if not network.groupings():
        return None
    probabilities = network.grouping_probabilities()
    axis = _sliced_axis(config)
    wanted = slices or [(names[0], index) for index in choose_slices(first.shape[axis], NUM_SLICES)]
    shown: list[np.ndarray] = []
    maps: dict[str, list[np.ndarray]] = {name: [] for name in probabilities}
    with reporter.stage("activation maps", len(wanted)) as stage:
        for name, index in wanted:
            turn = _turning(session, session.cohort.subjects[name], axis)
            window, inside = _window(config, volumes[name], index, axis, name)
            shown.append(turn(inside(window[..., 0])))
            for layer, values in filter_activations(network, window[None]).items():
                maps[layer].append(np.stack([turn(inside(one)) for one in np.moveaxis(values[0], -1, 0)], axis=-1))
            stage.advance(1, f"{name}, slice {index}")
    titles = [f"{name}, slice {index}" for name, index in wanted]
    same = {image.shape for image in shown}
    if len(same) > 1:
        raise ConfigError(f"slices of one size are needed, these have {sorted(same)}; name slices of one subject")
    activations = {layer: np.stack(found) for layer, found in maps.items()}
    groups = (*session.tasks, "shared")
    return choose_maps(activations, probabilities, np.stack(shown), titles, groups, int(state.record["iteration"]))


def _usual_subject(session: Session) -> list[str]:
    subjects = session.cohort.phase("inference", "validation", "training")
    if not subjects:
        raise DataError(f"{session.config.system.dataset_split_file}: names no subject to show activations of")
    return [subjects[0].subject_id]


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
    is_resized = config.network.window_sampling == "resize" or config.is_window_network
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
        return framed, lambda values: values[_within(values, frame, 2) + (depth,)]
    image = np.take(volume, index, axis=axis)
    if is_resized:
        return resize_linear(image, [size for size in window if size != 1]), lambda values: values
    framed = np.pad(image, [(frame, frame)] * 2 + [(0, 0)])
    return framed, lambda values: values[_within(values, frame, 2)]


def _within(values: np.ndarray, frame: int, axes: int) -> tuple[slice, ...]:
    return tuple(slice(frame, length - frame) for length in values.shape[:axes])


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
