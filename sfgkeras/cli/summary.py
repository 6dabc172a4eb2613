"""What a verb says last: what it wrote and where, and the command that comes next, as the user would type it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sfgkeras.cli.group import FOLD
from sfgkeras.console import PlainReporter, RichReporter

if TYPE_CHECKING:  # a fifth of a second, which `--help` need not wait for
    from sfgkeras.config import Config

LOADERS = {
    "keras": "keras.saving.load_model({path!r})",
    "saved_model": "tensorflow.saved_model.load({path!r})",
    "onnx": "onnxruntime.InferenceSession({path!r})",
}


class Summary:
    """Says the last lines of a verb.

    Args:
        context: The verb's context, which knows what was typed.
        reporter: Shows them.
    """

    def __init__(self, context: click.Context, reporter: PlainReporter | RichReporter) -> None:
        self._context, self._reporter = context, reporter

    def command(self, verb: str, *options: object) -> str:
        """Returns the command line of a verb on the same INI file, with the same settings."""
        name, fold = self._context.params["config_name"], self._context.meta.get(FOLD)
        options = (*(() if fold is None else ("--fold", fold)), *options)
        return shlex.join(["sfgkeras", verb, "-c", name, *map(str, options), *self._context.args])

    def next_verb(self, verb: str, *options: object) -> None:
        """Says which verb comes next."""
        self.next_step(self.command(verb, *options))

    def next_step(self, text: str) -> None:
        """Says what comes next."""
        self._reporter.message(f"next: {text}")

    def page(self, path: Path) -> None:
        """Says that a page wants to be looked at."""
        self.next_step(f"open {path.resolve().as_uri()} in a browser")


def is_chief(config: "Config") -> bool:
    """Says whether this process is the one of several workers that tells of them all."""
    from sfgkeras.applications.workers.address import find_place

    return find_place(config, required=False).index == 0


def after_training(config: "Config", summary: Summary, reporter: PlainReporter | RichReporter) -> None:
    """Says which states there are, and how to use them on subjects that were held out, or else on others."""
    from sfgkeras.applications.records.checkpoints import CheckpointFolder
    from sfgkeras.applications.records.files import RunFolder
    from sfgkeras.applications.subjects.folds import FOLDS, chosen_fold, has_all_folds
    from sfgkeras.data.subjects import read_split

    if has_all_folds(config):
        _after_folds(config, summary, reporter, FOLDS)
        return
    config = chosen_fold(config)
    run = RunFolder(config.system.model_dir)
    states = CheckpointFolder(run.checkpoints)
    best = ", and the best by validation" if states.path("best").is_file() else ""
    reporter.message(
        f"wrote {run.checkpoints} (states of {_iterations(states.iterations())}{best}), {run.logs} (curves) and "
        f"{run.configuration} (every setting)"
    )
    split = read_split(config.system.dataset_split_file)
    phase = next((name for name in ("inference", "validation", "training") if split.get(name)), "inference")
    is_default = phase == config.inference.dataset_to_infer
    summary.next_verb("inference", *([] if is_default else ["--dataset", phase]))


def _after_folds(config: "Config", summary: Summary, reporter: PlainReporter | RichReporter, folds: str) -> None:
    """Says where the runs of all folds are, and how they predict the subjects that they hold out."""
    folder = config.system.model_dir
    reporter.message(f"wrote {folder}: {folds} (who is in which), fold_1 to fold_{config.training.folds} (a run each)")
    summary.next_verb("inference", "--dataset", "validation")


def after_inference(config: "Config", summary: Summary, dataset: str | None) -> None:
    """Says how results are compared with the truth, or, where there is none, looked at."""
    from sfgkeras.applications.subjects.cohort import find_cohort, target_sources
    from sfgkeras.applications.subjects.folds import chosen_fold, has_all_folds

    config = chosen_fold(config)
    cohort = find_cohort(config, needs_targets=False)
    phase = dataset or config.inference.dataset_to_infer
    if has_all_folds(config) and phase == "validation":
        phase = "training"  # of which every fold holds a part out
    subjects = list(cohort.subjects.values()) if phase == "all" else cohort.phase(phase)
    has_truth = all(any(cohort.has_targets(each, [source]) for each in subjects) for source in target_sources(config))
    if has_truth:
        summary.next_verb("evaluate", *(["--dataset", dataset] if dataset else []))
    else:
        summary.next_verb("report")


def after_prediction(output: Path, summary: Summary) -> None:
    """Says how results of new patients are looked at."""
    from sfgkeras.applications.records.files import VALUES_FILE

    table = output / VALUES_FILE
    opened = [str(table)] if table.is_file() else []
    if not opened or any(output.glob("*.nii.gz")):
        opened.append(f"the files in {output} over their images, in a viewer of NIfTI files")
    summary.next_step(f"open {', and '.join(opened)}")


def after_evaluation(config: "Config", summary: Summary, reporter: PlainReporter | RichReporter) -> None:
    """Says where the tables are."""
    from sfgkeras.applications.subjects.folds import chosen_fold

    folder = chosen_fold(config).evaluation.save_csv_dir
    names = [f"{task}_{what}.csv" for task in config.tasks for what in ("subjects", "summary")]
    reporter.message(f"wrote {folder}: {', '.join(name for name in names if (folder / name).is_file())}")
    summary.next_verb("report")


def after_export(path: Path, file_format: str, summary: Summary) -> None:
    """Says how the file is loaded."""
    call = LOADERS[file_format].format(path=str(path))
    summary.next_step(f"{call} in Python; {path.name}.json says how images are prepared and outputs are read")


def _iterations(saved: Sequence[int]) -> str:
    if len(saved) == 1:
        return f"iteration {saved[0]}"
    return f"iterations {', '.join(map(str, saved[:-1]))} and {saved[-1]}"
