"""One self-contained HTML page per run: settings, curves, grouping figures, evaluation, and slices with a slider."""

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path

import sfgkeras
from sfgkeras.analysis import page
from sfgkeras.analysis.activation_maps import ActivationMaps, read_maps, write_maps
from sfgkeras.analysis.figures import WrittenFigure, write_curve_figure, write_figures
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.slice_viewer import viewer_html
from sfgkeras.applications.cohort import find_cohort
from sfgkeras.applications.files import RunFolder, make_writable, write_text
from sfgkeras.applications.multi_task import build_tasks
from sfgkeras.applications.report_slices import RunData, build_viewers, inferred_subjects
from sfgkeras.applications.report_tables import curve_columns, evaluation_html, run_facts
from sfgkeras.applications.reporter import Reporter, SilentReporter
from sfgkeras.callbacks import read_grouping_history
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, DataError

PAGE = "report.html"
FIGURES = "figures"
MAPS = "activations.npz"
MOST_SUBJECTS = 3


def write_report(
    config: Config,
    reporter: Reporter | None = None,
    output: Path | None = None,
    num_subjects: int = MOST_SUBJECTS,
    activations: bool = False,
    slices: Sequence[tuple[str, int]] | None = None,
) -> Path:
    """Writes the report of a run, in place of an earlier one; parts that are missing are named on the page.

    Args:
        config: The configuration of the run.
        reporter: Shows progress.
        output: Folder of the page and its figures; None for `report` in `model_dir`.
        num_subjects: How many subjects have their slices on the page, at most.
        activations: Whether the network is run to draw activation maps, which loads TensorFlow; without it, those
            of an earlier report are kept.
        slices: Subjects and slices of the activation maps; see `collect_activations`.

    Returns:
        The page.

    Raises:
        DataError: If the folder cannot be written, or activation maps are asked for and cannot be made.
        ConfigError: If a slice does not exist.
    """
    reporter = reporter or SilentReporter()
    run = RunFolder(config.system.model_dir)
    output = output or run.report
    make_writable(output)
    maps = _activation_maps(config, reporter, output, activations or bool(slices), slices)
    data, problem = _find_data(config)
    split = data.cohort.split if data else {}
    # First, because it shows its own progress, and there is one bar at a time.
    shown = _slices_section(config, run, data, problem, num_subjects, reporter)
    sections = [page.Section("run", "The run", page.facts_html(run_facts(config, run, split)))]
    with reporter.stage("report", 3) as stage:
        sections.append(_curves_section(config, run, output))
        stage.advance(1, "curves")
        sections.append(_grouping_section(config, run, output, maps, reporter))
        stage.advance(1, "grouping")
        sections += [_evaluation_section(config, run), shown, _settings_section(config, run)]
        folder = config.system.model_dir.resolve()
        title = f"{folder.name}: report of a run"
        subtitle = f"{', '.join(config.tasks)} from {', '.join(config.image)}, in {folder}"
        footer = f"Written by sfgkeras {sfgkeras.__version__}. The page loads nothing from the network."
        write_text(output / PAGE, page.page_html(title, subtitle, sections, footer))
        stage.advance(1, PAGE)
    reporter.message(f"report: {output / PAGE}")
    return output / PAGE


def _activation_maps(
    config: Config, reporter: Reporter, output: Path, wanted: bool, slices: Sequence[tuple[str, int]] | None
) -> ActivationMaps | None:
    if not wanted:
        return read_maps(output / MAPS)
    from sfgkeras.applications.activations import collect_activations

    maps = collect_activations(config, reporter, slices)
    if maps is not None:
        write_maps(output / MAPS, maps)
    return maps


def _find_data(config: Config) -> tuple[RunData | None, str]:
    """Finds the run's subjects; where they are gone the page is made without them and says why."""
    try:
        return RunData(config, build_tasks(config), find_cohort(config, needs_targets=False)), ""
    except (ConfigError, DataError) as error:
        return None, str(error)


def _command(config: Config, run: RunFolder, verb: str) -> str:
    """Returns a command line that makes a missing part."""
    path = run.configuration if run.configuration.is_file() else config.path
    return f"sfgkeras {verb} -c {shlex.quote(str(path))}"


def _files(figure: WrittenFigure, output: Path) -> str:
    """Returns links to a figure's files, seen from the page."""
    paths = {path.suffix[1:].upper(): path.relative_to(output).as_posix() for path in figure.paths}
    return f"Files beside this page: {page.links_html(paths)}"


