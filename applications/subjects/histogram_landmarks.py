"""Histogram landmarks of a run: fitted on the training subjects at training, required at inference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.preparation import Preparation
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.tasks.coverage import fill_value
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.preprocessing.fitted import choose_modality
from sfgkeras.preprocessing.histogram import NyulLandmarks, foreground_percentiles, mean_landmarks
from sfgkeras.preprocessing.landmark_file import (
    check_landmarks,
    read_landmarks,
    write_landmarks,
)
from sfgkeras.preprocessing.pipeline import Pipeline, build_pipeline
from sfgkeras.reporter import Reporter


def fit_missing_landmarks(
    config: Config, cohort: Cohort, preparation: Preparation, reporter: Reporter
) -> dict[str, NyulLandmarks]:
    """Reads the landmarks of `histogram_ref_file`, or fits them on the training subjects and writes them.

    Raises:
        DataError: If the file is there but was fitted on other images or with other settings.
    """
    path = _landmark_file(config)
    subjects = cohort.phase("training")
    if path.is_file():
        return _read(config, preparation, subjects)
    make_writable(path.parent)
    measured: dict[str, list[np.ndarray]] = {name: [] for name in config.image}
    with reporter.stage("fitting histogram landmarks", len(subjects)) as stage:
        for subject in subjects:
            for name, values in preparation.foreground_intensities(subject).items():
                measured[name].append(_measure(subject, name, values, config.network.cutoff))
            stage.advance(1, subject.subject_id)
    landmarks = {
        name: replace(
            mean_landmarks(rows, config.network.cutoff),
            modality=name,
            foreground=preparation.foreground_rule(),
            fitted_on=_identities(subjects, name),
            preparation=preparation_text(config, name),
        )
        for name, rows in measured.items()
    }
    write_landmarks(path, landmarks)
    reporter.message(f"histogram landmarks of {counted(len(subjects), 'training subject')}: {path}")
    return landmarks


def read_required_landmarks(
    config: Config, cohort: Cohort, preparation: Preparation, reporter: Reporter
) -> dict[str, NyulLandmarks]:
    """Reads the landmarks that training wrote.

    Raises:
        DataError: If the file is missing, or was made with other settings.
    """
    path = _landmark_file(config)
    if not path.is_file():
        raise DataError(
            f"{path}: no histogram landmarks; inference needs those that training wrote: train first, or "
            "correct [NETWORK] histogram_ref_file"
        )
    return _read(config, preparation, None)


def _read(config: Config, preparation: Preparation, subjects: list[Subject] | None) -> dict[str, NyulLandmarks]:
    path = _landmark_file(config)
    found = read_landmarks(path, config.network.cutoff)
    chosen = {
        name: choose_modality(path, found, name, "landmarks", "histogram", is_only=len(config.image) == 1)
        for name in config.image
    }
    for name, landmarks in chosen.items():
        check_landmarks(
            path,
            landmarks,
            cutoff=config.network.cutoff,
            foreground=preparation.foreground_rule(),
            fitted_on=None if subjects is None else _identities(subjects, name),
            preparation=preparation_text(config, name),
        )
    return chosen


def _landmark_file(config: Config) -> Path:
    path = config.network.histogram_ref_file
    if path is None:
        raise ConfigError("[NETWORK] normalisation = yes needs histogram_ref_file")
    return path


def _measure(subject: Subject, name: str, values: np.ndarray, cutoff: tuple[float, float]) -> np.ndarray:
    try:
        return foreground_percentiles(values, cutoff)
    except DataError as error:
        raise DataError(f"{subject.images[name]}: {error}") from error


def _identities(subjects: Sequence[Subject], name: str) -> tuple[str, ...]:
    """Names the subjects by id and content, so that an exchanged image is noticed."""
    return tuple(f"{subject.subject_id}@{subject.images[name].fingerprint()[:8]}" for subject in subjects)


def preparation_text(config: Config, name: str) -> str:
    """Returns what an image went through before its landmarks are fitted, in the words of preprocessing's steps.

    So landmarks of a folder run with these steps serve for training, and the other way round.
    """
    source, first = config.sources[name], config.image[0]
    pixdim = config.sources[first].pixdim
    done = build_steps(config) if name in (config.preprocessing.sources if config.preprocessing else ()) else None
    steps: list[Pipeline] = [] if done is None else [done]
    if source.axcodes:
        steps.append(build_pipeline("reorient", {"reorient_axcodes": source.axcodes}))
    if pixdim and name == first:
        steps.append(build_pipeline("resample", {"resample_spacing": pixdim, "resample_order": source.interp_order}))
    elif pixdim:
        onto = {"reference": f"[{first}]", "order": source.interp_order, "fill": fill_value(source)}
        steps.append(build_pipeline("resample_like", {f"resample_like_{key}": value for key, value in onto.items()}))
    return Pipeline(tuple(step for pipeline in steps for step in pipeline.steps)).preparation_text()
