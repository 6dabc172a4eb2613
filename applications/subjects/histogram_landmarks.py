"""Histogram landmarks of a run: fitted on the training subjects at training, required at inference."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.image_pipeline import pipeline_of, preparation_text
from sfgkeras.applications.subjects.preparation import Preparation
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError, Problem, counted, naming
from sfgkeras.preprocessing.fitted import Fitted
from sfgkeras.preprocessing.landmark_file import LANDMARK_FILE
from sfgkeras.preprocessing.pipeline import ConfiguredStep
from sfgkeras.reporter import Reporter


def fit_missing_landmarks(
    config: Config, cohort: Cohort, preparation: Preparation, reporter: Reporter
) -> dict[str, Fitted]:
    """Reads the landmarks of `histogram_ref_file`, or fits them on the training subjects and writes them.

    Raises:
        DataError: If the file is there but was fitted on other images or with other settings.
    """
    path = _landmark_file(config)
    subjects = cohort.phase("training")
    if path.is_file():
        return _read(config, subjects)
    make_writable(path.parent)
    steps = _steps(config)
    measured: dict[str, list[np.ndarray]] = {name: [] for name in steps}
    with reporter.stage("fitting histogram landmarks", len(subjects)) as stage:
        for subject in subjects:
            for name, volume in preparation.measured(subject).items():
                with naming(subject.images[name]):
                    measured[name].append(steps[name].measure(volume))
            stage.advance(1, subject.subject_id)
    landmarks = {
        name: step.fit(measured[name], name, _identities(subjects, name), preparation_text(config, name))
        for name, step in steps.items()
    }
    LANDMARK_FILE.write(path, landmarks)
    reporter.message(f"histogram landmarks of {counted(len(subjects), 'training subject')}: {path}")
    return landmarks


def read_required_landmarks(
    config: Config, cohort: Cohort, preparation: Preparation, reporter: Reporter
) -> dict[str, Fitted]:
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
    return _read(config, None)


def _read(config: Config, subjects: list[Subject] | None) -> dict[str, Fitted]:
    path, found = _landmark_file(config), {}
    for name, step in _steps(config).items():
        expected = None if subjects is None else partial(_expected, subjects, name)
        is_only = len(config.image) == 1
        found[name] = step.read_fitted(path, preparation_text(config, name), expected, is_only)
    return found


def _steps(config: Config) -> dict[str, ConfiguredStep]:
    """Returns the step that is fitted, by image source."""
    return {name: step for name in config.image for step in pipeline_of(config, name).fitted}


def _landmark_file(config: Config) -> Path:
    path = config.network.histogram_ref_file
    if path is None:
        raise Problem("needs histogram_ref_file", key="normalisation", value="yes", section="NETWORK")
    return path


def _expected(subjects: Sequence[Subject], name: str, fitted: Fitted) -> tuple[str, ...]:
    """Names the subjects that landmarks must have been fitted on: all, whoever they were fitted on."""
    return _identities(subjects, name)


def _identities(subjects: Sequence[Subject], name: str) -> tuple[str, ...]:
    """Names the subjects by id and content, so that an exchanged image is noticed."""
    return tuple(f"{subject.subject_id}@{subject.images[name].fingerprint()[:8]}" for subject in subjects)
