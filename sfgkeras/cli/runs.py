"""The verbs that train a network and use it: train, inference, predict, evaluate, report, export, compare."""

from pathlib import Path
from typing import Any

import click

from sfgkeras.cli.arguments import parse_fractions, parse_names, parse_overrides, parse_slice, split_inputs
from sfgkeras.cli.group import (
    DATASETS,
    OVERRIDES,
    commands,
    load_tensorflow,
    read_configuration,
    with_config,
    with_fold,
)
from sfgkeras.cli.summary import (
    Summary,
    after_evaluation,
    after_export,
    after_inference,
    after_prediction,
    after_training,
    is_chief,
)
from sfgkeras.console import build_reporter


@commands.command(context_settings=OVERRIDES)
@with_config
@with_fold("without it, all")
@click.option("--restart", is_flag=True, help="Remove what an earlier run saved and begin anew.")
@click.pass_context
def train(context: click.Context, config_name: str, restart: bool) -> None:
    """Train a network; resumes where a killed run stopped."""
    config = read_configuration(config_name, context.args)
    load_tensorflow()
    from sfgkeras.applications import run

    reporter = build_reporter()
    run.train(config, reporter, restart=restart)
    if is_chief(config):
        after_training(config, Summary(context, reporter), reporter)


@commands.command(context_settings=OVERRIDES)
@with_config
@with_fold("without it, all")
@click.option("--dataset", type=DATASETS, help="Subjects to infer.")
@click.option("--overwrite", is_flag=True, help="Replace results of another checkpoint, other settings or images.")
@click.pass_context
def inference(context: click.Context, config_name: str, dataset: str | None, overwrite: bool) -> None:
    """Write the network's results on each subject's own grid."""
    config = read_configuration(config_name, context.args)
    if config.system.strategy == "multi_worker":
        load_tensorflow()  # the workers find each other by it
    from sfgkeras.applications import run

    reporter = build_reporter()
    run.infer(config, reporter, dataset=dataset, overwrite=overwrite, before_network=load_tensorflow)
    if is_chief(config):
        after_inference(config, Summary(context, reporter), dataset)


@commands.command(context_settings=OVERRIDES)
@click.option(
    "-c",
    "--config",
    "run_name",
    required=True,
    metavar="FILE|FOLDER",
    help="Model folder of a training, wherever it lies now, or its INI file.",
)
@click.option(
    "--input",
    "inputs",
    required=True,
    multiple=True,
    metavar="[SOURCE=]PATH",
    help="NIfTI file, DICOM folder, photo, folder of these, or folder with one folder per patient; may be repeated.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace results of another checkpoint, other settings or images.")
@click.pass_context
def predict(context: click.Context, run_name: str, inputs: tuple[str, ...], output: Path, overwrite: bool) -> None:
    """Predict new patients with a trained network; needs its model folder alone.

    Several files may follow one --input (*.nii.gz). Where the network sees several images, SOURCE=PATH says which is
    which. Settings that do not change what was trained may follow: --INFERENCE.masks sample (docs/predict.md).
    """
    from sfgkeras.applications.inference.trained_run import read_trained_run
    from sfgkeras.applications.predict import predict as predict_run

    more, settings = split_inputs(context.args)
    run = read_trained_run(run_name, parse_overrides(settings))
    if run.config.system.strategy == "multi_worker":
        load_tensorflow()  # the workers find each other by it
    reporter = build_reporter()
    predict_run(run, [*inputs, *more], output, reporter, overwrite, before_network=load_tensorflow)
    after_prediction(output, Summary(context, reporter))


@commands.command(context_settings=OVERRIDES)
@with_config
@with_fold("without it, all")
@click.option("--dataset", type=DATASETS, help="Subjects to compare.")
@click.pass_context
def evaluate(context: click.Context, config_name: str, dataset: str | None) -> None:
    """Compare results with the truth: a table, and CSV files per subject and in summary."""
    config = read_configuration(config_name, context.args)
    if config.system.strategy == "multi_worker":
        load_tensorflow()  # the workers find each other by it
    from sfgkeras.applications import run

    reporter = build_reporter()
    run.evaluate(config, reporter, dataset=dataset)
    if is_chief(config):
        after_evaluation(config, Summary(context, reporter), reporter)


commands.add_command(evaluate, "evaluation")


