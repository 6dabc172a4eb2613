"""Writes predicted volumes: one file per task and subject, on the subject's own grid."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.inference.activation_memory import VoxelLimit
from sfgkeras.applications.inference.class_maps import class_map_paths
from sfgkeras.applications.inference.ensemble import Predicting, PredictingOne
from sfgkeras.applications.inference.passes import ONE_PASS, Passes
from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.read_ahead import WriteBehind, reading_ahead
from sfgkeras.applications.inference.result_maps import MapFinisher
from sfgkeras.applications.records.files import Provenance, digest, prediction_path
from sfgkeras.applications.subjects.frames import file_axes
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks import result_names
from sfgkeras.applications.tasks.table import image_tasks, voxel_tasks
from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import Header, write_image
from sfgkeras.data.scratch import Scratch
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter
from sfgkeras.tables.samplers import SAMPLERS

LARGE_VOLUME = 1 << 29
"""Bytes of an image in memory from which on subjects are read, predicted and written one after the other."""


def build_predictor(session: Session, network: Any, image_channels: int, reporter: Reporter) -> Predictor:
    """Builds what runs a network over volumes as the configuration says.

    Args:
        session: The run.
        network: The network, ready for inference.
        image_channels: Channels of the image.
        reporter: Hears what the user should look into.
    """
    config = session.config
    inference, frame = config.inference, 2 * config.multitask.loss_border
    values = image_tasks(session.tasks).values()
    is_per_window = any(task.is_per_window for task in values)
    has_one_size = any(task.settings.head_pooling == "flatten" for task in values)
    window_voxels = math.prod(size + frame for size in config.window_size if size != 1)
    return Predictor(
        network,
        session.tasks,
        config.inference_window_size,
        inference.border,
        inference.blending,
        config.network.batch_size,
        config.network.smaller_final_batch_mode == "pad",
        config.multitask.loss_border,
        limit=VoxelLimit(network, config.spatial_rank, image_channels, config.network.batch_size * window_voxels),
        prefer_whole_slices=inference.spatial_window_size is None and not (has_one_size or is_per_window),
        keep_batches=config.network.batch_norm == "batch",
        warn=reporter.warning,
        resizes=SAMPLERS[config.network.window_sampling].whole,
        has_one_size=has_one_size,
    )


@dataclass(frozen=True)
class _Input:
    """What is read of a subject before its turn: the image `(x, y, z, channels)` and where results go.

    Its `axes` are those of its own array that files call x, y and z.
    """

    image: np.ndarray
    grid: Grid
    native: Grid
    header: Header
    axes: tuple[int, int, int]


def infer_volumes(
    session: Session,
    predictor: Predicting,
    subjects: Sequence[Subject],
    provenance: Provenance,
    reporter: Reporter,
    passes: Passes = ONE_PASS,
) -> None:
    """Predicts the volumes of each subject that has none yet from this checkpoint and these settings.

    While the network works on one subject, the next one is read and the one before is written. Only one large subject
    is there at a time.
    """
    paths_of = {subject.subject_id: result_paths(session, subject) for subject in subjects}
    missing = [subject for subject in subjects if not provenance.is_done(paths_of[subject.subject_id])]
    provenance.begin(path for subject in missing for path in paths_of[subject.subject_id])
    wanted = {subject.subject_id for subject in missing}
    is_large = functools.partial(_is_large, session)
    with reporter.stage("inference", len(subjects)) as stage, WriteBehind() as writer:
        for subject in subjects:
            if subject.subject_id not in wanted:
                stage.advance(1, f"{subject.subject_id} was done")
        with reading_ahead(missing, functools.partial(_read, session), is_large) as inputs:
            for subject, found in inputs:
                maps = _predict(session, predictor.of(subject.subject_id), found, passes)
                paths = paths_of[subject.subject_id]
                writer.submit(functools.partial(_write, session, subject, maps, found, provenance, paths))
                del maps, found
                if is_large(subject):
                    writer.wait()
                stage.advance(1, subject.subject_id)


def _read(session: Session, subject: Subject) -> _Input:
    preparation, header = session.preparation, subject.images[session.config.image[0]].header()
    image = np.asarray(preparation.image(subject))
    axes = file_axes(subject.images[session.config.image[0]])
    return _Input(image, preparation.grid(subject), preparation.native_grid(subject), header, axes)


def _is_large(session: Session, subject: Subject) -> bool:
    """Says whether a subject should not be in memory together with another."""
    try:
        shapes = (session.preparation.grid(subject).shape, session.preparation.native_grid(subject).shape)
    except DataError:
        return False  # reading it will say why, in its turn
    return max(math.prod(shape) for shape in shapes) * len(session.config.image) * 4 > LARGE_VOLUME


def _predict(
    session: Session, predictor: PredictingOne, found: _Input, passes: Passes
) -> dict[tuple[str, str], np.ndarray]:
    """Returns one subject's maps on its own grid, by task and ending."""
    config, scratch = session.config, Scratch(session.config.system.cache_dir)
    order, constant = config.inference.output_interp_order, config.inference.fill_constant
    finishers = {
        name: MapFinisher(
            task,
            found.grid,
            found.native,
            order,
            task.outside_value if constant is None else constant,
            scratch,
            found.axes,
            found.image,
        )
        for name, task in voxel_tasks(session.tasks).items()
    }
    predict = functools.partial(predictor.slabs, found.image)
    for name, region, outputs, spread in passes.slabs(session.tasks, predict, scratch.empty):
        finishers[name].add(region, outputs, spread)
    return {
        (name, ending): volume for name, finisher in finishers.items() for ending, volume in finisher.results().items()
    }


def _write(
    session: Session,
    subject: Subject,
    maps: dict[tuple[str, str], np.ndarray],
    found: _Input,
    provenance: Provenance,
    paths: Sequence[Path],
) -> None:
    for (name, ending), volume in maps.items():
        path = prediction_path(session.config, subject.subject_id, name, ending)
        if not ending and voxel_tasks(session.tasks)[name].writes_vectors:
            volume = np.reshape(volume, (*volume.shape[:3], -1, 3))
        write_image(path, volume, found.native.affine, found.header)
    provenance.record(paths)


def result_paths(session: Session, subject: Subject) -> list[Path]:
    """Returns the files that the inference of one subject writes."""
    return result_names.result_paths(session.config, session.tasks, subject.subject_id)


def contents_of_results(session: Session, subjects: Sequence[Subject]) -> Callable[[Path], str]:
    """Returns a function: path of a result -> digest of the content of the images that it is made from."""
    subject_of = {
        path.name: subject
        for subject in subjects
        for path in (
            *result_paths(session, subject),
            *class_map_paths(session.config, session.tasks, [subject.subject_id]),
        )
    }

    def content(path: Path) -> str:
        if path.name in subject_of:
            return digest(_contents(session, subject_of[path.name]))
        return digest({subject.subject_id: _contents(session, subject) for subject in subjects})

    return content


def _contents(session: Session, subject: Subject) -> list[str]:
    return [subject.images[name].fingerprint() for name in session.config.image]
