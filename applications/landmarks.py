"""Histogram landmarks of a run: fitted on the training subjects at training, required at inference."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sfgkeras.applications.cohort import Cohort
from sfgkeras.applications.files import make_writable
from sfgkeras.applications.preparation import Preparation
from sfgkeras.applications.reporter import Reporter
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.histogram import NyulLandmarks, foreground_percentiles, mean_landmarks
from sfgkeras.preprocessing.landmark_file import check_landmarks, read_landmarks, write_landmarks


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
            preparation=_preparation_text(config, name),
        )
        for name, rows in measured.items()
    }
    write_landmarks(path, landmarks)
    reporter.message(f"histogram landmarks of {len(subjects)} training subjects: {path}")
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
    for name in config.image:
        if name not in found:
            raise DataError(
                f"{path}: has no landmarks for [{name}], only for {', '.join(sorted(found))}; delete the file "
                "to have them fitted, or rename the section"
            )
        check_landmarks(
            path,
            found[name],
            cutoff=config.network.cutoff,
            foreground=preparation.foreground_rule(),
            fitted_on=None if subjects is None else _identities(subjects, name),
            preparation=_preparation_text(config, name),
        )
    return {name: found[name] for name in config.image}


def _landmark_file(config: Config) -> Path:
    path = config.network.histogram_ref_file
    if path is None:
        raise ConfigError("[NETWORK] normalisation = yes needs histogram_ref_file")
    return path


def _measure(subject: Subject, name: str, values: np.ndarray, cutoff: tuple[float, float]) -> np.ndarray:
    try:
        return foreground_percentiles(values, cutoff)
    except DataError as error:
        raise DataError(f"{subject.files[name]}: {error}") from error


def _identities(subjects: list[Subject], name: str) -> tuple[str, ...]:
    """Names the subjects by id and content, so that an exchanged image is noticed."""
    return tuple(f"{subject.subject_id}@{file_fingerprint(subject.files[name])[:8]}" for subject in subjects)


def _preparation_text(config: Config, name: str) -> str:
    source = config.sources[name]
    first = config.sources[config.image[0]]
    return f"axcodes {source.axcodes}, pixdim {first.pixdim}, interp_order {source.interp_order}"