def _curves_section(config: Config, run: RunFolder, output: Path) -> page.Section:
    columns = curve_columns(run)
    parts = []
    if columns:
        figure = write_curve_figure(output / FIGURES, columns)
        parts.append(page.chart_html(figure.interactive, figure.title, figure.caption, _files(figure, output)))
    else:
        parts.append(page.notice("Nothing has been trained yet.", _command(config, run, "train")))
    if columns and not any(name.startswith("validation_") for name in columns):
        parts.append(
            page.notice("There was no validation; set validation_every_n in [TRAINING] and hold out subjects for it.")
        )
    return page.Section("curves", "Training and validation", "".join(parts))


def _grouping_section(
    config: Config, run: RunFolder, output: Path, maps: ActivationMaps | None, reporter: Reporter
) -> page.Section:
    parts = []
    record: GroupingRecord | None = None
    if not run.grouping.is_file():
        if config.network.sharing in ("sfg", "constant_p"):
            parts.append(page.notice("No grouping probabilities have been noted yet.", _command(config, run, "train")))
        else:
            parts.append(
                page.paragraph(f"With sharing = {config.network.sharing} the groups of the filters are fixed.")
            )
    else:
        try:
            record = GroupingRecord.from_history(read_grouping_history(run.grouping), list(config.tasks))
        except ValueError as error:
            reporter.warning(str(error))
            parts.append(page.notice(f"The grouping probabilities cannot be shown: {error}."))
    for figure in write_figures(output / FIGURES, record, maps):
        note = _files(figure, output)
        if figure.name.startswith("activations"):
            png = figure.paths[0]
            source = f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
            parts.append(page.picture_html(source, figure.title, figure.caption, 900, note))
        else:
            parts.append(page.chart_html(figure.interactive, figure.title, figure.caption, note))
    if maps is not None:
        parts.append(_dead_filters(maps))
    elif record is not None:
        command = f"{_command(config, run, 'report')} --activations"
        parts.append(page.notice("Activation maps are drawn on request, which runs the network:", command))
    return page.Section("grouping", "Which filters serve which task", "".join(parts))


def _dead_filters(maps: ActivationMaps) -> str:
    rows = [
        {
            "layer": layer,
            "filters": maps.num_filters[layer],
            "dead": len(dead),
            "numbers": ", ".join(map(str, dead)) or "-",
        }
        for layer, dead in maps.dead.items()
    ]
    caption = f"Filters whose activation is zero everywhere on {' and '.join(maps.slices)} (iteration {maps.iteration})"
    return page.heading("Dead filters") + page.table_html(rows, caption)


def _evaluation_section(config: Config, run: RunFolder) -> page.Section:
    body, missing = evaluation_html(config)
    if missing:
        what = "There is no evaluation yet" + (f" of {', '.join(missing)}." if body else ".")
        body += page.notice(what, _command(config, run, "evaluate"))
    return page.Section("evaluation", "Evaluation", body)


def _slices_section(
    config: Config, run: RunFolder, data: RunData | None, problem: str, num_subjects: int, reporter: Reporter
) -> page.Section:
    title = "Slices"
    if data is None:
        return page.Section("slices", title, page.notice(f"The images cannot be shown: {problem}."))
    if all(task.is_scalar for task in data.tasks.values()):
        text = "The tasks predict one value per subject: there are no predicted images. Values are under Evaluation."
        return page.Section("slices", title, page.paragraph(text))
    found = inferred_subjects(data)
    if not found:
        notice = page.notice("There are no predictions yet.", _command(config, run, "inference"))
        return page.Section("slices", title, notice)
    viewers = build_viewers(data, found[:num_subjects], reporter)
    parts = [
        page.paragraph(
            "Seen from the feet, the patient's right on the left. Move through a volume with the slider, by its arrow "
            "keys, or with the wheel and the shift key over a picture."
        )
    ]
    parts += [viewer_html(viewer, number) for number, viewer in enumerate(viewers)]
    if len(found) > num_subjects:
        text = f"{num_subjects} of {len(found)} subjects with predictions are shown. For all of them:"
        parts.append(page.notice(text, f"{_command(config, run, 'report')} --subjects {len(found)}"))
    if len(viewers) < min(len(found), num_subjects):
        parts.append(page.notice("Subjects whose files cannot be used are left out; the command line says why."))
    return page.Section("slices", title, "".join(parts))


def _settings_section(config: Config, run: RunFolder) -> page.Section:
    if run.configuration.is_file():
        text, what = run.configuration.read_text(encoding="utf-8", errors="replace"), str(run.configuration)
    else:
        text, what = config.effective_text(), f"{config.path}, with every default"
    body = page.paragraph("Every setting in effect, defaults included.") + page.folded(what, page.code_block(text))
    return page.Section("settings", "Settings", body)
