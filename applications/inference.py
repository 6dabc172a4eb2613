"""Writes predictions: one file per task and subject, on the subject's own grid, or one table of values."""

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.files import VALUES_FILE, Provenance, prediction_path, write_text
from sfgkeras.applications.monte_carlo import ONE_PASS, Passes, spread_endings
from sfgkeras.applications.predictor import Predictor
from sfgkeras.applications.reporter import Reporter
from sfgkeras.applications.session import Session
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.data.nifti import read_header, write_image
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.resampling import resample_like


def infer_volumes(
    session: Session,
    predictor: Predictor,
    subjects: Sequence[Subject],
    provenance: Provenance,
    reporter: Reporter,
    passes: Passes = ONE_PASS,
) -> None:
    """Predicts the volumes of each subject that has none yet from this checkpoint and these settings."""
    paths_of = {subject.subject_id: result_paths(session, subject) for subject in subjects}
    provenance.begin(path for paths in paths_of.values() if not provenance.is_done(paths) for path in paths)
    with reporter.stage("inference", len(subjects)) as stage:
        for subject in subjects:
            paths = paths_of[subject.subject_id]
            if provenance.is_done(paths):
                stage.advance(1, f"{subject.subject_id} was done")
                continue
            image = session.preparation.image(subject)
            means, spreads = passes.predict(session.tasks, functools.partial(predictor.volumes, image))
            for name, volume in means.items():
                _write_volume(session, subject, name, volume, spreads[name])
            provenance.record(paths)
            stage.advance(1, subject.subject_id)


def _write_volume(
    session: Session, subject: Subject, name: str, aggregated: np.ndarray, spread: Mapping[str, np.ndarray]
) -> None:
    config, preparation = session.config, session.preparation
    grid, native = preparation.grid(subject), preparation.native_grid(subject)

    def resample(volume: np.ndarray, order: int, fill: float) -> np.ndarray:
        if grid.is_like(native):
            return volume
        return resample_like(volume, grid.affine, native.shape, native.affine, order, fill=fill)

    inference = config.inference
    source = config.image[0]
    header = read_header(subject.files[source], config.sources[source].loader)
    volumes = session.tasks[name].finish_map(
        aggregated, resample, inference.output_interp_order, inference.fill_constant
    )
    volumes |= session.tasks[name].finish_spread(spread, resample, inference.output_interp_order)
    for ending, volume in volumes.items():
        write_image(prediction_path(config, subject.subject_id, name, ending), volume, native.affine, header)


def result_paths(session: Session, subject: Subject) -> list[Path]:
    """Returns the files that the inference of one subject writes."""
    return [
        prediction_path(session.config, subject.subject_id, name, ending)
        for name, task in session.tasks.items()
        for ending in (*task.map_endings, *spread_endings(session.config, task))
    ]


def infer_values(
    session: Session,
    predictor: Predictor,
    subjects: Sequence[Subject],
    provenance: Provenance,
    reporter: Reporter,
    passes: Passes = ONE_PASS,
) -> None:
    """Predicts the scalar tasks of every subject and writes one table."""
    config = session.config
    path = config.inference.save_seg_dir / VALUES_FILE
    if provenance.is_done([path]):
        reporter.message(f"{path} was done")
        return
    provenance.begin([path])
    rows: list[dict[str, Any]] = []
    batch_size = config.network.batch_size
    with reporter.stage("inference", len(subjects)) as stage:
        for first in range(0, len(subjects), batch_size):
            chunk = subjects[first : first + batch_size]
            windows = np.stack([_whole_image(session, subject) for subject in chunk])
            means, spreads = passes.predict(session.tasks, functools.partial(predictor.values, windows))
            for i, subject in enumerate(chunk):
                row: dict[str, Any] = {"subject_id": subject.subject_id}
                for name, task in session.tasks.items():
                    row |= task.finish_value(means[name][i])
                    row |= task.finish_value_spread({ending: values[i] for ending, values in spreads[name].items()})
                rows.append(row)
            stage.advance(len(chunk))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
    provenance.record([path])


def _whole_image(session: Session, subject: Subject) -> np.ndarray:
    """Returns the subject's image resized to the window, as the `resize` sampler does it in training."""
    image = np.asarray(session.preparation.image(subject))
    window = session.config.window_size
    if 1 in window:
        sliced = window.index(1)
        if image.shape[sliced] != 1:
            raise DataError(
                f"{subject.files[session.config.image[0]]}: has {image.shape[sliced]} slices; a network "
                "with one output per image needs a 3-D window or images of one slice"
            )
        return resize_linear(np.squeeze(image, axis=sliced), [size for size in window if size != 1])
    return resize_linear(image, window)
