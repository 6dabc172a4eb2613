"""The sections of the report of a run; what is missing in one is said, with the command that makes it."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from sfgkeras.analysis.activation_maps import ActivationMaps
from sfgkeras.analysis.class_map_figures import draw_class_maps
from sfgkeras.analysis.feature_maps import FeatureMaps, draw_feature_maps
from sfgkeras.analysis.figures import (
    PRINT_DPI,
    WrittenFigure,
    write_curve_figure,
    write_figures,
    write_sharing_figures,
)
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.learned_figures import draw_learned
from sfgkeras.analysis.page import chart_html, table_html
from sfgkeras.analysis.pictures import save_figure
from sfgkeras.analysis.planes import planes_html
from sfgkeras.analysis.sharing_record import SharingRecord, learned_tables, sharing_table
from sfgkeras.analysis.slice_viewer import viewer_html
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.sharing import read_sharing_record
from sfgkeras.applications.report.candidates import candidates_parts
from sfgkeras.applications.report.class_maps import classifications, show_class_maps
from sfgkeras.applications.report.facts import best_iteration, epoch_of, validation_rows
from sfgkeras.applications.report.slices import show_subjects
from sfgkeras.applications.report.tables import curve_columns, evaluation_html
from sfgkeras.applications.report.volumes import RunData, inferred_subjects
from sfgkeras.applications.tasks.outputs import VolumeTask
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.callbacks import read_grouping_history
from sfgkeras.config import Config
from sfgkeras.pages import elements
from sfgkeras.pages.page import Section
from sfgkeras.reporter import Reporter

FIGURES = "figures"
Command = Callable[[str], str]
"""Returns the command line of a verb for this run."""


def curves_section(config: Config, run: RunFolder, output: Path, command: Command) -> Section:
    """Training and validation over the iterations, or epochs where a run counts them, the best checkpoint marked."""
    columns, best = curve_columns(run, by_epoch=config.training.max_epochs is not None), best_iteration(run)
    parts = []
    if columns:
        figure = write_curve_figure(output / FIGURES, columns, best, epoch_of(run, best))
        parts.append(chart_html(figure.interactive, figure.title, figure.caption, _files(figure, output)))
    else:
        parts.append(elements.notice("Nothing has been trained yet.", command("train")))
    rows, marked = validation_rows(run, best)
    if rows:
        caption = "Validation" + (f"; the best checkpoint is that of iteration {best:,}" if best is not None else "")
        parts.append(elements.folded("Every validation", table_html(rows, caption, marked=marked)))
    elif columns:
        keys = "validation_every_n or validation_every_epochs"
        text = f"There was no validation; set {keys} in [TRAINING] and hold out subjects for it."
        parts.append(elements.notice(text))
    return Section("curves", "Training and validation", _joined(parts))


def grouping_section(
    config: Config, run: RunFolder, output: Path, maps: ActivationMaps | None, reporter: Reporter, command: Command
) -> Section:
    """The figures of the grouping probabilities, and activation maps where there are any."""
    parts = candidates_parts(run)
    record: GroupingRecord | None = None
    if not run.grouping.is_file():
        if config.network.sharing in ("sfg", "constant_p"):
            parts.append(elements.notice("No grouping probabilities have been noted yet.", command("train")))
        else:
            parts.append(elements.paragraph(_fixed_groups(config)))
    else:
        try:
            record = GroupingRecord.from_history(read_grouping_history(run.grouping), list(config.tasks))
        except ValueError as error:
            reporter.warning(str(error))
            parts.append(elements.notice(f"The grouping probabilities cannot be shown: {error}."))
        else:
            if record.is_fixed:
                parts.append(elements.paragraph(_fixed_groups(config)))
    for figure in write_figures(output / FIGURES, record, maps):
        note = _files(figure, output)
        if figure.name.startswith("activations"):
            png = figure.paths[0]
            source = f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
            parts.append(elements.picture_html(source, figure.title, figure.caption, 900, note))
        else:
            parts.append(chart_html(figure.interactive, figure.title, figure.caption, note))
    if maps is not None:
        parts.append(_dead_filters(maps))
    elif record is not None:
        text = "Activation maps are drawn on request, which runs the network:"
        parts.append(elements.notice(text, f"{command('report')} --activations"))
    return Section("grouping", "Which filters serve which task", _joined(parts))


def _fixed_groups(config: Config) -> str:
    return f"With sharing = {config.network.sharing} the groups of the filters are fixed."


def sharing_section(config: Config, run: RunFolder, output: Path, reporter: Reporter, command: Command) -> Section:
    """Which tasks share what at every stage, and what the mechanism has learned of it."""
    title, tasks = "Which tasks share what", list(config.tasks)
    if len(tasks) < 2:
        return Section("sharing", title, elements.paragraph("The network has one task, which shares with none."))
    if not run.sharing.is_file():
        text = "It has not been noted yet which tasks share what; runs of earlier versions have not noted it."
        return Section("sharing", title, elements.notice(text, command("train")))
    try:
        record = read_sharing_record(run, tasks)
    except ValueError as error:
        reporter.warning(str(error))
        return Section("sharing", title, elements.notice(f"What tasks share cannot be shown: {error}."))
    parts = [elements.paragraph(f"sharing = {config.network.sharing}, iteration {record.iterations[-1]:,}.")]
    for figure in write_sharing_figures(output / FIGURES, record):
        parts.append(chart_html(figure.interactive, figure.title, figure.caption, _files(figure, output)))
    table = table_html(sharing_table(record.last(), tasks), "Part of what a task uses that another uses, too")
    parts.append(elements.folded("In numbers", table))
    parts += _learned_parts(record, output)
    return Section("sharing", title, _joined(parts))


def _learned_parts(record: SharingRecord, output: Path) -> list[Markup]:
    """Returns a picture and tables of what the sharing mechanism learned; nothing where that is nothing."""
    parts, tasks = [], list(record.task_names)
    if (learned := draw_learned(record.learned, tasks)) is not None:
        paths = [output / FIGURES / f"learned.{ending}" for ending in ("png", "pdf")]
        for path in paths:
            save_figure(learned, path, PRINT_DPI)
        source = f"data:image/png;base64,{base64.b64encode(paths[0].read_bytes()).decode()}"
        caption = "At the end of the training; a row is the task that reads, and further axes are averaged."
        parts.append(elements.picture_html(source, "What the mechanism learned", caption, 1000, _links(paths, output)))
    for quantity, rows in learned_tables(record.learned, tasks).items():
        name = quantity.replace("_", " ")
        parts.append(elements.folded(f"Learned: {name}", table_html(rows, f"{name}, at the end")))
    return parts


def features_section(output: Path, maps: FeatureMaps) -> Section:
    """Feature maps of the run beside those of other runs, a figure for every slice."""
    parts = []
    for number, title in enumerate(maps.slices):
        figure = draw_feature_maps(maps, number)
        paths = [output / FIGURES / f"features_{number + 1}.{ending}" for ending in ("png", "pdf")]
        for path in paths:
            save_figure(figure, path, PRINT_DPI)
        caption = (
            "Every map is the mean over the features of a stage, behind its activation; those of one stage share one "
            "scale over all runs and slices, written above it."
        )
        source = f"data:image/png;base64,{base64.b64encode(paths[0].read_bytes()).decode()}"
        picture = elements.picture_html(source, f"Feature maps of {title}", caption, 1000, _links(paths, output))
        parts.append(picture)
    return Section("features", "Feature maps beside other runs", _joined(parts))


def class_maps_section(
    data: RunData | None, output: Path, num_subjects: int, reporter: Reporter, command: Command
) -> Section | None:
    """Where images of some subjects speak for their classes; None where no task tells classes of images."""
    if data is None or not classifications(data):
        return None
    name, title = "class_maps", "Where images speak for a class"
    shown = show_class_maps(data, num_subjects, reporter)
    if not shown:
        asks = data.config.inference.class_activation_maps != "none"
        text = "There are no maps of classes yet." if asks else "Inference has not been asked for maps of classes."
        line = command("inference") + ("" if asks else " --INFERENCE.class_activation_maps grad_cam")
        return Section(name, title, elements.notice(text, line))
    figure = draw_class_maps(shown, list(classifications(data)))
    paths = [output / FIGURES / f"class_maps.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        save_figure(figure, path, PRINT_DPI)
    wanted = data.config.inference.class_activation_of
    kind = {"cam": "Class activation maps", "grad_cam": "Grad-CAM"}[data.config.inference.class_activation_maps]
    caption = (
        f"{kind} of {'the predicted class' if wanted is None else f'class {wanted}'}, each on a scale of its own; "
        "the cross is its highest place. Above each what the network has told."
    )
    source = f"data:image/png;base64,{base64.b64encode(paths[0].read_bytes()).decode()}"
    width = min(1000, 220 * (1 + len(classifications(data))))
    return Section(name, title, elements.picture_html(source, kind, caption, width, _links(paths, output)))


def evaluation_section(config: Config, predicted: str, command: Command) -> Section:
    """The tables that `evaluate` has written, and which checkpoint they are about."""
    body, missing = evaluation_html(config)
    if predicted and body:
        body = elements.paragraph(f"Predictions are those {predicted}.") + body
    if missing:
        what = "There is no evaluation yet" + (f" of {', '.join(missing)}." if body else ".")
        body += elements.notice(what, command("evaluate"))
    return Section("evaluation", "Evaluation", body)


def subjects_section(
    data: RunData | None, problem: str, num_subjects: int, reporter: Reporter, command: Command
) -> Section:
    """Input, truth, prediction and difference of some subjects, in three planes and slice by slice."""
    name, title = "slices", "Subjects"
    if data is None:
        return Section(name, title, elements.notice(f"The images cannot be shown: {problem}."))
    if not any(isinstance(task, VolumeTask | PointTarget) for task in data.tasks.values()):
        text = "The tasks predict one value per subject: there are no predicted images. Values are under Evaluation."
        return Section(name, title, elements.paragraph(text))
    found = inferred_subjects(data)
    if not found:
        notice = elements.notice("There are no predictions yet.", command("inference"))
        return Section(name, title, notice)
    shown = show_subjects(data, found[:num_subjects], reporter)
    parts = [
        elements.paragraph(
            "All subjects are shown in the same windows. Seen from the feet, the patient's right on the left."
        )
    ]
    if shown.packed:
        parts.append(planes_html(shown.packed, shown.windows, shown.legend))
    if shown.viewers:
        text = "Move with the slider, by its arrow keys, or with the wheel and the shift key over a picture."
        viewers = [viewer_html(viewer, number) for number, viewer in enumerate(shown.viewers)]
        parts.append(elements.slices_html(_joined([elements.paragraph(text), *viewers])))
    if len(found) > num_subjects:
        text = f"{num_subjects} of {len(found)} subjects with predictions are shown. For all of them:"
        parts.append(elements.notice(text, f"{command('report')} --subjects {len(found)}"))
    if len(shown.viewers) < min(len(found), num_subjects):
        text = "Subjects whose files cannot be used are left out; the command line says why."
        parts.append(elements.notice(text))
    return Section(name, title, _joined(parts))


def settings_section(config: Config, run: RunFolder) -> Section:
    """Every setting of the last start."""
    if run.configuration.is_file():
        text, what = run.configuration.read_text(encoding="utf-8", errors="replace"), str(run.configuration)
    else:
        text, what = config.effective_text(), f"{config.path}, with every default"
    body = elements.paragraph("Every setting in effect, defaults included.")
    return Section("settings", "Settings", body + elements.folded(what, elements.code_block(text)))


def _joined(parts: list[Markup]) -> Markup:
    return Markup("").join(parts)


def _files(figure: WrittenFigure, output: Path) -> Markup:
    """Returns links to a figure's files, seen from the page."""
    return _links(figure.paths, output)


def _links(paths: Sequence[Path], output: Path) -> Markup:
    links = {path.suffix[1:].upper(): path.relative_to(output).as_posix() for path in paths}
    return Markup("Files beside this page: {}").format(elements.links_html(links))


def _dead_filters(maps: ActivationMaps) -> Markup:
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
    return elements.heading("Dead filters") + table_html(rows, caption)