@commands.command(context_settings=OVERRIDES)
@with_config
@with_fold("without it, all")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write to, instead of model_dir/report.")
@click.option(
    "--subjects", default=3, show_default=True, type=click.IntRange(min=0), help="Subjects to show slices of."
)
@click.option("--activations", is_flag=True, help="Run the network to draw activation maps of its filters.")
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="SUBJECT:NUMBER",
    help="A slice for the activation maps and feature maps; may be repeated.",
)
@click.option(
    "--features",
    "others",
    multiple=True,
    metavar="FOLDER|FILE",
    help="Draw feature maps beside those of another run, by its model folder or INI file; may be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace a page in --output that is not this run's report.")
@click.pass_context
def report(
    context: click.Context,
    config_name: str,
    output: Path | None,
    subjects: int,
    activations: bool,
    slices: tuple[str, ...],
    others: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write one self-contained HTML page of a run, and its figures as PNG, PDF and HTML.

    With [TRAINING] folds it is a page over all of them; --fold 2 is the page of one.
    """
    config = read_configuration(config_name, context.args)
    wanted = [parse_slice(text) for text in slices]
    if activations or wanted or others:
        load_tensorflow()
    from sfgkeras.applications.report.features import name_runs
    from sfgkeras.applications.report.page import write_report

    reporter = build_reporter()
    beside = name_runs(config, others) if others else {}
    page = write_report(config, reporter, output, subjects, activations, wanted, overwrite, beside)
    Summary(context, reporter).page(page)


@commands.command(context_settings=OVERRIDES)
@with_config
@with_fold("needed where there are folds, since a file holds one network")
@click.option("--task", help="The one task to keep; without it, all.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["keras", "saved_model", "onnx"]),
    default="keras",
    show_default=True,
    help="onnx needs: pip install 'sfgkeras[onnx]'.",
)
@click.option("--output", type=click.Path(path_type=Path), help="File or folder to write; by default in model_dir.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
@click.pass_context
def export(context: click.Context, /, config_name: str, **options: Any) -> None:
    """Write the hardened network: an ordinary model with no masks, no sampling and no wasted multiply."""
    config = read_configuration(config_name, context.args)
    from sfgkeras.applications.export.hardened import export_network

    reporter = build_reporter()
    path = export_network(config, reporter, before_network=load_tensorflow, **options)
    after_export(path, options["file_format"], Summary(context, reporter))


@commands.command(context_settings=OVERRIDES)
@click.option(
    "-c",
    "--config",
    "config_names",
    required=True,
    multiple=True,
    metavar="FILE",
    help="INI file; several are compared.",
)
@click.option("--rows", default="", help="Rows of [COMPARE], e.g. base,mtl-rec; default where there are any: all.")
@click.option(
    "--sharing",
    default="",
    help="Mechanisms to compare, e.g. sfg,hard_sharing; all, the default for one file without rows, leaves out those "
    "that the file cannot be used with. fine_tuning, in no all: each task from what the one before it learned.",
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each.")
@click.option("--fractions", default="1", show_default=True, help="Parts of the training subjects, e.g. 1,0.25.")
@click.option(
    "--features", default="", help="Draw feature maps of these rows or mechanisms side by side, e.g. base,mtl."
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder; default: comparison in model_dir.")
@click.pass_context
def compare(
    context: click.Context,
    config_names: tuple[str, ...],
    rows: str,
    sharing: str,
    seeds: int,
    fractions: str,
    features: str,
    output: Path | None,
) -> None:
    """Train rows of a study over seeds on the same data; write one table.

    Rows are those of the INI file's [COMPARE], sharing mechanisms, or several INI files. Resumes where it was stopped:
    runs that are done are not made again.
    """
    from sfgkeras.applications.comparison.plan import choose_plan
    from sfgkeras.config import find_config

    overrides = parse_overrides(context.args)
    paths = [find_config(name) for name in config_names]
    mechanisms, parts = parse_names(sharing), parse_fractions(fractions)
    output = output or read_configuration(config_names[0], context.args).system.model_dir / "comparison"
    plan, refused = choose_plan(paths, parse_names(rows), mechanisms, seeds, output, overrides, parts)
    load_tensorflow()
    from sfgkeras.applications.comparison.runs import compare as compare_runs

    reporter = build_reporter()
    compare_runs(plan, output, reporter, parse_names(features), refused)
    reporter.message(f"wrote {output}: comparison.html, .md, .png and .csv, table.csv, runs.csv and a folder per run")
    Summary(context, reporter).page(output / "comparison.html")
