"""A run that a notebook can hold: the verbs as methods, and what they left as tables, figures, images and networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.config import Config, find_config
from sfgkeras.console import build_reporter
from sfgkeras.errors import ConfigError, DataError, lookup
from sfgkeras.reporter import Reporter, SilentReporter
from sfgkeras.runs.keras_ready import before_network, require_tensorflow
from sfgkeras.runs.predictions import Predictions
from sfgkeras.values import format_value

if TYPE_CHECKING:
    import nibabel as nib
    import pandas as pd
    from matplotlib.figure import Figure

Settings = Mapping[str, Any]
"""Values in place of the INI file's, `{"TRAINING.max_iter": 1000}`, as the command line has them."""

TABLES = ("summary", "subjects", "pairs")


def open_run(config: str | Path | Config, settings: Settings | None = None, verbose: bool = True) -> "Run":
    """Reads the configuration of a run, whether anything of it has been done or not.

    Args:
        config: An INI file, the name of a shipped one, the model folder of a training, or a configuration.
        settings: Values in place of the file's: `{"TRAINING.max_iter": 1000, "TASK ct.weight": 2}`.
        verbose: Whether the verbs show what they do.

    Raises:
        ConfigError: If something in the file or the settings cannot be used: every mistake at once; or if settings
            are given for a configuration, which has some already.
    """
    reporter = build_reporter() if verbose else None
    if isinstance(config, Config):
        if settings:
            raise ConfigError(
                f"{config.path}: settings ({', '.join(settings)}) stand beside a configuration that has been read; "
                "give the file's name, or read it with them"
            )
        return Run(config, reporter)
    path, given = Path(config).expanduser(), dict(settings or {})
    if path.is_dir() and RunFolder(path).configuration.is_file():
        path, given = RunFolder(path).configuration, {"SYSTEM.model_dir": path, **given}
    else:
        path = find_config(str(config))
    return Run(read_run(path, overrides_of(given)), reporter, given)


def overrides_of(settings: Settings | None) -> list[tuple[str, str]]:
    """Returns settings as the command line gives them: names and texts."""
    return [
        (name, value if isinstance(value, str) else format_value(value)) for name, value in (settings or {}).items()
    ]


