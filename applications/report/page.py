"""One self-contained HTML page per run: settings, curves, grouping figures, evaluation, and volumes of its subjects."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from sfgkeras.analysis.activation_maps import ActivationMaps, read_maps, write_maps
from sfgkeras.analysis.feature_maps import FeatureMaps, read_feature_maps, write_feature_maps
from sfgkeras.applications.folds import refuse_all_folds
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder, make_writable
from sfgkeras.applications.report.facts import predicting_checkpoint, training_facts
from sfgkeras.applications.report.folds import write_folds_page
from sfgkeras.applications.report.sections import (
    class_maps_section,
    curves_section,
    evaluation_section,
    features_section,
    grouping_section,
    settings_section,
    sharing_section,
    subjects_section,
)
from sfgkeras.applications.report.tables import run_facts
from sfgkeras.applications.report.volumes import RunData
from sfgkeras.applications.report.writing import PAGE, write_page
from sfgkeras.applications.subjects.cohort import PHASES, find_cohort
from sfgkeras.applications.subjects.folds import chosen_fold, has_all_folds
from sfgkeras.applications.subjects.label_counts import describe_labels
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.extras import require_extra
from sfgkeras.pages.elements import facts_html
from sfgkeras.pages.page import Section, refuse_foreign_page
from sfgkeras.reporter import Reporter, SilentReporter

MAPS = "activations.npz"
FEATURES = "features.npz"
MOST_SUBJECTS = 3


def write_report(
    config: Config,
    reporter: Reporter | None = None,
    output: Path | None = None,
    num_subjects: int = MOST_SUBJECTS,
    activations: bool = False,
    slices: Sequence[tuple[str, int]] | None = None,
    overwrite: bool = False,
    beside: Mapping[str, Config] | None = None,
) -> Path:
    """Writes the report of a run, in place of an earlier one; parts that are missing are named on the page.

    Args:
        config: The configuration of the run.
        reporter: Shows progress.
        output: Folder of the page and its figures; None for `report` in `model_dir`.
        num_subjects: How many subjects have their volumes on the page, at most.
        activations: Whether the network is run to draw activation maps, which loads TensorFlow; without it, those
            of an earlier report are kept.
        slices: Subjects and slices of the activation maps and feature maps; see `open_network_slices`. Without
            `beside` they ask for activation maps.
        overwrite: Whether a page in `output` that is not this run's report is replaced.
        beside: Other runs by name, whose feature maps are drawn beside those of this one, which loads TensorFlow;
            without any, those of an earlier report are kept.

    Returns:
        The page.

    Raises:
        DataError: If there is no run, the folder cannot be written, a foreign page is in the way, or activation maps
            are asked for and cannot be made.
        ConfigError: If a slice does not exist, or plotly is not installed.
    """
    require_extra("report", "the report")
    reporter = reporter or SilentReporter()
    if has_all_folds(config):
        if activations or slices or beside:
            refuse_all_folds(config, "report of activation maps or feature maps")
        return _folds_page(config, reporter, output, num_subjects, overwrite)
    config = chosen_fold(config)
    run = RunFolder(config.system.model_dir)
    refuse_no_run(config, run)
    subject = str(run.path.resolve())
    if output is not None and not overwrite:
        refuse_foreign_page(output / PAGE, subject)
    output = output or run.report
    make_writable(output)
    maps = _activation_maps(config, reporter, output, activations or (bool(slices) and not beside), slices)
    features = _feature_maps(config, reporter, output, beside or {}, slices)
    data, problem = _find_data(config)

    def command(verb: str) -> str:
        path = run.configuration if run.configuration.is_file() else config.path
        return f"sfgkeras {verb} -c {shlex.quote(str(path))}"

    # First, because it shows its own progress, and there is one bar at a time.
    shown = subjects_section(data, problem, num_subjects, reporter, command)
    seen = class_maps_section(data, output, num_subjects, reporter, command)
    predicted = _predicted(config, run, data)
    sections = [Section("run", "The run", facts_html(_facts(config, run, data, predicted)))]
    with reporter.stage("report", 3) as stage:
        sections.append(curves_section(config, run, output, command))
        stage.advance(1, "curves")
        sections.append(grouping_section(config, run, output, maps, reporter, command))
        sections.append(sharing_section(config, run, output, reporter, command))
        stage.advance(1, "grouping")
        sections += [] if features is None else [features_section(output, features)]
        sections += [evaluation_section(config, predicted, command), shown]
        sections += [] if seen is None else [seen]
        sections.append(settings_section(config, run))
        page = write_page(config, run, "report of a run", sections, output)
        stage.advance(1, PAGE)
    reporter.message(f"report: {page}")
    return page


def _folds_page(config: Config, reporter: Reporter, output: Path | None, num_subjects: int, overwrite: bool) -> Path:
    """Writes one page over all folds; see `folds`."""
    run = RunFolder(config.system.model_dir)
    if output is not None and not overwrite:
        refuse_foreign_page(output / PAGE, str(run.path.resolve()))
    return write_folds_page(config, reporter, output or run.report, num_subjects)


def refuse_no_run(config: Config, run: RunFolder) -> None:
    """Refuses to report on a folder that no training has written to.

    Raises:
        DataError: Says what to do.
    """
    has_states = bool(CheckpointFolder(run.checkpoints).iterations())
    if has_states or run.configuration.is_file() or (run.logs / "training.csv").is_file():
        return
    raise DataError(
        f"{run.path}: there is no run to report on (no configuration.ini, no checkpoint, no log); train first: "
        f"sfgkeras train -c {shlex.quote(str(config.path))}, or name the folder of a run in [SYSTEM] model_dir"
    )


def _facts(config: Config, run: RunFolder, data: RunData | None, predicted: str) -> dict[str, str]:
    facts = run_facts(config, run, data.cohort.split if data else {}) | training_facts(config, run)
    if data is not None and config.multitask.missing_targets == "allow":
        facts["Subjects with a target"] = describe_labels(data.cohort, data.tasks, PHASES)
    return facts | ({"Predictions": predicted} if predicted else {})


def _predicted(config: Config, run: RunFolder, data: RunData | None) -> str:
    return "" if data is None else predicting_checkpoint(config, run, data.tasks, list(data.cohort.subjects))


def _activation_maps(
    config: Config, reporter: Reporter, output: Path, wanted: bool, slices: Sequence[tuple[str, int]] | None
) -> ActivationMaps | None:
    if not wanted:
        return read_maps(output / MAPS)
    from sfgkeras.applications.report.activations import collect_activations

    maps = collect_activations(config, reporter, slices)
    if maps is not None:
        write_maps(output / MAPS, maps)
    return maps


def _feature_maps(
    config: Config,
    reporter: Reporter,
    output: Path,
    beside: Mapping[str, Config],
    slices: Sequence[tuple[str, int]] | None,
) -> FeatureMaps | None:
    if not beside:
        return read_feature_maps(output / FEATURES)
    from sfgkeras.applications.report.features import collect_features, short_run_names

    found = [config, *beside.values()]
    own = short_run_names([each.system.model_dir for each in found])[0]
    maps = collect_features({own: config, **beside}, reporter, slices)
    write_feature_maps(output / FEATURES, maps)
    return maps


def _find_data(config: Config) -> tuple[RunData | None, str]:
    """Finds the run's subjects; where they are gone the page is made without them and says why."""
    try:
        return RunData(config, build_tasks(config), find_cohort(config, needs_targets=False)), ""
    except (ConfigError, DataError) as error:
        return None, str(error)
