"""`sfgkeras predict`: a trained network's results for new patients, from its model folder alone."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfgkeras.applications.inference.ensemble import joined
from sfgkeras.applications.inference.inferring import Hook, Member, infer_together, no_hook
from sfgkeras.applications.inference.trained_run import TrainedRun, read_trained_run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.records.statistics_files import statistics_names, statistics_path
from sfgkeras.applications.subjects.checks import check_images
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.folds import fold_folder, has_all_folds
from sfgkeras.applications.subjects.histogram_landmarks import read_required_landmarks
from sfgkeras.applications.subjects.image_record import ImageRecord, read_image_record, refuse_unlike
from sfgkeras.applications.subjects.new_subjects import find_subjects
from sfgkeras.applications.subjects.preparation import Preparation
from sfgkeras.applications.subjects.preprocessed import PreprocessedImages, source_folder
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.subjects.session import Session, open_session
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.fingerprint import refuse_other_network
from sfgkeras.applications.workers.address import find_place
from sfgkeras.config import Config
from sfgkeras.data.nifti import LOADERS as FILE_LOADERS
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import Reporter, SilentReporter

SHOWN = 10


def predict(
    run: TrainedRun,
    inputs: Sequence[str],
    output: Path,
    reporter: Reporter | None = None,
    overwrite: bool = False,
    before_network: Hook = no_hook,
) -> list[Subject]:
    """Writes predictions of new images, each on its own grid.

    Images are prepared as in training. What is done is not done again; a killed call goes on where it was. Prepared
    volumes lie in a hidden folder of `output` meanwhile, unless the command line names a `cache_dir`.

    Args:
        run: The trained run.
        inputs: What `--input` names; see `find_subjects`.
        output: Folder of the results.
        reporter: Shows progress.
        overwrite: Whether results of other states, settings or images are replaced.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.

    Returns:
        The subjects.

    Raises:
        ConfigError: If the model folder is of another network.
        DataError: If there is no checkpoint, landmarks or statistics are missing, an image is not what the network was
            trained for, or a foreign result is in the way.
    """
    reporter = reporter or SilentReporter()
    place = find_place(run.config, required=False)
    runs = _runs_of_folds(run) if has_all_folds(run.config) else [run]
    found = [_find_state(each, reporter) for each in runs]
    run = runs[0]
    record = read_image_record(run.folder)
    work = output / (f".work_{place.index}" if place.count > 1 else ".work")
    config = _configure(run, output, work)
    subjects, how = find_subjects(inputs, config, _sees_photos(config, record))
    _refuse_output_among(subjects, output)
    for line in how:
        reporter.message(line)
    _show(subjects, config, reporter)
    check_images(config, subjects, reporter)
    refuse_unlike(config, subjects, record, reporter)
    configs = [_configure(each, output, _work_of(work, each)) for each in runs]
    measures = [_measuring(*each) for each in zip(runs, configs, *zip(*found, strict=True), strict=True)]
    make_writable(output)
    make_writable(work)
    sessions = [_open(each, own, subjects, reporter) for each, own in zip(runs, configs, strict=True)]

    def member(number: int) -> Member:
        session, (checkpoints, state) = sessions[number], found[number]

        def load(channels: int) -> Any:
            from sfgkeras.applications.inference.restored_network import load_network

            as_trained = replace(session, config=_with_trained_batches(session.config, runs[number].trained))
            return load_network(as_trained, checkpoints, state, channels, reporter, measures[number])

        return Member(session, checkpoints, state, load)

    session, members = joined(sessions[0], sessions), [member(number) for number in range(len(runs))]
    if len(members) > 1:
        reporter.message(f"results are the mean of the networks of {len(members)} folds")
    infer_together(session, members, subjects, reporter, place, overwrite, before_network)
    shutil.rmtree(work, ignore_errors=True)
    return subjects


def _runs_of_folds(run: TrainedRun) -> list[TrainedRun]:
    """Returns the runs of all folds, each with the values of the command line.

    Raises:
        ConfigError: If one is not there.
    """
    folder, said = run.folder.path, run.overrides
    return [read_trained_run(str(fold_folder(folder, fold)), said) for fold in range(1, run.config.training.folds + 1)]


def _work_of(work: Path, run: TrainedRun) -> Path:
    """Returns where a fold, whose steps may be fitted to other subjects, preprocesses new images."""
    fold = run.config.training.fold
    return work if fold is None else fold_folder(work, fold)


def _find_state(run: TrainedRun, reporter: Reporter) -> tuple[CheckpointFolder, TrainingState]:
    """Reads the state of a run.

    Raises:
        ConfigError: If it is of another network.
        DataError: If there is none.
    """
    checkpoints = CheckpointFolder(run.folder.checkpoints)
    state = checkpoints.read(run.config.inference.inference_iter, warn=reporter.warning)
    refuse_other_network(run.config, state.record["fingerprint"], checkpoints.folder)
    return checkpoints, state


def _configure(run: TrainedRun, output: Path, work: Path) -> Config:
    """Returns the configuration with everything that is written below `output`, nothing in the model folder."""
    config = run.config
    changes: dict[str, Any] = {"inference": config.inference.model_copy(update={"save_seg_dir": output})}
    if config.system.cache_dir == run.trained.system.cache_dir:
        changes["system"] = config.system.model_copy(update={"cache_dir": work / "cache"})
    if config.preprocessing is not None:
        update = {"output": work / "preprocessed", "pictures": False}
        changes["preprocessing"] = config.preprocessing.model_copy(update=update)
    return replace(config, **changes)


def _with_trained_batches(config: Config, trained: Config) -> Config:
    """Returns the configuration with the batches that statistics were measured in; those of prediction are free."""
    return replace(config, network=config.network.model_copy(update={"batch_size": trained.network.batch_size}))


def _sees_photos(config: Config, record: ImageRecord | None) -> bool | None:
    loader = config.sources[config.image[0]].loader
    if loader in FILE_LOADERS:
        return loader == "pillow"
    return None if record is None else record.photos


def _refuse_output_among(subjects: Sequence[Subject], output: Path) -> None:
    for subject in subjects:
        for image in subject.images.values():
            path = image.path
            if output.resolve() in (path.resolve(), path.resolve().parent):
                raise DataError(f"--output {output}: is the folder of the image {path}; choose another folder")


def _show(subjects: Sequence[Subject], config: Config, reporter: Reporter) -> None:
    rows = [[subject.subject_id, *(str(subject.images[name]) for name in config.image)] for subject in subjects[:SHOWN]]
    more = f", {SHOWN} of {len(subjects)}" if len(subjects) > SHOWN else ""
    reporter.table(f"to predict{more}", ["subject", *config.image], rows)


def _open(run: TrainedRun, config: Config, subjects: Sequence[Subject], reporter: Reporter) -> Session:
    """Returns a session over the new subjects, with the landmarks of the training."""
    tasks = build_tasks(config)
    cohort = Cohort(
        {subject.subject_id: subject for subject in subjects},
        values={},
        split={"inference": [subject.subject_id for subject in subjects]},
        images={},
    )
    _bring_fitted(run, config)
    preprocessed = PreprocessedImages(config, cohort)
    preparation = Preparation(config, tasks, cohort, preprocessed=preprocessed)
    path = config.network.histogram_ref_file
    if config.network.normalisation and path is not None:
        if not path.is_file():
            raise DataError(
                f"{path}: the histogram landmarks of the training are not there; copy the file from where the network "
                "was trained, or name it: --NETWORK.histogram_ref_file FILE"
            )
        preparation.landmarks |= read_required_landmarks(config, cohort, preparation, reporter)
    return Session(config, tasks, cohort, preparation, preprocessed)


def _bring_fitted(run: TrainedRun, config: Config) -> None:
    """Copies what steps of `[PREPROCESSING]` were fitted to in training to where new images are preprocessed."""
    pipeline, trained = build_steps(config), run.trained.preprocessing
    if pipeline is None or config.preprocessing is None or trained is None:
        return
    for step, name in itertools.product(pipeline.fitted, config.preprocessing.sources):
        if step.settings.ref_file is not None:
            continue
        kept, place = step.file_in(source_folder(trained, name)), source_folder(config.preprocessing, name)
        if not kept.is_file():
            raise DataError(
                f"{kept}: the {step.prefix} {step.step.file.what} of the training are not there; copy the file from "
                "where the network was trained"
            )
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, step.file_in(place))


def _measuring(
    run: TrainedRun, config: Config, checkpoints: CheckpointFolder, state: TrainingState
) -> Callable[[], Session]:
    """Returns what opens the session of the training, to measure missing normalisation statistics in.

    Raises:
        DataError: If statistics and training subjects are both missing: says what to do.
    """
    as_trained, record = _with_trained_batches(config, run.trained), state.record

    def has_statistics(each: Config) -> bool:
        return statistics_path(each, checkpoints.folder, record, ()).is_file()

    def open_training() -> Session:
        try:
            return _training_session(run)
        except (ConfigError, DataError) as error:
            there = [
                masks for masks in ("auto", "mode", "mean", "sample") if has_statistics(_with_masks(as_trained, masks))
            ]
            use = f"use --INFERENCE.masks {there[0]}, whose statistics are there; or " if there else ""
            raise DataError(
                f"{checkpoints.folder}: there are no normalisation statistics of iteration {record['iteration']} with "
                f"masks = {config.inference.masks}, and the training subjects on which they are measured cannot be "
                f"used here ({error}). Give this command once where they are, which measures and keeps the statistics, "
                f"and copy {statistics_names(as_trained, record)} from the checkpoints there to {checkpoints.folder}; "
                f"or {use}add --NETWORK.batch_norm population, whose results differ a little"
            ) from error

    if config.network.batch_norm == "recalibrated" and not has_statistics(as_trained):
        open_training()
    return open_training


def _with_masks(config: Config, masks: str) -> Config:
    return replace(config, inference=config.inference.model_copy(update={"masks": masks}))


def _training_session(run: TrainedRun) -> Session:
    split = run.trained.system.dataset_split_file
    if not split.is_file():
        # Another split would be drawn, and statistics measured on other subjects.
        raise DataError(f"{split}: does not exist")
    session = open_session(run.trained, SilentReporter(), training=False)
    for subject in session.cohort.phase("training"):
        for image in subject.images.values():
            if not image.is_there():
                raise DataError(f"{image.path}: does not exist")
    return session
