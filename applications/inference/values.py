"""Writes the table of values: a row per subject, a column or more for every task of values."""

import csv
import functools
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.applications.inference.ensemble import Predicting, PredictingOne
from sfgkeras.applications.inference.passes import ONE_PASS, Passes
from sfgkeras.applications.inference.read_ahead import reading_ahead
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, write_text
from sfgkeras.applications.subjects.frames import frame_of
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.applications.tasks.table import image_tasks, voxel_tasks
from sfgkeras.applications.tasks.targets import ImageTarget, PointTarget
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.data.points import Move, points_between
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter, Stage

Row = dict[str, Any]
Rows = dict[str, dict[str, Row]]
"""By subject and task, the columns of the task."""


def infer_values(
    session: Session,
    predictor: Predicting,
    subjects: Sequence[Subject],
    provenance: Provenance,
    reporter: Reporter,
    passes: Passes = ONE_PASS,
) -> None:
    """Predicts the tasks of values of every subject and writes one table.

    A task is told from the whole image, resized to the window; or with `per = window` from all windows of the image,
    whose activated outputs are averaged; or from where the maps of all windows are largest.
    """
    path = session.config.inference.save_seg_dir / VALUES_FILE
    if provenance.is_done([path]):
        reporter.message(f"{path} was done")
        return
    provenance.begin([path])
    tasks = image_tasks(session.tasks)
    rows: Rows = {subject.subject_id: {} for subject in subjects}
    title = "inference of values" if voxel_tasks(session.tasks) else "inference"
    located = {name: task for name, task in tasks.items() if isinstance(task, PointTarget) and task.is_map}
    others = {name: task for name, task in tasks.items() if name not in located}
    per_window = {name: task for name, task in others.items() if task.is_per_window}
    per_image = {name: task for name, task in others.items() if not task.is_per_window}
    ways: Sequence[tuple[Mapping[str, Any], Callable[..., None]]] = (
        (per_image, _infer_images),
        (per_window, functools.partial(_infer_one_by_one, _of_windows)),
        (located, functools.partial(_infer_one_by_one, _of_places)),
    )
    for chosen, infer in ways:
        if chosen:
            with reporter.stage(title, len(subjects)) as stage:
                infer(session, predictor, chosen, subjects, passes, stage, rows)
    table = [
        {"subject_id": subject_id, **{column: value for name in tasks for column, value in of_task[name].items()}}
        for subject_id, of_task in rows.items()
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(path, text.getvalue())
    provenance.record([path])


def _infer_images(
    session: Session,
    predictor: Predicting,
    tasks: Mapping[str, RowTask],
    subjects: Sequence[Subject],
    passes: Passes,
    stage: Stage,
    rows: Rows,
) -> None:
    """Predicts from whole images, several subjects at a time."""
    size = session.config.network.batch_size
    # Subjects of one batch are predicted by the same networks.
    alike = itertools.groupby(subjects, lambda subject: id(predictor.of(subject.subject_id)))
    runs = [list(found) for _, found in alike]
    chunks = [run[first : first + size] for run in runs for first in range(0, len(run), size)]

    def read(chunk: Sequence[Subject]) -> np.ndarray:
        return np.stack([_whole_image(session, subject) for subject in chunk])

    with reading_ahead(chunks, read) as batches:
        for chunk, windows in batches:
            means, spreads = passes.predict(tasks, functools.partial(predictor.of(chunk[0].subject_id).values, windows))
            for number, subject in enumerate(chunk):
                for name, task in tasks.items():
                    spread = {ending: values[number] for ending, values in spreads[name].items()}
                    rows[subject.subject_id][name] = finish_row(session, task, subject, means[name][number], spread)
            stage.advance(len(chunk))


def _infer_one_by_one(
    outputs: Callable[[PredictingOne, np.ndarray, Mapping[str, Any]], dict[str, np.ndarray]],
    session: Session,
    predictor: Predicting,
    tasks: Mapping[str, RowTask],
    subjects: Sequence[Subject],
    passes: Passes,
    stage: Stage,
    rows: Rows,
) -> None:
    """Predicts from every image by itself; `outputs` are those of one pass."""
    with reading_ahead(subjects, session.preparation.image) as images:
        for subject, image in images:
            of_subject = predictor.of(subject.subject_id)
            means, spreads = passes.predict(tasks, functools.partial(outputs, of_subject, image, tasks))
            for name, task in tasks.items():
                rows[subject.subject_id][name] = finish_row(session, task, subject, means[name], spreads[name])
            stage.advance(1, subject.subject_id)


def _of_windows(runs: PredictingOne, image: np.ndarray, tasks: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the outputs from all windows of an image."""
    return runs.window_values(image)


def _of_places(runs: PredictingOne, image: np.ndarray, tasks: Mapping[str, PointTarget]) -> dict[str, np.ndarray]:
    """Returns the places that are found in the maps of an image."""
    volumes = runs.located_volumes(image)
    return {name: task.locate(volumes.pop(name)) for name, task in tasks.items()}


def finish_row(
    session: Session, task: RowTask, subject: Subject, outputs: np.ndarray, spread: Mapping[str, Any]
) -> Row:
    """Returns the columns of one task for one subject."""
    if isinstance(task, PointTarget):
        frame = frame_of(session.config, subject)
        if task.is_map:
            size, to_file = list(session.preparation.grid(subject).shape), _from_grid(session, subject)
        else:
            size = [size for size in session.config.window_size if size != 1]
            to_file = _to_file(session, subject)
        row = task.finish_points(outputs, to_file, size, frame)
        return row | task.finish_points_spread(spread, to_file, size, frame)
    if not isinstance(task, ImageTarget):
        raise TypeError(f"task {task.name!r} has a target that is neither the image's nor a place in it")
    return task.finish_value(outputs) | task.finish_value_spread(spread)


def _from_grid(session: Session, subject: Subject) -> Move:
    """Returns what takes points `(n, 3)` of the grid that the network sees to voxels of the file."""
    return points_between(session.preparation.grid(subject).affine, session.preparation.native_grid(subject).affine)


def _to_file(session: Session, subject: Subject) -> Move:
    """Returns what takes points `(n, rank)` of a window that is the whole image to voxels of its file, `(n, 3)`."""
    window, grid, to_file = (
        session.config.window_size, session.preparation.grid(subject), _from_grid(session, subject)
    )  # fmt: skip

    def move(points: np.ndarray) -> np.ndarray:
        points = np.asarray(points, np.float64)
        on_grid = np.zeros((len(points), 3))
        axes = [axis for axis, size in enumerate(window) if size != 1]
        for column, axis in enumerate(axes):
            # Voxels are areas: their edges are resized, not their centres.
            on_grid[:, axis] = (points[:, column] + 0.5) * (grid.shape[axis] / window[axis]) - 0.5
        return to_file(on_grid)

    return move


def _whole_image(session: Session, subject: Subject) -> np.ndarray:
    """Returns the subject's image resized to the window, as the `resize` sampler does it in training."""
    image = np.asarray(session.preparation.image(subject))
    window = session.config.window_size
    if 1 in window:
        sliced = window.index(1)
        if image.shape[sliced] != 1:
            tasks = ", ".join(name for name, task in image_tasks(session.tasks).items() if not task.is_per_window)
            raise DataError(
                f"{subject.images[session.config.image[0]]}: has {image.shape[sliced]} slices; tasks with one value "
                f"per image ({tasks}) need a 3-D window, images of one slice, or per = window"
            )
        return resize_linear(np.squeeze(image, axis=sliced), [size for size in window if size != 1])
    return resize_linear(image, window)
