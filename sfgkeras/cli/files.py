"""The verbs around a run: check, preprocess, phantom, demo, configs."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sfgkeras.cli.arguments import parse_names, parse_settings
from sfgkeras.cli.completion import SHELLS, completion_script
from sfgkeras.cli.group import OVERRIDES, commands, load_tensorflow, read_configuration, with_config
from sfgkeras.cli.process import EXIT_USER
from sfgkeras.cli.summary import Summary
from sfgkeras.console import build_reporter
from sfgkeras.errors import ConfigError, counted, suggestion
from sfgkeras.phantom.kinds import KINDS, SIZES


@commands.command(context_settings=OVERRIDES)
@with_config
@click.option("--headers-only", is_flag=True, help="Do not read the voxels: quicker, finds no bad labels and no NaN.")
@click.pass_context
def check(context: click.Context, config_name: str, headers_only: bool) -> None:
    """Check the INI file, the images and the labels; say what training will see."""
    config = read_configuration(config_name, context.args)
    from sfgkeras.applications.check import check_run

    reporter = build_reporter()
    if not check_run(config, reporter, not headers_only, before_network=load_tensorflow):
        sys.exit(EXIT_USER)
    Summary(context, reporter).next_verb("train")


@commands.command(context_settings=OVERRIDES)
@click.option("-c", "--config", "config_name", metavar="FILE", help="INI file with [PREPROCESSING], or the next three.")
@click.option("--input", "inputs", type=click.Path(path_type=Path), help="Folder of NIfTI or DICOM series.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option("--steps", help="Steps in order, e.g. n4,resample,nyul,whiten.")
@click.option("--labels", type=click.Path(path_type=Path), help="Folder of label maps named as their images.")
@click.option(
    "--split", type=click.Path(path_type=Path), help="CSV subject_id,phase: landmarks are fitted on training."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=1), help="Processes on this machine.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run on an existing dask.distributed cluster, e.g. tcp://host:8786."
)
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Draw each subject before and after.")
@click.option("--restart", is_flag=True, help="Do every subject anew, also those that were done before.")
@click.option("--overwrite", is_flag=True, help="Replace files that something else made, and results of other steps.")
@click.pass_context
def preprocess(
    context: click.Context, /, config_name: str | None, restart: bool, overwrite: bool, **options: Any
) -> None:
    """Preprocess the images of an INI file, or a folder; resumes, and goes on past a bad file.

    With --input, settings of a step are written --STEP_SETTING VALUE, e.g. --resample_spacing 1.46,1.46,1.46; with
    -c FILE as every other value, e.g. --PREPROCESSING.resample_spacing 1.46,1.46,1.46.
    """
    given = [name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if config_name is None:
        _preprocess_folder(context, restart=restart, overwrite=overwrite, **options)
        return
    if given:
        name = given[0].removesuffix("s") if given[0] == "inputs" else given[0]
        raise ConfigError(
            f"--{name} stands beside -c; give an INI file, or --input, --output and --steps (with -c its values are "
            "written --PREPROCESSING.workers 2)"
        )
    config = read_configuration(config_name, context.args)
    from sfgkeras.applications.subjects.preprocessed import preprocess as preprocess_run

    reporter = build_reporter()
    exit_code = preprocess_run(config, reporter, restart=restart, overwrite=overwrite)
    if exit_code == 0:
        Summary(context, reporter).next_verb("check")
    sys.exit(exit_code)


def _preprocess_folder(
    context: click.Context, inputs: Path | None, output: Path | None, steps: str | None, **options: Any
) -> None:
    missing = [name for name, value in (("--input", inputs), ("--output", output), ("--steps", steps)) if value is None]
    if inputs is None or output is None or steps is None:
        raise ConfigError(
            f"{' and '.join(missing)} missing; give an INI file with -c FILE, or --input DIR --output DIR --steps ..."
        )
    from sfgkeras.applications.subjects.folder_progress import FolderProgress
    from sfgkeras.preprocessing.folder import run_folder

    settings = parse_settings(context.args)
    reporter = build_reporter()
    with FolderProgress(reporter) as progress:
        result = run_folder(inputs, output, steps, settings, progress=progress.show, **options)
    reporter.message(
        f"{len(result.done)} done, {len(result.skipped)} done before, {len(result.failed)} failed: {output}"
    )
    for folder in result.left_out:
        reporter.warning(f"{folder}: left out, holds label maps or what an earlier run wrote")
    for subject_id, reason in result.failed.items():
        reporter.warning(f"{subject_id}: {reason}")
    Summary(context, reporter).page(result.overview)
    sys.exit(result.exit_code)


@commands.command()
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("sfgkeras_demo"), show_default=True
)
@click.option("--seed", default=0, show_default=True, help="Seed of the cohort and of the training.")
@click.pass_context
def demo(context: click.Context, output: Path, seed: int) -> None:
    """Make a synthetic cohort, train, infer, evaluate and report; about four minutes on two cores."""
    load_tensorflow()
    from sfgkeras.applications.demo import run_demo

    reporter = build_reporter()
    run_demo(output, reporter, seed=seed)
    summary = Summary(context, reporter)
    summary.page(output / "model" / "report" / "report.html")
    summary.next_step("sfgkeras configs lists INI files to begin your own run with")


@commands.command()
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="pelvis",
    show_default=True,
    help="; ".join(f"{name}: {kind.summary}" for name, kind in KINDS.items()) + ".",
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@click.option("--subjects", default=10, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--size",
    type=click.Choice(list(SIZES)),
    default="small",
    show_default=True,
    help="; ".join(f"{name}: {summary}" for name, summary in SIZES.items()) + ".",
)
@click.option(
    "--layout",
    metavar="NAME",
    help="; ".join(
        f"{kind}: {' or '.join(f'{name} ({layout.summary})' for name, layout in found.layouts.items())}"
        for kind, found in KINDS.items()
    )
    + ". The first is usual.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same files.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.pass_context
def phantom(
    context: click.Context, /, kind: str, output: Path, subjects: int, layout: str | None, **options: Any
) -> None:
    """Write a synthetic cohort whose truth is known."""
    layouts = KINDS[kind].layouts
    layout = layout or next(iter(layouts))
    if layout not in layouts:
        hint = suggestion(layout, list(layouts)) or f"; choose {' or '.join(layouts)}"
        raise ConfigError(f"--layout {layout!r} is none of --kind {kind}{hint}")
    write, reporter = layouts[layout].load(), build_reporter()
    with reporter.stage("phantoms", subjects) as stage:
        write(output, subjects, progress=lambda done, total: stage.advance(), **options)
    reporter.message(f"wrote {counted(subjects, 'subject')} to {output}")
    if arguments := KINDS[kind].check_arguments(layout, output):
        Summary(context, reporter).next_step(shlex.join(["sfgkeras", *arguments]))


@commands.command()
@click.argument("name", required=False)
@click.option("--overwrite", is_flag=True, help="Replace an existing copy.")
@click.pass_context
def configs(context: click.Context, name: str | None, overwrite: bool) -> None:
    """List the shipped INI files by paper, or copy one into the working folder."""
    from sfgkeras.applications.records.files import write_text
    from sfgkeras.config import configs_by_paper, find_config

    reporter = build_reporter()
    summary = Summary(context, reporter)
    if name is None:
        found = configs_by_paper()
        width = max(len(each.name) for group in found.values() for each in group)
        for paper, group in found.items():
            reporter.message(paper or "Of no paper")
            for each in group:
                reporter.message(f"  {each.name:{width}}  {each.description}")
        summary.next_step("sfgkeras configs NAME copies one into this folder")
        return
    source = find_config(f"ini_configs/{Path(name).stem}")
    target = Path(source.name)
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists; add --overwrite to replace it")
    write_text(target, source.read_text(encoding="utf-8"))
    reporter.message(f"copied to {target}")
    summary.next_step(shlex.join(["sfgkeras", "check", "-c", str(target)]))


def _read_names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


@commands.command()
@click.option("--input", "folder", required=True, type=click.Path(path_type=Path), help="Folder of images and tables.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("run.ini"), show_default=True)
@click.option("--image", "images", callback=_read_names, help="Sources that the network sees, e.g. T1,FLAIR.")
@click.option("--target", "targets", callback=_read_names, help="Sources or columns that are learned, e.g. CT,ORGANS.")
@click.option("--explain", is_flag=True, help="Print every choice with its reason.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.pass_context
def plan(
    context: click.Context,
    folder: Path,
    output: Path,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    explain: bool,
    overwrite: bool,
) -> None:
    """Look at a folder and write an INI file for it, every line with its reason."""
    from sfgkeras.applications.planning.plan import plan_folder, sources_table, write_plan

    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists; choose another --output, or add --overwrite to replace it")
    reporter = build_reporter()
    planned = plan_folder(folder, output, reporter, images, targets)
    reporter.table("sources", ["section", "subjects", "content", "used as"], sources_table(planned))
    if explain:
        for section, key, value, why in planned.lines.rows():
            reporter.message(f"[{section}] {key} = {value}" + (f": {why}" if why else ""))
    for doubt in planned.doubts:
        reporter.warning(doubt)
    write_plan(planned, output, overwrite)
    lists = "".join(f", {path}" for path in planned.lists.files)
    reporter.message(f"wrote {output}{lists}")
    Summary(context, reporter).next_step(shlex.join(["sfgkeras", "check", "-c", str(output)]))


@commands.command()
@click.option("--output", type=click.Path(path_type=Path), help="File to write to; without it the schema is printed.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def schema(output: Path | None, overwrite: bool) -> None:
    """Write the JSON schema of INI files, for editors: every section and key, its form, default and meaning."""
    from sfgkeras.applications.ini_schema import schema_text, write_schema

    if output is None:
        click.echo(schema_text(), nl=False)
        return
    write_schema(output, overwrite)
    build_reporter().message(f"wrote {output}")


def _read_sizes(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(int(part) for part in value.replace("x", ",").split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of whole numbers, e.g. 256,256") from None
    if min(numbers) < 0:
        raise click.BadParameter(f"{value!r} has a negative number")
    return numbers


@commands.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--split", type=click.Path(path_type=Path), help="To HDF5: CSV of `subject_id,phase`; files by phase.")
@click.option("--size", callback=_read_sizes, help="To HDF5: ROWS,COLUMNS that photos, masks and boxes are brought to.")
@click.option("--foreground", callback=_read_sizes, help="To HDF5: labels of masks that become 1, e.g. 1,3; others 0.")
@click.option("--compression", type=click.IntRange(0, 9), help="To HDF5: level of gzip; 1, and 0 for none.")
@click.option(
    "--box-of",
    metavar="largest|all|NAME",
    help="To HDF5: whose box, where Pascal VOC files have several objects; all: the box around them.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
def convert(
    old: Path,
    new: Path,
    split: Path | None,
    size: tuple[int, ...] | None,
    foreground: tuple[int, ...] | None,
    compression: int | None,
    box_of: str | None,
    overwrite: bool,
) -> None:
    """Write data or an INI file in another form; what OLD and NEW are says which.

    A folder of images, with masks, Pascal VOC boxes and a table beside them, becomes HDF5: one file if NEW ends in .h5,
    else a folder with a file for each data set. HDF5 becomes a folder of pictures or NIfTI files. NiftyNet's INI file
    becomes one of ours, each changed line kept as a comment with the reason.
    """
    from sfgkeras.applications.convert.conversion import convert as convert_any
    from sfgkeras.applications.convert.settings import ConversionSettings

    if size is not None and len(size) != 2:
        raise click.BadParameter("give rows and columns, e.g. 256,256", param_hint="--size")
    rows_and_columns = None if size is None else (size[0], size[1])
    settings = ConversionSettings(split, rows_and_columns, foreground, compression, box_of)
    convert_any(old, new, build_reporter(), overwrite, settings)


@commands.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what lets a shell complete verbs, options, INI files and settings.

    \b
    bash:  echo 'eval "$(sfgkeras completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(sfgkeras completion zsh)"' >> ~/.zshrc
    fish:  sfgkeras completion fish > ~/.config/fish/completions/sfgkeras.fish
    """  # noqa: D301  # click's mark for lines that stay as they are
    click.echo(completion_script(shell, commands))


@commands.command()
@click.option("--series", required=True, type=click.Path(path_type=Path), help="Folder of the series the network saw.")
@click.option("--ct", type=click.Path(path_type=Path), help="Synthetic CT in HU, a NIfTI file.")
@click.option("--labels", type=click.Path(path_type=Path), help="Organs, a NIfTI file of whole numbers.")
@click.option("--names", default="", help="Names of the labels 1, 2, ..., e.g. prostate,bladder,rectum.")
@click.option("--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
def dicom(series: Path, ct: Path | None, labels: Path | None, names: str, output: Path, overwrite: bool) -> None:
    """Write results as DICOM: a CT series, a segmentation object and RT structures, on the geometry of the source."""
    from sfgkeras.applications.dicom.write import write_dicom

    write_dicom(series, output, ct, labels, parse_names(names), overwrite, build_reporter())