class Run:
    """A run of one INI file; its methods do what the verbs of the command line do, and read what they left.

    Every verb is resumable, as on the command line: what is done is not done again. Those that do work return the run,
    so that `sfgkeras.train("demo").infer().evaluate().metrics()` is one line.

    Args:
        config: The configuration; `open_run` reads one.
        reporter: Shows what the verbs do; None keeps them quiet.
        settings: What stands in place of the file's values in it.

    Attributes:
        config: The configuration, typed and frozen, with every default filled in.
    """

    def __init__(self, config: Config, reporter: Reporter | None = None, settings: Settings | None = None) -> None:
        self.config = config
        self._reporter = reporter or SilentReporter()
        self._settings = dict(settings or {})

    def __repr__(self) -> str:
        return (
            f"Run({str(self.folder)!r}: {', '.join(self.tasks)} from {', '.join(self.config.image)}; {self._state()})"
        )

    def with_settings(self, settings: Settings) -> "Run":
        """Returns the run with other values besides, `{"INFERENCE.masks": "sample"}`.

        Raises:
            ConfigError: If they cannot be used.
        """
        given = {**self._settings, **settings}
        return Run(read_run(self.config.path, overrides_of(given)), self._reporter, given)

    @property
    def folder(self) -> Path:
        """The model folder."""
        return self.config.system.model_dir

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(self.config.tasks)

    # What the verbs do.

    def check(self, headers_only: bool = False) -> bool:
        """Looks for every mistake in settings, images and labels, and shows them; says whether training can start."""
        from sfgkeras.applications.check import check_run

        return check_run(self.config, self._reporter, not headers_only, before_network("check"))

    def preprocess(self, restart: bool = False, overwrite: bool = False) -> "Run":
        """Prepares the images as `[PREPROCESSING]` says, which `train` and `infer` would else do.

        Raises:
            DataError: If a subject failed; what was done is kept.
        """
        from sfgkeras.applications.subjects.preprocessed import preprocess

        if preprocess(self.config, self._reporter, restart=restart, overwrite=overwrite):
            raise DataError(f"{self.config.preprocessing and self.config.preprocessing.output}: a subject has failed")
        return self

    def train(self, restart: bool = False) -> "Run":
        """Trains, from the newest saved state or, with `restart`, from the beginning."""
        require_tensorflow("train")
        from sfgkeras.applications import run

        run.train(self.config, self._reporter, restart=restart)
        return self

    def infer(self, dataset: str | None = None, overwrite: bool = False) -> "Run":
        """Writes results on each subject's own grid.

        Args:
            dataset: `training`, `validation`, `inference` or `all`; None for the INI file's `dataset_to_infer`.
            overwrite: Whether results of another checkpoint, other settings or other images are replaced.
        """
        from sfgkeras.applications import run

        run.infer(self.config, self._reporter, dataset, overwrite, before_network("infer"))
        return self

    def evaluate(self, dataset: str | None = None) -> "Run":
        """Compares results with the truth; `metrics` are the tables.

        Args:
            dataset: As in `infer`.
        """
        from sfgkeras.applications import run

        run.evaluate(self.config, self._reporter, dataset)
        return self

    def report(
        self,
        output: str | Path | None = None,
        subjects: int = 3,
        activations: bool = False,
        slices: Sequence[tuple[str, int]] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes the HTML page of the run.

        Args:
            output: The page's folder; None for `report` in the model folder.
            subjects: How many subjects have their volumes on the page, at most.
            activations: Whether activation maps are drawn, which runs the network.
            slices: Subjects and slices of the activation maps.
            overwrite: Whether a page in `output` that is not this run's report is replaced.

        Returns:
            The page.
        """
        from sfgkeras.applications.report.page import write_report

        if activations or slices:
            require_tensorflow("report")
        folder = None if output is None else Path(output)
        return write_report(self.config, self._reporter, folder, subjects, activations, slices, overwrite)

    def predict(
        self,
        inputs: str | Path | Sequence[str | Path],
        output: str | Path,
        settings: Settings | None = None,
        overwrite: bool = False,
    ) -> Predictions:
        """Predicts new patients with the trained network.

        Args:
            inputs: NIfTI files, DICOM folders, photos, folders of these; `SOURCE=PATH` says which of several images
                it is.
            output: Folder to write to.
            settings: Values that do not change what was trained, `{"INFERENCE.masks": "sample"}`.
            overwrite: Whether results of another checkpoint, other settings or other images are replaced.
        """
        from dataclasses import replace

        from sfgkeras.applications.inference.trained_run import read_trained_run
        from sfgkeras.applications.predict import predict

        run = read_trained_run(str(self.folder), overrides_of(settings))
        given = [inputs] if isinstance(inputs, str | Path) else inputs
        folder = Path(output)
        predict(run, [str(each) for each in given], folder, self._reporter, overwrite, before_network("predict"))
        inference = run.config.inference.model_copy(update={"save_seg_dir": folder})
        return Predictions(replace(run.config, inference=inference))

    def export(
        self,
        file_format: str = "keras",
        task: str | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes the hardened network as a file that needs nothing of this package.

        Args:
            file_format: `keras`, `saved_model` or `onnx`.
            task: The one task to keep; None for all.
            output: File or folder; None for `export` in the model folder.
            overwrite: Whether an earlier export is replaced.

        Returns:
            The file or folder.
        """
        from sfgkeras.applications.export.hardened import export_network

        path = None if output is None else Path(output)
        ready = before_network("export")
        return export_network(self.config, self._reporter, task, file_format, path, overwrite, before_network=ready)

    # What they left.

    def history(self, log: str = "training") -> "pd.DataFrame":
        """Returns the log of the training, or of its validations: `iteration`, `epoch`, losses and scores.

        Args:
            log: `training` or `validation`.

        Raises:
            DataError: If there is none.
        """
        from sfgkeras.analysis.frames import frame
        from sfgkeras.applications.records.logs import read_log

        lookup({"training": 0, "validation": 0}, log, "log")
        path = self._files.logs / f"{log}.csv"
        rows = read_log(path)
        if not rows:
            raise DataError(f"{path}: there is no such log yet; train first" + _validation_remedy(log))
        return frame(rows)

    def metrics(self, table: str = "summary", task: str | None = None) -> "pd.DataFrame":
        """Returns what `evaluate` measured, of all tasks in one table.

        Args:
            table: `summary` (a row per task, label or region, and measure), `subjects` (a row per subject and label
                or region, a column per measure), or `pairs` (truth and prediction of tasks with a value per subject).
            task: The one task to return; None for all.

        Raises:
            ConfigError: If there is no such table or task.
            DataError: If nothing has been evaluated yet.
        """
        import pandas as pd

        from sfgkeras.analysis.frames import read_frame

        lookup(dict.fromkeys(TABLES), table, "table")
        wanted = self.tasks if task is None else [lookup({name: name for name in self.tasks}, task, "task")]
        folder = self.config.evaluation.save_csv_dir
        paths = {name: folder / f"{name}_{table}.csv" for name in wanted}
        found = {name: read_frame(path) for name, path in paths.items() if path.is_file()}
        if not found:
            raise DataError(f"{folder}: there are no tables of {table} of {', '.join(wanted)}; evaluate first")
        for name, rows in found.items():
            rows.insert(0, "task", name)
        joined = pd.concat(list(found.values()), ignore_index=True)
        names = joined.columns.intersection(["label", "region"])
        return joined.fillna(dict.fromkeys(names, ""))

    def split(self) -> "pd.DataFrame":
        """Returns which subject serves which phase: `subject_id`, `phase`."""
        from sfgkeras.analysis.frames import read_frame

        return read_frame(self.config.system.dataset_split_file, ("subject_id", "phase"))

    def candidates(self) -> "pd.DataFrame":
        """Returns what a search for groups (`schedule = auto`) tried."""
        from sfgkeras.analysis.frames import read_frame

        return read_frame(self._files.candidates)

    def grouping(self) -> "pd.DataFrame":
        """Returns the grouping probabilities at the end: `layer`, `filter`, and a column per task and `shared`.

        Raises:
            DataError: If none were noted, as with mechanisms whose groups are fixed.
        """
        import pandas as pd

        from sfgkeras.runs.figures import grouping_record

        record = grouping_record(self.config)
        parts = [
            pd.DataFrame(values, columns=record.group_names).assign(layer=layer, filter=range(len(values)))
            for layer, values in record.last().items()
        ]
        return pd.concat(parts, ignore_index=True)[["layer", "filter", *record.group_names]]

    def sharing(self) -> "pd.DataFrame":
        """Returns which part of what a task uses another one uses, too: `stage`, `task`, `other`, `shared`."""
        from sfgkeras.analysis.frames import frame
        from sfgkeras.analysis.sharing_record import sharing_rows
        from sfgkeras.applications.records.sharing import read_sharing_record

        rows = sharing_rows(read_sharing_record(self._files, self.tasks).last(), self.tasks)
        return frame(rows, ("stage", "task", "other", "shared"))

    def figures(self) -> "dict[str, Figure]":
        """Draws the figures of the report that there are data for: `curves`, `simplex_density`, `sharing`, ...

        Returns:
            matplotlib figures by name; `figure.savefig("curves.pdf")` keeps one.
        """
        from sfgkeras.runs.figures import draw_figures

        return draw_figures(self.config)

    @property
    def predictions(self) -> Predictions:
        """What inference wrote."""
        return Predictions(self.config)

    def image(self, subject_id: str, source: str | None = None) -> "nib.Nifti1Image":
        """Returns an image of a subject as its file has it, whatever kind of file that is.

        Args:
            subject_id: The subject.
            source: Name of the input section, `MR`; None for the first one that the network sees.

        Raises:
            ConfigError: If there is no such subject or source.
        """
        import nibabel as nib

        from sfgkeras.applications.subjects.cohort import find_cohort

        subjects = find_cohort(self.config, needs_targets=False).subjects
        images = lookup(subjects, subject_id, "subject").images
        found = lookup(images, source or self.config.image[0], "source").read()
        return nib.Nifti1Image(found.array, found.affine)

    def network(self) -> Any:
        """Returns the trained network, as inference uses it: a `keras.Model` with its masks and statistics."""
        require_tensorflow("network")
        from sfgkeras.applications.inference.restored_network import restore_network
        from sfgkeras.applications.records.checkpoints import CheckpointFolder
        from sfgkeras.applications.subjects.session import open_session

        checkpoints = CheckpointFolder(self._files.checkpoints)
        state = checkpoints.read(self.config.inference.inference_iter, warn=self._reporter.warning)
        session = open_session(self.config, self._reporter, training=False)
        subject = next(iter(session.cohort.subjects.values()))
        session.preprocess([subject], self._reporter)
        channels = session.preparation.image(subject).shape[-1]
        return restore_network(session, checkpoints, state, channels, self._reporter)

    @property
    def _files(self) -> RunFolder:
        return RunFolder(self.folder)

    def _state(self) -> str:
        from sfgkeras.applications.records.checkpoints import CheckpointFolder

        saved = CheckpointFolder(self._files.checkpoints).iterations()
        return f"trained for {saved[-1]:,} iterations" if saved else "not trained yet"


def _validation_remedy(log: str) -> str:
    return "" if log == "training" else ", with validation_every_n or validation_every_epochs in [TRAINING]"
