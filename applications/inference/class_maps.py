"""Writes where each subject's image speaks for a class: a volume for every task of classes, on its own grid."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.analysis.uncertainty import Allocate, PassStatistics, in_memory
from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.applications.inference.read_ahead import reading_ahead
from sfgkeras.applications.inference.result_maps import MapFinisher
from sfgkeras.applications.records.files import Provenance, prediction_path
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.classification import ClassificationTask
from sfgkeras.applications.tasks.outputs import Resample, VolumeTask
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.nifti import write_image
from sfgkeras.data.scratch import Scratch
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import Problem
from sfgkeras.reporter import Reporter
from sfgkeras.tables.samplers import SAMPLERS


class ClassMapTask(VolumeTask):
    """The map of a task of classes as a result per voxel, so that windows, blending and grids are those of any map."""

    @property
    def num_outputs(self) -> int:
        """A channel for each class."""
        return int(self.settings.num_classes or 0)

    @property
    def target_kind(self) -> str:
        """`class`."""
        return "class"

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the map as it is."""
        return outputs

    def build_statistics(self, allocate: Allocate = in_memory) -> PassStatistics:
        """Refuses: a map is of one pass."""
        raise NotImplementedError("maps of classes are of one pass")

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Returns the map of the one class that was chosen, `(x, y, z)`."""
        return {"": np.asarray(resample(aggregated[..., 0], order, 0.0), np.float32)}

    def evaluate_map(self, *given: Any, **named: Any) -> list[dict[str, Any]]:
        """Refuses: there is no truth of it."""
        raise NotImplementedError("maps of classes have no truth to be compared with")


class _WithMaps:
    """A network that gives the maps of its classes besides, by the name of the task and the kind of map."""

    def __init__(self, network: Any, tasks: Mapping[str, ClassificationTask], method: str) -> None:
        self._network = network
        self._tasks = tasks
        self._method = method

    def __call__(self, windows: Any, training: bool) -> dict[str, Any]:
        from sfgkeras.networks.class_maps import class_maps

        found = dict(self._network(windows, training=training))
        for name, task in self._tasks.items():
            found[_map_name(name)] = class_maps(self._network, windows, name, self._method, task.has_one_logit)
        return found


def _map_name(task: str) -> str:
    return f"{task} map"


def class_tasks(config: Config, tasks: Mapping[str, Task]) -> dict[str, ClassificationTask]:
    """Returns the tasks whose maps inference writes; none where it is not asked for any."""
    if config.inference.class_activation_maps == "none":
        return {}
    return {name: task for name, task in tasks.items() if isinstance(task, ClassificationTask)}


def class_map_path(config: Config, subject_id: str, task: str) -> Path:
    """Returns the file of one subject's map of a task."""
    return prediction_path(config, subject_id, task, f"_{config.inference.class_activation_maps}")


def class_map_paths(config: Config, tasks: Mapping[str, Task], subject_ids: Iterable[str]) -> dict[Path, str]:
    """Returns all files of maps that inference writes, each with its subject."""
    return {
        class_map_path(config, subject_id, name): subject_id
        for subject_id in subject_ids
        for name in class_tasks(config, tasks)
    }


def chosen_class(config: Config, task: ClassificationTask) -> int | None:
    """Returns the number of the class whose map is asked for; None for the predicted one.

    Raises:
        Problem: If a task has no such class.
    """
    wanted = config.inference.class_activation_of
    if wanted is None:
        return None
    if wanted not in task.class_labels:
        raise Problem(
            f"is no class of task {task.name!r}",
            f"its classes are {', '.join(map(str, task.class_labels))}; leave it out for the predicted one",
            key="class_activation_of",
            value=wanted,
            section="INFERENCE",
            file=str(config.path),
        )
    return task.class_labels.index(wanted)


def infer_class_maps(
    session: Session,
    network: Any,
    subjects: Sequence[Subject],
    provenance: Provenance,
    reporter: Reporter,
) -> None:
    """Writes the maps of each subject that has none yet from this checkpoint and these settings.

    Tasks of whole images have the map of the image resized to the window, brought back to its size; with `per = window`
    those of all windows are blended as maps of a segmentation are.
    """
    config = session.config
    tasks = class_tasks(config, session.tasks)
    paths = {
        subject.subject_id: list(class_map_paths(config, session.tasks, [subject.subject_id])) for subject in subjects
    }
    missing = [subject for subject in subjects if not provenance.is_done(paths[subject.subject_id])]
    provenance.begin(path for subject in missing for path in paths[subject.subject_id])
    # A task of whole images sees them resized, whatever windows other tasks have.
    whole = {name: task for name, task in tasks.items() if _is_whole(config, task)}
    groups = (whole, {name: task for name, task in tasks.items() if name not in whole})
    predictors = [(_build_predictor(config, network, group), group) for group in groups if group]
    with (
        reporter.stage(f"maps of classes ({config.inference.class_activation_maps})", len(subjects)) as stage,
        reading_ahead(missing, session.preparation.image) as images,
    ):
        stage.advance(len(subjects) - len(missing))
        for subject, image in images:
            for predictor, group in predictors:
                _write_maps(session, predictor, group, subject, np.asarray(image))
            provenance.record(paths[subject.subject_id])
            stage.advance(1, subject.subject_id)


def _is_whole(config: Config, task: ClassificationTask) -> bool:
    return not task.is_per_window or SAMPLERS[config.network.window_sampling].whole


def _as_maps(name: str, task: ClassificationTask) -> ClassMapTask:
    return ClassMapTask(name, task.source, task.settings, task.source_settings, task.labels)


def _build_predictor(config: Config, network: Any, tasks: Mapping[str, ClassificationTask]) -> Predictor:
    """Builds what predicts the classes of tasks, which all see whole images or all windows, and their maps."""
    is_whole, inference = any(_is_whole(config, task) for task in tasks.values()), config.inference
    maps = {_map_name(name): _as_maps(_map_name(name), task) for name, task in tasks.items()}
    return Predictor(
        _WithMaps(network, tasks, inference.class_activation_maps),
        {**tasks, **maps},
        config.window_size if is_whole else config.inference_window_size,
        (0, 0, 0) if is_whole else inference.border,
        inference.blending,
        config.network.batch_size,
        # One image is a batch of one; statistics of a batch want it full.
        fill_last_batch=config.network.batch_norm == "batch",
        loss_border=0 if is_whole else config.multitask.loss_border,
        keep_batches=config.network.batch_norm == "batch",
        resizes=is_whole,
        has_one_size=any(task.settings.head_pooling == "flatten" for task in tasks.values()),
    )


def _write_maps(
    session: Session, predictor: Predictor, tasks: Mapping[str, ClassificationTask], subject: Subject, image: np.ndarray
) -> None:
    config, told = session.config, predictor.window_values(image)
    grid, native = session.preparation.grid(subject), session.preparation.native_grid(subject)
    order, scratch = config.inference.output_interp_order, Scratch(config.system.cache_dir)
    chosen, finishers = {}, {}
    for name, task in tasks.items():
        wanted = chosen_class(config, task)
        chosen[_map_name(name)] = int(np.argmax(told[name])) if wanted is None else wanted
        finishers[_map_name(name)] = MapFinisher(_as_maps(name, task), grid, native, order, 0.0, scratch)
    for key, region, outputs in predictor.slabs(image):
        finishers[key].add(region, outputs[..., chosen[key] : chosen[key] + 1], {})
    header = subject.images[config.image[0]].header()
    for name in tasks:
        path = class_map_path(config, subject.subject_id, name)
        write_image(path, finishers[_map_name(name)].results()[""], native.affine, header)
