"""Every file that a run reads, which no verb may ever write over."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.subjects.sources import build_source, paths_of
from sfgkeras.config import Config
from sfgkeras.config.task_sections import InputSource
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.protection import ReadFiles


def files_read(config: Config, cohort: Cohort) -> ReadFiles:
    """Returns what any verb of a configuration reads: INI file, lists, images, labels, split, landmarks, other runs.

    Files of sources that nothing refers to belong to it, too. Files that match no subject do not: results that lie
    beside the data can look like images of one more subject.
    """
    paths = [config.path, config.system.dataset_split_file]
    paths += [config.network.histogram_ref_file] if config.network.histogram_ref_file else []
    paths += _states(config.training.restore_from) if config.training.restore_from else []
    paths += paths_of([image for subject in cohort.subjects.values() for image in subject.images.values()])
    for name, source in config.sources.items():
        paths += [source.csv_file] if source.csv_file else []
        if name not in cohort.images:
            paths += _unused(name, source)
        else:
            paths += paths_of([row for row in cohort.images[name].values() if not row.is_image])
    pipeline = build_steps(config)
    for step in () if pipeline is None else pipeline.steps:
        paths += [value for value in vars(step.settings).values() if isinstance(value, Path)]
    return ReadFiles(path for path in paths if path.exists())


def refuse_own_places(config: Config, reads: ReadFiles) -> None:
    """Refuses files that are read where the run writes its own.

    Raises:
        DataError: Names the file.
    """
    run = RunFolder(config.system.model_dir)
    written = [*run.checkpoints.glob("*.npz"), run.grouping, run.sharing, run.network_size]
    written += [run.logs / f"{name}.csv" for name in ("training", "validation")]
    reads.refuse(written, "choose another [SYSTEM] model_dir, or copy the file to another folder")


def _states(place: Path) -> list[Path]:
    """Returns the states that `restore_from` names: a file, those of a run, or those in a folder."""
    return [*place.glob("checkpoints/*.npz"), *place.glob("*.npz")] if place.is_dir() else [place]


def _unused(name: str, source: InputSource) -> Iterable[Path]:
    with contextlib.suppress(DataError, ConfigError):
        return paths_of(list(build_source(name, source).find().values()))
    return ()
