"""The images that `[PREPROCESSING]` makes: before training, before inference, or all of them on their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.cohort import Cohort, find_cohort, keep_split
from sfgkeras.applications.subjects.folder_progress import FolderProgress
from sfgkeras.applications.subjects.preprocessing_settings import SECTION, build_steps
from sfgkeras.applications.subjects.reads import files_read
from sfgkeras.applications.subjects.unpacked import ORIGINALS, unpack_images
from sfgkeras.config import Config, Preprocessing
from sfgkeras.data.references import ImageFile, ImageRef
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError, Problem, counted
from sfgkeras.reporter import Reporter, SilentReporter

if TYPE_CHECKING:
    from sfgkeras.preprocessing.folder.run import Fitting, FolderResult


class PreprocessedImages:
    """The preprocessed files of a cohort's images, made when they are first asked for.

    Args:
        config: The configuration; without `[PREPROCESSING]` there is nothing to make.
        cohort: The subjects.
        fit: Whether steps may be fitted, on the training subjects, which `make` is then first called
            with; else what they were fitted to must be there.

    Attributes:
        images: What has been made: `{source: {subject id: image}}`, for the sources that are preprocessed.
    """

    def __init__(self, config: Config, cohort: Cohort, fit: bool = False) -> None:
        self._config, self._cohort, self._fit = config, cohort, fit
        self._pipeline = build_steps(config)
        sources = config.preprocessing.sources if config.preprocessing else ()
        self.images: dict[str, dict[str, ImageRef]] = {name: {} for name in sources}

    @property
    def changes_grid(self) -> bool:
        """Whether images may lie on another grid than their originals."""
        return self._pipeline is not None and bool(self._pipeline.changing("grid"))

    def image(self, subject: Subject, source: str) -> ImageRef:
        """Returns the preprocessed image of a subject; makes it if `make` has not."""
        if subject.subject_id not in self.images[source]:
            self.make([subject], SilentReporter())
        return self.images[source][subject.subject_id]

    def make(self, subjects: Sequence[Subject], reporter: Reporter) -> None:
        """Preprocesses subjects; those that were done before, by content and settings, are only looked at.

        Args:
            subjects: The subjects.
            reporter: Shows progress.

        Raises:
            DataError: If a subject cannot be preprocessed (each is named; the others are kept), or what a step was
                fitted to is missing or stale.
        """
        failed: dict[str, str] = {}
        for name, made in self.images.items():
            wanted = {each.subject_id: each.images[name] for each in subjects if each.subject_id not in made}
            if not wanted:
                continue
            result = preprocess_source(
                self._config, name, wanted, self._cohort, reporter, "fit on all" if self._fit else "require"
            )
            failed |= {f"{name} {subject_id}": reason for subject_id, reason in result.failed.items()}
            made |= {subject_id: ImageFile(path) for subject_id, path in result.outputs.items()}
        if failed:
            reasons = "\n".join(failed.values())
            raise DataError(
                f"{reasons}\n{counted(len(failed), 'image')} cannot be preprocessed, the others are done and kept; "
                f"repair the files, or take their subjects out of {self._config.system.dataset_split_file}"
            )
        self._fit = False


def preprocess_source(
    config: Config,
    name: str,
    images: Mapping[str, ImageRef],
    cohort: Cohort,
    reporter: Reporter,
    fitting: "Fitting",
    restart: bool = False,
    overwrite: bool = False,
) -> "FolderResult":
    """Preprocesses images of one input source into its folder below `output`.

    Args:
        config: The configuration.
        name: The source.
        images: Its images by subject id; rows of HDF5 files and the like are written to files first.
        cohort: Knows the training subjects.
        reporter: Shows progress.
        fitting: As in `run_folder`.
        restart: Whether all is done anew.
        overwrite: Whether files that something else made, and results of other steps, are replaced.
    """
    from sfgkeras.preprocessing.folder import run_folder

    section, pipeline = config.preprocessing, build_steps(config)
    assert section is not None
    assert pipeline is not None
    folder = source_folder(section, name)
    make_writable(folder)
    files = unpack_images(images, section.output / ORIGINALS / folder.name)
    own_files = all(isinstance(image, ImageFile) for image in images.values())
    with FolderProgress(reporter, f"preprocessing {name}") as progress:
        result = run_folder(
            files,
            folder,
            pipeline.of_modality(name),
            training_subjects=list(cohort.split.get("training", ())),
            workers=section.workers,
            scheduler=section.scheduler,
            pictures=section.pictures,
            restart=restart,
            progress=progress.show,
            fitting=fitting,
            loader=config.sources[name].loader if own_files else None,
            # Workers of one run want the same folder; what the first has done, the others find.
            wait=config.system.strategy == "multi_worker",
            overwrite=overwrite,
            reads=files_read(config, cohort).paths,
        )
    reporter.message(
        f"preprocessed {name}: {len(result.done)} done, {len(result.skipped)} done before, {len(result.failed)} "
        f"failed: {result.overview}"
    )
    return result


def source_folder(section: Preprocessing, name: str) -> Path:
    """Returns the folder of a source's preprocessed images."""
    return section.output / quote(name, safe=" ").replace(".", "%2E")


def preprocess(config: Config, reporter: Reporter | None = None, restart: bool = False, overwrite: bool = False) -> int:
    """Preprocesses every subject of a run; a bad file does not stop the others.

    Args:
        config: The configuration, with `[PREPROCESSING]`.
        reporter: Shows progress.
        restart: Whether all is done anew, and steps are fitted again.
        overwrite: Whether files that something else made, and results of other steps, are replaced.

    Returns:
        The exit code: 1 if a subject failed.

    Raises:
        ConfigError: If there is no `[PREPROCESSING]`.
        DataError: If files or folders cannot be used at all.
    """
    reporter = reporter or SilentReporter()
    pipeline = build_steps(config)
    if pipeline is None or config.preprocessing is None:
        raise Problem(
            f"has no [{SECTION}]",
            "add it with a line steps = n4, ... (docs/preprocessing.md), or preprocess a folder with --input, "
            "--output and --steps",
            file=str(config.path),
        )
    # A fit needs the split, and a split the subjects with targets; all else can do without.
    fits = any(step.settings.ref_file is None for step in pipeline.fitted)
    cohort = find_cohort(config, needs_targets=fits)
    for warning in (*config.warnings, *cohort.warnings):
        reporter.warning(warning)
    if fits:
        keep_split(config, cohort)
    exit_code = 0
    for name in config.preprocessing.sources:
        images = {subject_id: subject.images[name] for subject_id, subject in cohort.subjects.items()}
        result = preprocess_source(config, name, images, cohort, reporter, "fit", restart, overwrite)
        for subject_id, reason in result.failed.items():
            reporter.warning(f"{subject_id}: {reason}")
        exit_code = max(exit_code, result.exit_code)
    return exit_code
